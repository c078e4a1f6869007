"""A detector's training and test as one value, and the named ones. No torch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import UsageError, unknown
from ..recipe import Training
from ..spec import VGG, AnyNetwork, Detector
from .scenes import STYLES


@dataclass(frozen=True)
class Regions:
    """The numbers of Faster R-CNN (arXiv:1506.01497 section 3, as in py-faster-rcnn).

    before_nms, kept: proposals before and after NMS, in training and in testing. nms: its IoU. smallest: side in pixels
    of the picture below which a proposal is dropped. anchors, regions: that learn from an image. foreground:
    fraction of the regions, at most. background_from: IoU from which a region is a background that teaches ("[0.1,
    0.5)" of Fast R-CNN; 0: every one below 0.5). inside_only: anchors that cross the border teach nothing.
    """

    before_nms: tuple[int, int] = (12000, 6000)
    kept: tuple[int, int] = (2000, 300)
    nms: float = 0.7
    smallest: float = 16.0
    anchors: int = 256
    regions: int = 128
    foreground: float = 0.25
    background_from: float = 0.0
    inside_only: bool = True


@dataclass(frozen=True)
class Inference:
    """How a detector is tested, with the improvements of he2015 appendix B as switches.

    refine: pool again from every region's best box, and vote. scales: shorter sides between which each region chooses
    two adjacent ones, merged by maxout; empty for `scale` alone. Proposals come from `scale` always. aim: side in
    pixels that a region should have on the scale it is seen at, 224 in arXiv:1406.4729 section 4.3. nms: IoU of the
    suppression in a class. voting: IoU from which boxes vote (arXiv:1505.01749). limit: detections of an image.
    """

    scale: int = 600
    longest: int = 1000
    refine: bool = False
    scales: tuple[int, ...] = ()
    aim: int = 224
    nms: float = 0.3
    voting: float = 0.5
    score: float = 0.0
    limit: int = 100


@dataclass(frozen=True)
class DetectionRecipe:
    """Everything that decides the result of a detector's run but the machine.

    scales: shorter sides in training, one of them at random. flip: mirror half of the pictures. upside_down: and turn
    half of them over, as a microscope or a view from above allows. difficult: whether boxes marked so are learnt.
    metric: what chooses the best model and is told first, "area" and "voc07" AP at an IoU of 0.5 (area under the curve,
    11 points), or "coco". val_every: epochs from one test on validation data to the next.
    weights, origin: the network to start from, a weights file, a run or a model folder; a detector's run or folder is
    taken whole. freeze: the first layers, which stay as they are; the papers do not say which. learns, fixed,
    proposals: the steps of alternating training: which losses there are, whether the shared layers stay as they are,
    and whose RPN proposes. reasons: why what was chosen from the data is what it is.
    """

    name: str
    detector: Detector
    data: str
    seed: int = 0
    scales: tuple[int, ...] = (600,)
    longest: int = 1000
    normalize: str = "imagenet"
    flip: bool = True
    upside_down: bool = False
    difficult: bool = False
    max_bad: float = 0.01
    metric: Literal["area", "voc07", "coco"] = "area"
    val_every: int = 1
    test_images: int = 0
    weights: str = ""
    origin: str = ""
    learns: Literal["all", "rpn", "regions"] = "all"
    freeze: Literal["none", "stem", "stem+stage1"] = "none"
    fixed: bool = False
    proposals: str = ""
    regions: Regions = field(default_factory=Regions)
    testing: Inference = field(default_factory=Inference)
    training: Training = field(default_factory=Training)
    reasons: tuple[str, ...] = ()

    @property
    def network(self) -> AnyNetwork:
        """The backbone."""
        return self.detector.network

    @property
    def size(self) -> int:
        """The shorter side in testing, in pixels."""
        return self.testing.scale

    @property
    def complete(self) -> bool:
        """Whether what was trained can be tested: neither RPN alone nor regions that another network proposes."""
        return self.learns != "rpn" and self.proposals in ("", self.weights)


COCO_ANCHORS = (64, 128, 256, 512)


def voc_2015(network: AnyNetwork, data: str) -> DetectionRecipe:
    """Approximate joint training, as py-faster-rcnn on VOC 07: 70k updates of 2 images at 0.001, from 50k at 0.0001."""
    training = Training(
        epochs=0, updates=70_000, batch_size=2, lr=0.001, schedule="steps", milestones=(50_000,),
        weight_decay=5e-4, momentum_form="caffe", channels_last=True,
    )  # fmt: skip
    return DetectionRecipe(
        "voc-2015", Detector(network, 1), data, metric="voc07", freeze="stem+stage1", training=training
    )


def coco_2015(network: AnyNetwork, data: str) -> DetectionRecipe:
    """He2015 appendix A on COCO, jointly: 16 images, 240k iterations at 0.001 and 80k at 0.0001, four anchor sizes."""
    made = voc_2015(network, data)
    training = replace(made.training, updates=320_000, batch_size=16, milestones=(240_000,))
    detector = replace(made.detector, anchors=COCO_ANCHORS)
    return replace(made, name="coco-2015", detector=detector, metric="coco", training=training)


def quick(network: AnyNetwork, data: str) -> DetectionRecipe:
    """From scratch on a CPU: live BN, RoIAlign, small scale, one-cycle, averaged weights; the border teaches too."""
    training = Training(
        epochs=40, batch_size=4, lr=0.02, schedule="one-cycle", weight_decay=1e-4, nesterov=True, ema=0.998,
        precision="auto", decay="no-norm-bias",
    )  # fmt: skip
    return DetectionRecipe(
        "quick", Detector(network, 1, anchors=(32, 64, 128), pooling="align", bn="live"), data,
        scales=(240,), longest=480, val_every=5,
        regions=Regions((2000, 1000), (500, 200), smallest=4.0, regions=64, inside_only=False),
        testing=Inference(240, 480, aim=64), training=training,
    )  # fmt: skip


def pyramid(made: DetectionRecipe) -> DetectionRecipe:
    """The same on a feature pyramid (arXiv:1612.03144): an anchor size a level, from the smallest that MADE has."""
    network = made.detector.network
    if isinstance(network, VGG):
        raise UsageError("the feature pyramid stands on residual networks; choose --design c4 for a VGG")
    first = min(32, min(made.detector.anchors) // 2)
    sides = tuple(first << level for level in range(len(network.stages) + 1))
    return replace(made, detector=replace(made.detector, design="FPN", anchors=sides, pooling="align"))


# Updates of a step, the one from which the rate is a tenth, and pictures an update: of RPN, and of the regions
# (arXiv:1506.01497 section 3.3 as py-faster-rcnn has it; he2015 appendix A). A user's own length scales them. Two
# pictures share the regions that one has in joint training.
_STEPS = {
    "voc-2015": {"rpn": (80_000, 60_000, 1), "regions": (40_000, 30_000, 2)},
    "coco-2015": {"rpn": (320_000, 240_000, 8), "regions": (320_000, 240_000, 16)},
}


def alternating(made: DetectionRecipe) -> tuple[DetectionRecipe, ...]:
    """The four steps of arXiv:1506.01497 section 3.2 in place of joint training; each goes on from those before.

    RPN; Fast R-CNN on its proposals, from the network's own weights again; RPN on the shared layers of step 2, fixed;
    Fast R-CNN's own layers on these. `weights` and `proposals` of a step name the steps before it: "step-2".
    """

    def step(number: int, learns: Literal["rpn", "regions"], **changes: object) -> DetectionRecipe:
        training, regions = made.training, replace(made.regions, background_from=0.1)
        if made.name in _STEPS:
            regions = replace(regions, regions=regions.regions // 2)
            usual = RECIPES[made.name](made.network, made.data).training
            updates, mark, pictures = _STEPS[made.name][learns]
            part, size = training.updates / usual.updates, training.batch_size / usual.batch_size
            training = replace(
                training, updates=max(1, round(part * updates)) if training.updates else 0,
                milestones=(max(1, round(part * mark)),), batch_size=max(1, round(size * pictures)),
            )  # fmt: skip
        return replace(
            made, name=f"{made.name}-step-{number}", learns=learns, training=training, regions=regions, **changes
        )

    return (
        step(1, "rpn"),
        step(2, "regions", proposals="step-1"),
        step(3, "rpn", weights="step-2", fixed=True),
        step(4, "regions", weights="step-3", proposals="step-3", fixed=True),
    )


RECIPES: dict[str, Callable[[AnyNetwork, str], DetectionRecipe]] = {
    "quick": quick,
    "voc-2015": voc_2015,
    "coco-2015": coco_2015,
}


def recipe(name: str, network: AnyNetwork, data: str) -> DetectionRecipe:
    """The detection recipe called NAME. Mirrored digits are none. Raises UsageError with the nearest names."""
    if name not in RECIPES:
        raise unknown("detection recipe", name, RECIPES)
    return replace(RECIPES[name](network, data), flip=data not in STYLES)
