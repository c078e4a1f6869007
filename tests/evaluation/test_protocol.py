"""Protocols as values, by name and as text."""

import subprocess
import sys

import pytest

from resnets.errors import UsageError
from resnets.evaluation.protocol import PROTOCOLS, Protocol, check, parse, protocol, side


def test_the_papers_protocols():
    """he2015 section 3.4, he2016 table 5."""
    ten = PROTOCOLS["10-crop"]
    assert (ten.crops, ten.scales, ten.size, ten.flip, ten.corners) == ("five", (256,), 224, True, "image")
    assert (ten.average, ten.offset, ten.interpolation) == ("softmax", "floor", "own")
    assert PROTOCOLS["multi-scale"].scales == (224, 256, 384, 480, 640)
    assert (PROTOCOLS["multi-scale"].dense, PROTOCOLS["multi-scale"].flip) == ("iii", False)
    assert (PROTOCOLS["320-crop"].scales, PROTOCOLS["320-crop"].size) == ((320,), 320)
    assert PROTOCOLS["10-crop-square"].corners == "square"
    assert all(name == row.name and check(row) is row for name, row in PROTOCOLS.items())


def test_sizes_are_in_proportion():
    assert [side(p, 224) for p in (224, 256, 384, 480, 640)] == [224, 256, 384, 480, 640]
    assert [side(p, 32) for p in (224, 256, 320, 384, 480, 640)] == [32, 37, 46, 55, 69, 91]
    assert side(336, 1) == 2  # half a pixel goes up


@pytest.mark.parametrize(
    ("text", "name", "changes"),
    [
        ("10-crop", "10-crop", {}),
        ("dense:dense=i,flip=true", "dense:flip=true,dense=i", {"dense": "i", "flip": True}),
        ("multi-scale:scales=224+256", "multi-scale:scales=224+256", {"scales": (224, 256)}),
        ("multi-scale:scales=256", "multi-scale:scales=256", {"scales": (256,)}),
        ("10-crop:corners=square,average=logits", "10-crop:corners=square,average=logits",
         {"corners": "square", "average": "logits"}),
        ("10-crop:corners=image", "10-crop", {}),
        ("shifts:shift=2", "shifts:shift=2", {"shift": 2}),
        ("1-crop:crops=dense,scales=224", "1-crop:crops=dense,scales=224", {"crops": "dense", "scales": (224,)}),
    ],
)  # fmt: skip
def test_text(text, name, changes):
    made = parse(text)
    assert made.name == name
    row = text.partition(":")[0]
    assert made == protocol(row, **changes) == parse(name)
    assert {f: getattr(made, f) for f in changes} == changes
    assert "name" not in made.as_dict()
    assert made.as_dict().items() >= changes.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("denes", "unknown protocol 'denes'; nearest: dense"),
        ("dense:flp=true", "unknown field of a protocol 'flp'; nearest: flip"),
        ("dense:name=x", "unknown field of a protocol 'name'"),
        ("dense:flip=yes", "flip: Input should be a valid boolean"),
        ("dense:dense=iv", "dense: Input should be 'i', 'ii' or 'iii'"),
        ("10-crop:scales=a+b", "scales.0: Input should be a valid integer"),
        ("dense:flip", "'flip' is not of the form FIELD=VALUE"),
        ("1-crop:scales=256", "scales says nothing about own views"),
        ("dense:corners=square", "corners says nothing about dense views"),
        ("10-crop:scales=200", "a crop of 224 is larger than scale 200"),
        ("dense:scales=0", "numbers from 1 to 4096"),
        ("shifts:shift=0", "numbers from 1 to 4096"),
        ("1-crop:crops=dense", "needs at least one scale"),
        ("dense:crops=own", "takes no scales"),
        ("10-crop:crops=six", "crops: Input should be 'own'"),
    ],
)
def test_mistakes_are_one_line(text, message):
    with pytest.raises(UsageError) as error:
        parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_any_value_in_python():
    own = Protocol("mine", "center", (300, 400), size=256, offset="ceil")
    assert check(own) is own
    with pytest.raises(UsageError, match="protocol mine: a crop of 256 is larger than scale 250"):
        check(Protocol("mine", "center", (300, 250), size=256))


def test_as_dict_says_what_matters():
    assert PROTOCOLS["1-crop"].as_dict() == {"crops": "own", "flip": False, "average": "softmax"}
    assert set(PROTOCOLS["dense"].as_dict()) == {"crops", "scales", "flip", "average", "dense", "interpolation"}


def test_memory_grows_with_the_views():
    counts = {name: round(row.views, 1) for name, row in PROTOCOLS.items()}
    assert counts["10-crop"] == 10
    assert counts["1-crop-flip"] == 2
    assert counts["shifts"] == 18
    assert counts["320-crop"] == 2.0
    assert counts["multi-scale"] == 24.0


def test_listing_needs_no_torch():
    code = "import sys, resnets.evaluation.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
