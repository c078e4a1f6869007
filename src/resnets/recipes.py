"""The named recipes: the papers' own, and modern ones. No torch."""

from collections.abc import Callable

from .errors import UsageError, unknown
from .recipe import Augmentation, Recipe, Training, change
from .spec import AnyNetwork


def cifar_2015(network: AnyNetwork, data: str) -> Recipe:
    """He2015 section 4.2: 64k updates of 128, 0.1 divided at 32k and 48k, per-pixel mean, all 50k images.

    The schedule was found on 45k training and 5k validation images: val=0.1 is that mode. From 110 layers on, 0.01
    until the training error is below 80 %.
    """
    training = Training(
        epochs=0,
        updates=64_000,
        schedule="steps",
        milestones=(32_000, 48_000),
        warmup="until-error" if network.layers >= 110 else "none",
    )
    base = Recipe("cifar-2015", network, data, size=network.size, normalize="pixel-mean", val=0.0, watch_test=True)
    return change(base, training=training)


def cifar_2016(network: AnyNetwork, data: str) -> Recipe:
    """He2016 appendix: the same with 0.01 for the first 400 updates of every network."""
    return change(cifar_2015(network, data), name="cifar-2016", warmup="updates", warmup_updates=400)


def imagenet_2015(network: AnyNetwork, data: str) -> Recipe:
    """He2015 section 3.4: shorter side in [256, 480], 224 crop, PCA colour noise, per-pixel mean, batch 256.

    0.1 divided by 10 when the error plateaus (on validation data, else on training data), at most 600k updates.
    """
    training = Training(epochs=0, updates=600_000, batch_size=256, schedule="plateau")
    augmentation = Augmentation(crop="scale", scale=(256, 480), colour=0.1)
    base = Recipe("imagenet-2015", network, data, size=network.size, normalize="pixel-mean", val=0.0, watch_test=True)
    return change(base, crop_pct=0.875, training=training, augmentation=augmentation)


def imagenet_2016(network: AnyNetwork, data: str) -> Recipe:
    """He2016 appendix: the same with 0.1 divided at epochs 30 and 60; it ends at epoch 90 (fb.resnet.torch's habit)."""
    base = imagenet_2015(network, data)
    return change(base, name="imagenet-2016", updates=0, epochs=90, schedule="steps", milestone_epochs=(30, 60))


def quick(network: AnyNetwork, data: str) -> Recipe:
    """Good in minutes: one-cycle, Nesterov momentum, averaged weights, no decay on BN and biases.

    Small images: Muon, and shifts by 2 pixels; docs/results.md says how they were found, `benchmarks/search.py` checks.
    """
    training = Training(
        epochs=20,
        optimizer="muon",
        lr=0.4,
        momentum=0.8,
        nesterov=True,
        weight_decay=3e-4,
        decay="no-norm-bias",
        ema=0.998,
        precision="auto",
    )
    small = Recipe("quick", network, data, size=network.size, training=training)
    small = change(small, pad=2, border="reflect", flip="alternating")
    return small if network.size < 64 else _photographs(small)


def _photographs(recipe: Recipe) -> Recipe:
    """The same for photographs: smaller inputs than ImageNet's, random resized crops, smaller batches, RandAugment."""
    return change(
        recipe, size=128, normalize="imagenet", crop_pct=0.875, crop="resized", flip="random", randaugment=5,
        epochs=30, batch_size=32, optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=1e-4, label_smoothing=0.1,
        ema=0.99, mixup=0.1, cutmix=0.5,
    )  # fmt: skip


def finetune(network: AnyNetwork, data: str) -> Recipe:
    """From published or own weights: the classifier alone first, then the body at a tenth of its rate."""
    return change(
        quick(network, data),
        name="finetune",
        size=network.size,
        epochs=8,
        head_epochs=1,
        optimizer="sgd",
        lr=0.02,
        momentum=0.9,
        body_lr=0.1,
        mixup=0.0,
        cutmix=0.0,
    )


RECIPES: dict[str, Callable[[AnyNetwork, str], Recipe]] = {
    "cifar-2015": cifar_2015,
    "cifar-2016": cifar_2016,
    "imagenet-2015": imagenet_2015,
    "imagenet-2016": imagenet_2016,
    "quick": quick,
    "finetune": finetune,
}


def recipe(name: str, network: AnyNetwork, data: str) -> Recipe:
    """The recipe called NAME for a network and a data set. Raises UsageError with the nearest names."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    kind, _, year = name.partition("-")
    if year and (kind == "cifar") != (network.size < 64):
        other = "cifar_resnet20" if kind == "cifar" else "resnet50_v1"
        raise UsageError(f"the recipe {name} is that of the {kind} networks; choose one, such as {other}")
    return RECIPES[name](network, data)
