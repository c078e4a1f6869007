"""`detect`: train, test and use detectors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from ..errors import DataError, UsageError, unknown
from .localize import Localize
from .verb import Verb, console, print_json, shown

# Options of `detect train` that are fields of the recipe, and where they stand in it.
_OWN = ("seed", "weights", "origin", "metric", "difficult", "max_bad", "freeze", "upside_down")
_TRAINING = ("epochs", "updates", "batch_size", "lr")
_DETECTOR = ("masks", "context", "pooling", "bn")


@dataclass(frozen=True)
class Train(Verb):
    """Train a detector, test it and keep it; the same command with the same --out goes on where it stopped.

    DATA is digits-scene, a folder in PASCAL VOC's or COCO's layout, COCO's JSON, or a CSV of boxes.

    examples: resnets detect train digits-scene; resnets detect train bccd/ --network slim_resnet18;
    resnets detect train VOC2007/ --recipe voc-2015 --network resnet101_v1 --weights resnet101.pth --origin msra
    """

    called: ClassVar[str] = "detect train"
    data: Positional[Annotated[str, arg(help="digits-scene, a folder, a JSON or CSV file", metavar="DATA")]]
    out: Annotated[Path | None, arg(help="the run's folder; default: a new one below runs/")] = None
    network: Annotated[str, arg(help="the backbone: resnet50, vgg16, cifar_resnet20 …")] = "slim_resnet18"
    design: Annotated[Literal["c4", "fpn"], arg(help="all stages but the last shared, or a feature pyramid")] = "c4"
    recipe: Annotated[str, arg(help="quick, voc-2015, coco-2015")] = "quick"
    alternating: Annotated[bool, arg(help="the four steps of Faster R-CNN, each a run, not joint training")] = False
    seed: Annotated[int | None, arg(help="decides initial weights, order, flips and samples; default 0")] = None
    epochs: Annotated[int | None, arg(help="passes over the training pictures; default: the recipe's")] = None
    updates: Annotated[int | None, arg(help="length in updates instead of epochs")] = None
    batch_size: Annotated[int | None, arg(help="pictures per update")] = None
    lr: Annotated[float | None, arg(help="peak learning rate")] = None
    scale: Annotated[tuple[int, ...], arg(help="shorter sides in training, one at random; the last one tests")] = ()
    longest: Annotated[int | None, arg(help="pixels that the longer side has at most")] = None
    anchors: Annotated[tuple[int, ...], arg(help="sides of anchors in pixels of the scaled picture")] = ()
    masks: Annotated[bool, arg(help="learn masks too (Mask R-CNN)")] = False
    context: Annotated[bool, arg(help="every region sees the whole picture too")] = False
    pooling: Annotated[Literal["pool", "align"] | None, arg(help="RoIPool, the paper's, or RoIAlign")] = None
    bn: Annotated[Literal["frozen", "live"] | None, arg(help="frozen needs --weights")] = None
    freeze: Annotated[Literal["none", "stem", "stem+stage1"] | None, arg(help="first layers that stay as they are")] = (
        None
    )
    no_flip: Annotated[bool, arg(help="mirror no pictures: where left and right matter, as in letters")] = False
    upside_down: Annotated[bool, arg(help="turn half of the pictures over too: microscopes, views from above")] = False
    difficult: Annotated[bool, arg(help="learn boxes marked as difficult too")] = False
    max_bad: Annotated[float | None, arg(help="fraction of pictures or boxes that may be unusable")] = None
    metric: Annotated[Literal["area", "voc07", "coco"] | None, arg(help="chooses the best model, is told first")] = None
    weights: Annotated[str | None, arg(help="start from a weights file, a run, a model folder or a detector")] = None
    origin: Annotated[str | None, arg(help="who published the weights file: torchvision, timm, msra …")] = None
    json: Annotated[bool, arg(help="print the result as one object; progress goes to standard error")] = False

    def run(self) -> int:
        """Train, showing how it goes."""
        from ..api import followed, new_folder
        from ..detection.recipe import alternating
        from .detector_screen import DetectorScreen
        from .train import follow, watch

        made = self.made()
        folder = self.out or new_folder(f"{self.network}-{self.design}-{Path(self.data).name}")
        if not self.alternating:
            return follow(followed(made, folder), self.json, DetectorScreen)
        *first, last = ((step, folder / f"step-{number}") for number, step in enumerate(alternating(made), 1))
        for step, place in first:
            watch(followed(step, place), self.json, DetectorScreen)
        return follow(followed(*last), self.json, DetectorScreen)

    def made(self) -> Any:
        """The recipe that the options make. Raises UsageError."""
        from ..detection.choose import fitted, long_enough, resized
        from ..detection.datasets import open_detection
        from ..detection.recipe import pyramid
        from ..detection.recipe import recipe as recipe_called
        from ..families import network as network_called

        made, longest = recipe_called(self.recipe, network_called(self.network), self.data), self.longest or 0
        if min(self.scale, default=32) < 32:
            raise UsageError("--scale must be at least 32")
        if self.recipe == "quick":
            dataset = open_detection(self.data, made.max_bad if self.max_bad is None else self.max_bad)
            made = fitted(made, dataset, self.scale, longest)
            made = made if self.epochs or self.updates else long_enough(made, len(dataset.train))
        else:
            made = resized(made, self.scale, longest)
        made = pyramid(made) if self.design == "fpn" else made
        training = replace(made.training, **self._given(_TRAINING))
        if self.epochs and not self.updates:
            training = replace(training, updates=0)
        detector = replace(made.detector, **self._given(_DETECTOR))
        detector = replace(detector, anchors=self.anchors) if self.anchors else detector
        if detector.bn == "frozen" and not (self.weights or made.weights):
            raise UsageError("BN of an untrained network cannot be frozen; give --weights, or --bn live")
        if training.batch_size < 1 or training.lr <= 0 or training.epochs + training.updates < 1:
            raise UsageError("--batch-size and --epochs or --updates must be at least 1, --lr larger than 0")
        flip = made.flip and not self.no_flip
        return replace(made, detector=detector, training=training, flip=flip, **self._given(_OWN))

    def _given(self, names: Sequence[str]) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None and value is not False}


@dataclass(frozen=True)
class Evaluate(Verb):
    """Test a detector, or an ensemble of several; or the results of any detector, in COCO's form.

    examples: resnets detect evaluate runs/latest --data bccd/ --refine; resnets detect evaluate
    --annotations instances_val2014.json --results results.json --kind segm --json
    """

    called: ClassVar[str] = "detect evaluate"
    models: Positional[Annotated[tuple[Path, ...], arg(help="runs or model folders", metavar="MODEL…")]] = ()
    data: Annotated[str, arg(help="as for train; default: what the model was trained with")] = ""
    part: Annotated[str, arg(help="auto: test, else val, else train")] = "auto"
    annotations: Annotated[Path | None, arg(help="COCO's annotations, in place of MODEL and --data")] = None
    results: Annotated[Path | None, arg(help="detections in COCO's results form")] = None
    kind: Annotated[Literal["bbox", "segm"], arg(help="what is compared: boxes or masks")] = "bbox"
    refine: Annotated[bool, arg(help="box refinement and voting (he2015 appendix B)")] = False
    scales: Annotated[tuple[int, ...], arg(help="multi-scale testing: shorter sides, such as 200 400 600")] = ()
    images: Annotated[int, arg(help="the first so many pictures only; 0: all")] = 0
    max_bad: Annotated[
        float | None, arg(help="fraction of pictures or boxes that may be unusable; default: the run's")
    ] = None
    out: Annotated[Path | None, arg(help="keep figures and detections in this folder")] = None
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Test and tell."""
        if bool(self.annotations) != bool(self.results) or bool(self.annotations) == bool(self.models):
            raise UsageError("give MODEL… and --data, or both --annotations and --results")
        if self.images < 0 or min(self.scales, default=32) < 32:
            raise UsageError("--images must be at least 0, every one of --scales at least 32")
        if self.annotations and self.results:
            from ..detection.coco_metric import figures_of_files

            return self._tell(figures_of_files(self.annotations, self.results, self.kind), {})
        from ..detector import evaluated

        changes = {"refine": self.refine, "scales": self.scales}
        found = evaluated(self.models, self.data, self.part, changes, self.images, self.max_bad)
        if self.out:
            found.figures.write(self.out, found.detections, found.part, found.classes, found.facts)
        return self._tell({**found.figures.means}, {"classes": found.figures.classes, **found.facts})

    def _tell(self, figures: dict[str, Any], more: dict[str, Any]) -> int:
        if self.json:
            print_json({**figures, **more})
            return 0
        for name, value in [*figures.items(), *more.get("classes", {}).items()]:
            console().print(f"{shown(name):<14}{'–' if value is None else f'{value:.3f}'}")
        return 0


