"""Test protocols as values: which views of a picture are scored, and how scores become one answer. No torch."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import UsageError, safe_text, unknown
from ..recipe import as_json, from_json

TRAINING_SIZE = 224  # side of the input of the networks that `scales` and `size` are written for
_COMMON = frozenset({"flip", "average"})
_RESIZED = _COMMON | {"scales", "interpolation"}
_READS = {  # the fields that say something, by the kind of views
    "own": _COMMON,
    "shifts": _COMMON | {"shift"},
    "center": _RESIZED | {"size", "offset"},
    "five": _RESIZED | {"size", "offset", "corners"},
    "dense": _RESIZED | {"dense"},
}


@dataclass(frozen=True)
class Protocol:
    """How a picture is tested: views at one scale or several, averaged over views, then scales, then models.

    crops: "own" is the one view of the model's preprocessing; "shifts" that view moved by −shift, 0 and shift pixels
    along both axes (nine views, zeros after normalisation come in); "center" and "five" are crops of the resized
    picture, five being four corners and the centre; "dense" is all of it through the fully convolutional network.
    scales: shorter sides in pixels; size: side of a crop. Both are those of a network of 224 and in proportion for
    others, rounded half up. flip: the mirrored views as well. corners: of the whole "image" or of its central "square".
    offset: how half a pixel of a centre offset is rounded. average: of "softmax" or of "logits". dense: form (i) the
    logits of every position of the last map, averaged, which is global pooling; (ii) of every window of the map's size
    in training; (iii) as (ii) with the softmax before the average. interpolation: "own" is that of the model's
    preprocessing; "bilinear" is without antialias, the other two are Pillow's.
    """

    name: str
    crops: Literal["own", "shifts", "center", "five", "dense"] = "own"
    scales: tuple[int, ...] = ()
    size: int = TRAINING_SIZE
    flip: bool = False
    shift: int = 1
    corners: Literal["image", "square"] = "image"
    offset: Literal["floor", "ceil", "half-even"] = "floor"
    average: Literal["softmax", "logits"] = "softmax"
    dense: Literal["i", "ii", "iii"] = "iii"
    interpolation: Literal["own", "bilinear", "bilinear-antialias", "bicubic"] = "own"

    def as_dict(self) -> dict[str, Any]:
        """The fields that say something about these views, by name."""
        return {"crops": self.crops, **{k: v for k, v in as_json(self).items() if k in _READS[self.crops]}}

    @property
    def views(self) -> float:
        """About how many views of the training size a picture of 4:3 has; what memory and time grow with."""
        each = {"shifts": 9, "five": 5, "dense": 4 / 3}.get(self.crops, 1) * (2 if self.flip else 1)
        sides = self.scales if self.crops == "dense" else (self.size,) * max(len(self.scales), 1)
        return each * sum((side / TRAINING_SIZE) ** 2 for side in sides)


PROTOCOLS = {
    row.name: row
    for row in (
        Protocol("1-crop"),
        Protocol("1-crop-flip", flip=True),
        Protocol("10-crop", "five", (256,), flip=True),
        Protocol("10-crop-square", "five", (256,), flip=True, corners="square"),
        Protocol("320-crop", "center", (320,), size=320),
        Protocol("dense", "dense", (256,)),
        Protocol("multi-scale", "dense", (224, 256, 384, 480, 640)),
        Protocol("shifts", "shifts", flip=True),
    )
}


def side(pixels: int, size: int) -> int:
    """PIXELS, written for a network of 224, for a network of SIZE."""
    return (2 * pixels * size + TRAINING_SIZE) // (2 * TRAINING_SIZE)


def protocol(name: str, /, **changes: Any) -> Protocol:
    """The protocol called NAME with fields replaced; its name then says which. Raises UsageError."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    row = PROTOCOLS[name]
    known = as_json(row).keys() - {"name"}
    for field in sorted(changes.keys() - known):
        raise unknown("field of a protocol", field, known)
    made = from_json(Protocol, as_json(row) | changes, f"protocol {name}")
    reads = _READS[made.crops] | {"crops"}
    for field in sorted(changes.keys() - reads):
        raise UsageError(f"{field} says nothing about {made.crops} views; what does: {', '.join(sorted(reads))}")
    return check(replace(made, name=_name(row, made)))


def parse(text: str) -> Protocol:
    """The protocol of a NAME or NAME:FIELD=VALUE,…, such as "dense:dense=i,flip=true". Raises UsageError.

    Several scales are joined by +, as in "multi-scale:scales=224+256".
    """
    name, _, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if rest]
    if wrong := [field for field, equals, _ in pairs if not equals]:
        raise UsageError(f"protocol {safe_text(text)}: '{safe_text(wrong[0])}' is not of the form FIELD=VALUE")
    return protocol(name, **{field: _value(field, value) for field, _, value in pairs})


def check(value: Protocol) -> Protocol:
    """VALUE, if it can be carried out. Raises UsageError."""
    resized = value.crops not in ("own", "shifts")
    if resized != bool(value.scales):
        needs = "needs at least one scale" if resized else "takes no scales"
        raise UsageError(f"protocol {value.name}: {value.crops} views: it {needs}")
    if not all(1 <= number <= 4096 for number in (*value.scales, value.size, value.shift)):
        raise UsageError(f"protocol {value.name}: scales, size and shift are numbers from 1 to 4096")
    if value.crops in ("center", "five") and min(value.scales) < value.size:
        raise UsageError(f"protocol {value.name}: a crop of {value.size} is larger than scale {min(value.scales)}")
    return value


def _value(field: str, text: str) -> Any:
    if field == "scales":
        return [int(part) if part.isdecimal() else part for part in text.split("+")]
    return {"true": True, "false": False}.get(text, int(text) if text.isdecimal() else text)


def _name(row: Protocol, made: Protocol) -> str:
    """The text that `parse` reads as MADE."""
    old, new = as_json(row), as_json(made)
    changed = {field: value for field, value in new.items() if value != old[field]}
    texts = [f"{field}={_text(value)}" for field, value in changed.items()]
    return f"{row.name}:{','.join(texts)}" if texts else row.name


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()
