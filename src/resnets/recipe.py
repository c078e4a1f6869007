"""One run as a value: network, data, augmentation, training. No torch; `recipes` holds the named ones."""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast

from .errors import UsageError, safe_text, unknown
from .spec import AnyNetwork

Interpolation = Literal["bilinear", "bicubic"]
Fit = Literal["crop", "pad", "squash"]


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image.

    crop: "pad" adds `pad` pixels on each side and takes a random window of the old size (he2015 section 4.2);
        "scale" brings the shorter side to a random length in `scale`, both ends included, and takes a random window
        of the network's size (he2015 section 3.4); "resized" takes a random window of at least `min_area` of the
        picture, aspect ratio 3/4 to 4/3, resized; "none" does what testing does.
    border: "after" pads zeros after normalisation, "before" pads black before it, "reflect" the mirrored picture.
    flip: "random" mirrors half of the images; "alternating" mirrors each image every other epoch.
    colour: standard deviation of the PCA colour noise (Krizhevsky et al. 2012, section 4.1), 0 for none.
    randaugment: magnitude of two random operations (arXiv:1909.13719), 0 for none.
    mixup, cutmix: parameter of the Beta distribution (arXiv:1710.09412, 1905.04899), 0 for none; with both, each batch
        gets one of them at random.
    """

    crop: Literal["pad", "scale", "resized", "none"] = "pad"
    pad: int = 4
    border: Literal["after", "before", "reflect"] = "after"
    scale: tuple[int, int] = (256, 480)
    min_area: float = 0.35
    flip: Literal["none", "random", "alternating"] = "random"
    colour: float = 0.0
    randaugment: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class Training:
    """How a network is trained: with momentum, rates in updates.

    The run ends after `updates`, or after `epochs` where updates is 0. schedule: "steps" multiplies the rate by
    `drop` at each milestone (update numbers, or epochs where `milestone_epochs` is given); "one-cycle" rises linearly
    over `warmup_updates` (default: 15 % of the run) and falls linearly to 0; "cosine" falls along a half cosine;
    "plateau" multiplies by `drop` when the validation error (else the training error) has not fallen for `patience`
    epochs.
    warmup: "until-error" stays at `warmup_lr` until the training error of 100 updates is below 80 % (he2015 section
    4.2, 110 layers), "updates" for `warmup_updates` (he2016 appendix); both then go on with `lr`.
    optimizer: "muon" gives the weights of convolutions orthogonalised updates at the rate `muon_lr`, which follows the
    same schedule, and SGD all others (`training.optimizer.Muon`).
    momentum_form: "pytorch" is v = m·v + g, w -= lr·v; "caffe" is v = m·v + lr·g, w -= v. They differ for some ten
    updates after each drop of the rate.
    decay: which parameters decay; "no-norm-bias" exempts BN and biases. ema: decay of the averaged weights that are
    tested and kept, 0 for none. precision: "bf16" computes under autocast, weights stay
    float32; kernels: "compiled" computes BN, addition and ReLU together. "auto" is what is faster on the machine where
    the run begins, written into its recipe.json; it differs from the other by rounding only.
    body_lr: factor of the rate for everything but the classifier (fine-tuning). head_epochs: epochs at the start in
    which only the classifier learns and the body stays in eval mode.
    ghost_batch: images that share BN statistics (virtual batches; 0: all that pass the network together; he2015 used
    8 × 32 on ImageNet, 2 × 64 on CIFAR). micro_batch: images that pass the network together, gradients add up (0: the
    whole batch). recompute: segments of the network whose activations are computed again in the backward pass instead
    of kept, 0 for none (arXiv:1604.06174). bn_images: training images over which BN statistics are averaged after
    training, 0 to keep the moving averages.
    active_units: how many random units take part in an update, the others being their shortcuts (veit2016 section 4.3);
    what is tested and kept has all of them, every F times its part of the time. 0 for all.
    balance: "loss" weighs each class by the inverse of its share, "sampling" draws every class equally often.
    """

    epochs: int = 30
    updates: int = 0
    batch_size: int = 128
    lr: float = 0.1
    schedule: Literal["steps", "one-cycle", "cosine", "plateau", "constant"] = "one-cycle"
    milestones: tuple[int, ...] = ()
    milestone_epochs: tuple[int, ...] = ()
    drop: float = 0.1
    patience: int = 5
    warmup: Literal["none", "until-error", "updates"] = "none"
    warmup_lr: float = 0.01
    warmup_updates: int = 0
    optimizer: Literal["sgd", "muon"] = "sgd"
    muon_lr: float = 0.03
    momentum: float = 0.9
    momentum_form: Literal["pytorch", "caffe"] = "pytorch"
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay: Literal["all", "no-norm-bias"] = "all"
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    kernels: Literal["auto", "eager", "compiled"] = "auto"
    channels_last: bool = True
    fan: Literal["fan_in", "fan_out"] = "fan_in"
    zero_last_scale: bool = False
    body_lr: float = 1.0
    head_epochs: int = 0
    ghost_batch: int = 0
    micro_batch: int = 0
    recompute: int = 0
    bn_images: int = 0
    active_units: int = 0
    balance: Literal["none", "loss", "sampling"] = "none"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a run but the machine.

    size: side of the network's input in pixels. normalize: a name of `data.preprocessing.NORMALIZATIONS` or
    "pixel-mean", the mean image of the training set. val, test: fractions held out where the data has no such part
    (None: the data set's own habit), chosen by `split_seed`; group_by: what keeps images on one side of the split, a
    column of a list of files or a regular expression on the file's path. class_order: "string", "natural" (2 before
    10), or a file with a class a line. split: a run's split.csv to be made again instead. channels: of the network's
    input, 0 as the data has them. protocol: how the kept model is tested at the end. watch_test logs the test error per
    epoch; nothing reads it. max_bad: fraction of unreadable images that stops the run. weights, origin: what to start
    from. reasons: why the fields that were chosen from the data and the machine are what they are.
    """

    name: str
    network: AnyNetwork
    data: str
    seed: int = 0
    size: int = 32
    normalize: str = "cifar10"
    fit: Fit = "crop"
    crop_pct: float = 1.0
    interpolation: Interpolation = "bilinear"
    val: float | None = None
    test: float | None = None
    split_seed: int = 0
    group_by: str = ""
    class_order: str = "string"
    split: str = ""
    channels: int = 0
    protocol: str = "1-crop"
    watch_test: bool = False
    max_bad: float = 0.01
    weights: str = ""
    origin: str = ""
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: Training = field(default_factory=Training)
    reasons: tuple[str, ...] = ()

    def value(self, name: str) -> Any:
        """The field called NAME of the recipe, its training or its augmentation."""
        return getattr(next(owner for owner in (self, self.training, self.augmentation) if hasattr(owner, name)), name)


