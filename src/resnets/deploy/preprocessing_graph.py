"""Preprocessing and softmax as ONNX nodes around a network: uint8 pixels of any size in, probabilities out."""

from typing import Any

import numpy as np

from ..data.preprocessing import Preprocessing
from .described import Description
from .predictor import LOGITS
from .runtimes import needed

_GRAY = """
    wide = Cast <to = 6> (pixels)
    weighed = Mul (wide, luma)
    sum = ReduceSum <keepdims = 1> (weighed, last)
    half = Add (sum, rounding)
    whole = Div (half, unit)
    bytes = Cast <to = 2> (whole)
"""  # Pillow's luma (ITU-R 601-2) in 16 bits of fraction
_COLOURS = "    bytes = Identity (pixels)\n"

# From `planes` (N, C, H, W), uint8, to `view` (N, C, size, size), float. `extent` is (H, W).
_FITS = {
    "crop": """
    shorter = ReduceMin <keepdims = 1> (extent)
    product = Mul (extent, target)
    sides = Div (product, shorter)
    shape = Concat <axis = 0> (others, sides)
    resized = Resize <{resize}> (planes, , , shape)
    spare = Sub (sides, side)
    first = Div (spare, two)
    end = Add (first, side)
    cropped = Slice (resized, first, end, axes)
    view = Cast <to = 1> (cropped)
""",
    "pad": """
    longer = ReduceMax <keepdims = 1> (extent)
    product = Mul (extent, side)
    quotient = Div (product, longer)
    sides = Max (quotient, one)
    shape = Concat <axis = 0> (others, sides)
    resized = Resize <{resize}> (planes, , , shape)
    spare = Sub (side, sides)
    first = Div (spare, two)
    rest = Sub (spare, first)
    pads = Concat <axis = 0> (first, rest)
    numbers = Cast <to = 1> (resized)
    above = Sub (numbers, colour)
    padded = Pad (above, pads, nothing, axes)
    view = Add (padded, colour)
""",
    "squash": """
    shape = Concat <axis = 0> (others, side)
    resized = Resize <{resize}> (planes, , , shape)
    view = Cast <to = 1> (resized)
""",
}
_BEFORE = """
<ir_version: 10, opset_import: ["" : {opset}]>
preprocessing (uint8[N, H, W, {given}] pixels) => (float[N, {channels}, {size}, {size}] seen)
<int64[1] one = {{1}}, int64[1] two = {{2}}, int64[2] side = {{{size}, {size}}}, int64[1] target = {{{target}}},
 int64[2] axes = {{2, 3}}, int64[1] last = {{-1}}, int32[3] luma = {{19595, 38470, 7471}},
 int32[1] rounding = {{32768}}, int32[1] unit = {{65536}}, float nothing = {{0.0}}>
{{
{channel}
    planes = Transpose <perm = [0, 3, 1, 2]> (bytes)
    others = Shape <start = 0, end = 2> (planes)
    extent = Shape <start = 2, end = 4> (planes)
{fit}
    scaled = Mul (view, scale)
    seen = Sub (scaled, offset)
}}
"""
_AFTER = """
<ir_version: 10, opset_import: ["" : {opset}]>
softmax (float[N, {classes}] scores) => (float[N, {classes}] probabilities)
<float temperature = {{{temperature!r}}}>
{{
    tempered = Div (scores, temperature)
    probabilities = Softmax <axis = 1> (tempered)
}}
"""


def inside(model: Any, description: Description) -> Any:
    """An ONNX MODEL that takes `images` and puts out `logits`, with preprocessing before it and the softmax after it.

    `pixels` uint8 (N, H, W, channels), RGB also where the network sees gray → `probabilities` (N, classes), calibrated.
    Resizing is ONNX's with antialiasing, which is Pillow's.
    """
    onnx = needed("onnx", "onnx")
    (opset,) = (each.version for each in model.opset_import if not each.domain)
    before = before_network(description.preprocessing, opset)
    text = _AFTER.format(opset=opset, classes=len(description.classes), temperature=float(description.temperature))
    after = onnx.parser.parse_model(text)
    for each in (before, after):
        each.ir_version = model.ir_version
    compose = onnx.compose
    before, after = compose.add_prefix(before, "before/"), compose.add_prefix(after, "after/")
    whole = compose.merge_models(before, model, io_map=[("before/seen", "images")])
    whole = compose.merge_models(whole, after, io_map=[(LOGITS, "after/scores")], outputs=["after/probabilities"])
    return _renamed(whole, {"before/pixels": "pixels", "after/probabilities": "probabilities"})


def before_network(seen: Preprocessing, opset: int) -> Any:
    """The ONNX model that does what `Preprocessing` does to one size of pictures."""
    onnx = needed("onnx", "onnx")
    mode = {"bilinear": "linear", "bicubic": "cubic"}[seen.interpolation]
    resize = f'mode = "{mode}", antialias = 1, cubic_coeff_a = -0.5, exclude_outside = 1'
    model = onnx.parser.parse_model(
        _BEFORE.format(
            opset=opset,
            given=3 if seen.channels == 1 else seen.channels,
            channels=seen.channels,
            size=seen.size,
            target=seen.shorter,
            channel=_GRAY if seen.channels == 1 else _COLOURS,
            fit=_FITS[seen.fit].format(resize=resize),
        )
    )
    offset = np.moveaxis(np.atleast_3d(seen.offset), -1, 0) if seen.offset.ndim == 3 else seen.offset[:, None, None]
    colour = np.array([round(255 * mean) for mean in seen.mean], np.float32)[:, None, None]
    constants = {"scale": seen.scale[:, None, None], "offset": offset, "colour": colour}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in constants.items()
        if name in used
    )
    return _without(model, used)


def _without(model: Any, used: set[str]) -> Any:
    """MODEL without the constants that no node reads."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _renamed(model: Any, names: dict[str, str]) -> Any:
    for node in model.graph.node:
        for each in (node.input, node.output):
            for i, name in enumerate(each):
                each[i] = names.get(name, name)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model
