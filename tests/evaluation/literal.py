"""Every test protocol written out: a view at a time, plain loops, float64 after the network. A reference for tests."""

import numpy as np
import torch
from PIL import Image

FILTERS = {"own": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def mean(several, average="softmax"):
    if average == "logits":
        return np.mean(several, 0)
    return np.log(np.mean([softmax(each) for each in several], 0))


def at(pixels, size):
    return int(np.floor(pixels * size / 224 + 0.5))


def as_input(pixels, seeing):
    values = (pixels / 255 - np.array(seeing.mean)) / np.array(seeing.std)
    return torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))


def forward(model, x):
    return model(x)[0].double().numpy()


def dense(model, x, size, form):
    """Of a residual network."""
    side = model.forward_features(torch.zeros(1, 3, size, size)).shape[-1]
    features = model.forward_features(x)[0].double().numpy()
    weight, bias = model.fc.weight.detach().double().numpy(), model.fc.bias.detach().double().numpy()
    if form == "i":
        return weight @ features.mean((1, 2)) + bias
    logits = []
    for top in range(features.shape[1] - side + 1):
        for left in range(features.shape[2] - side + 1):
            window = features[:, top : top + side, left : left + side]
            logits.append(weight @ window.mean((1, 2)) + bias)
    return mean(logits, "logits" if form == "ii" else "softmax")


def middle(pixels, crop):
    top, left = (pixels.shape[0] - crop) // 2, (pixels.shape[1] - crop) // 2
    return pixels[top : top + crop, left : left + crop]


def five(pixels, crop):
    corners = [pixels[:crop, :crop], pixels[:crop, -crop:], pixels[-crop:, :crop], pixels[-crop:, -crop:]]
    return [*corners, middle(pixels, crop)]


def shifted(x):
    padded = np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    moved = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return [torch.from_numpy(each[None].copy()) for each in moved]


def inputs(pixels, scale, seeing, rule):
    """The network's input for each view but the mirrored ones."""
    crop = at(rule.size, seeing.size)
    if rule.crops == "dense":
        return [as_input(pixels, seeing)]
    if rule.crops == "five":
        if rule.corners == "square":  # AlexNet: the square is cut out, then cropped
            pixels = middle(pixels, scale)
        return [as_input(each, seeing) for each in five(pixels, crop)]
    one = as_input(middle(pixels, crop), seeing)
    return shifted(one) if rule.crops == "shifts" else [one]


@torch.inference_mode()
def probabilities(model, picture, seeing, rule):
    """What MODEL answers to a picture under a protocol, float64 (classes,)."""
    picture, size, scales = picture.convert("RGB"), seeing.size, []
    for scale in [at(s, size) for s in rule.scales] or [max(size, int(size / seeing.crop_pct))]:
        short = min(picture.size)
        shape = (picture.width * scale // short, picture.height * scale // short)
        pixels = np.asarray(picture.resize(shape, FILTERS[rule.interpolation]) if shape != picture.size else picture)
        views = inputs(pixels, scale, seeing, rule)
        if rule.flip:
            views += [x.flip(3) for x in views]
        answers = [dense(model, x, size, rule.dense) if rule.crops == "dense" else forward(model, x) for x in views]
        scales.append(mean(answers, rule.average))
    return softmax(mean(scales, rule.average))