def change(value: Recipe, **changes: Any) -> Recipe:
    """VALUE with fields replaced, each found by its own name in the recipe, its augmentation or its training."""
    known: dict[str, str] = {}
    for part in ("training", "augmentation", ""):
        owner = getattr(value, part) if part else value
        known |= {f.name: part for f in fields(owner)}
    for name in changes:
        if name not in known:
            raise unknown("recipe field", name, known)
    value = replace(value, **{k: v for k, v in changes.items() if known[k] == ""})
    inner: dict[str, Any] = {
        part: replace(getattr(value, part), **{k: v for k, v in changes.items() if known[k] == part})
        for part in ("training", "augmentation")
    }
    return replace(value, **inner)


# What a number of a recipe must be: at least, and below.
RANGES: dict[str, tuple[float, float]] = {
    "size": (1, 4097), "crop_pct": (0.1, 1.0001), "val": (0, 1), "test": (0, 1), "max_bad": (0, 1.0001),
    "epochs": (0, 10**6), "updates": (0, 10**9), "batch_size": (1, 10**6), "lr": (0, float("inf")),
    "weight_decay": (0, float("inf")), "momentum": (0, 1), "ema": (0, 1), "label_smoothing": (0, 1), "pad": (0, 1000),
    "min_area": (0.001, 1.0001), "body_lr": (0, float("inf")), "head_epochs": (0, 10**6), "patience": (1, 10**6),
    "drop": (0, 1.0001), "warmup_updates": (0, 10**9), "ghost_batch": (0, 10**6), "micro_batch": (0, 10**6),
    "recompute": (0, 10**4), "bn_images": (0, 10**9), "colour": (0, 10), "randaugment": (0, 31), "mixup": (0, 100),
    "cutmix": (0, 100), "channels": (0, 65), "muon_lr": (0, float("inf")), "active_units": (0, 10**6),
}  # fmt: skip


def checked(value: Recipe) -> Recipe:
    """VALUE after every field was checked for type, choice and range. Raises UsageError naming the first wrong one."""
    value = from_json(Recipe, as_json(value), "recipe")
    for owner in (value, value.augmentation, value.training):
        for name, number in ((f.name, getattr(owner, f.name)) for f in fields(owner)):
            low, high = RANGES.get(name, (0, 0))
            if name in RANGES and number is not None and not low <= number < high:
                raise UsageError(f"{name} is {number}; it must be at least {low:g} and below {high:g}")
    if value.training.momentum_form == "caffe" and value.training.nesterov:
        raise UsageError("momentum_form caffe has no Nesterov form here; set nesterov to false")
    if value.training.momentum_form == "caffe" and value.training.optimizer == "muon":
        raise UsageError("momentum_form caffe is one of sgd; set optimizer to sgd")
    if value.training.epochs == value.training.updates == 0:
        raise UsageError("the run has no length; give --epochs or --updates")
    return value


T = TypeVar("T")


# Fields that runs were kept without, written where they are not at their default: a run's name is made of its recipe.
_LATER = {"active_units": 0}


def as_json(value: Any) -> dict[str, Any]:
    """A frozen value as plain data for JSON."""
    return asdict(value, dict_factory=_told)


def _told(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name not in _LATER or value != _LATER[name]}


def from_json(kind: type[T], data: Any, where: str) -> T:
    """Plain data as a value of KIND; an unknown key or a wrong type raises UsageError with the first of them.

    Types are those of JSON: "128" and true are no numbers.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        value = TypeAdapter(kind).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(safe_text(": ".join(filter(None, (where, place, first["msg"]))))) from error
    _refuse_unknown(value, data, where)
    return value


def _refuse_unknown(value: Any, data: Any, where: str) -> None:
    """Raise UsageError for the first key of DATA that VALUE, made from it, has no field for."""
    if isinstance(value, tuple):
        for inner, given in zip(cast("tuple[Any, ...]", value), data, strict=True):
            _refuse_unknown(inner, given, where)
    elif is_dataclass(value):
        known = {f.name for f in fields(value)}
        for key, given in data.items():
            if key not in known:
                raise UsageError(f"{safe_text(where)}: {unknown('field', key, known)}")
            _refuse_unknown(getattr(value, key), given, where)