@dataclass(frozen=True)
class Predict(Verb):
    """Name and place what is on pictures.

    examples: resnets detect predict runs/latest street.jpg --draw out/; resnets detect predict RUN photos/ --json
    """

    called: ClassVar[str] = "detect predict"
    model: Positional[Annotated[Path, arg(help="a run or a model folder", metavar="MODEL")]]
    images: Positional[Annotated[tuple[Path, ...], arg(help="pictures, or folders of them", metavar="IMAGE…")]]
    draw: Annotated[Path | None, arg(help="folder for pictures with boxes, names, scores and masks on them")] = None
    least: Annotated[float, arg(help="scores from which a detection counts")] = 0.5
    refine: Annotated[bool, arg(help="box refinement and voting")] = False
    json: Annotated[bool, arg(help="print COCO's results form, image_id the number of the picture from 1")] = False

    def run(self) -> int:
        """Look, draw and tell."""
        from ..detector import Looked, looked

        found = list[Looked]()
        for one in looked(self.model, self.images, self.least, self.refine, self.draw):
            found.append(one)
            if not self.json:
                _show(one)
        if self.json:
            print_json(
                {"images": [one.as_dict() for one in found], "results": [r for one in found for r in one.results()]}
            )
        if found and all(one.reason for one in found):
            raise DataError(f"none of {len(found)} pictures can be read, such as {found[0].name}: {found[0].reason}")
        return 0


def _show(one: Any) -> None:
    out = console()
    out.print(f"{shown(one.name)}  {one.reason or f'{1000 * one.seconds:.0f} ms'}")
    for name, score, box in one.rows():
        out.print(f"  {shown(name):<20}{100 * score:5.1f} %  {', '.join(f'{value:.0f}' for value in box)}")
    if one.drawn:
        out.print(f"  picture  {shown(one.drawn)}")


KINDS: dict[str, tuple[type[Verb], str]] = {
    "train": (Train, "train a detector, test it and keep it"),
    "evaluate": (Evaluate, "average precision of a detector, or of a file of results"),
    "predict": (Predict, "boxes, names, scores and masks on pictures"),
    "localize": (Localize, "name and place the one object of a picture"),
}


class Detect(Verb):
    """`detect` and what it does."""

    @classmethod
    def parse(cls, arguments: Sequence[str], default: Any = None) -> Any:
        """The verb that the first argument names."""
        if not arguments or arguments[0] in ("-h", "--help"):
            return cls()
        if arguments[0] not in KINDS:
            raise unknown("verb of detect", arguments[0], KINDS)
        return KINDS[arguments[0]][0].parse(arguments[1:])

    def run(self) -> int:
        """Tell what there is."""
        lines = [f"  resnets detect {name:<10}{about}" for name, (_, about) in KINDS.items()]
        examples = (
            "examples: resnets detect train digits-scene; resnets detect predict runs/latest photo.jpg --draw out/"
        )
        console().print("\n".join(["usage: resnets detect VERB [options]", "", *lines, "", examples]))
        return 0
