"""The figures of a detector on a set of pictures: VOC's under both rules, COCO's twelve, and what they are kept as."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..data.images import ImageError
from ..errors import EnvironmentProblem
from .average_precision import mean, voc_average_precision
from .coco_metric import coco_figures
from .drawing import drawn
from .objects import Detections, Scenes
from .results import results_json

_PICTURES = 6
_SHOWN = 0.5  # score from which a detection is drawn


@dataclass(frozen=True)
class Figures:
    """Average precisions in 0 … 1; None where no picture has such a box.

    means: "area" and "voc07" (IoU 0.5), and "bbox AP", "bbox AP50" …, "segm AP" … where hotcoco is installed.
    classes: each class's AP, of 11 points where the metric is "voc07", else under the area rule.
    """

    means: dict[str, float | None]
    classes: dict[str, float | None]

    def value(self, metric: str) -> float | None:
        """The figure that a recipe's metric names. Raises EnvironmentProblem for "coco" without hotcoco."""
        if metric == "coco" and "bbox AP" not in self.means:
            raise EnvironmentProblem('COCO\'s figures need hotcoco: pip install "resnets[detection]"')
        return self.means["bbox AP" if metric == "coco" else metric]

    def write(
        self,
        folder: Path,
        found: Sequence[Detections],
        part: Scenes,
        classes: Sequence[str],
        facts: Mapping[str, Any] = {},
    ) -> None:
        """Write into FOLDER result.json, detections.json in COCO's results form, the first pictures as found-N.png."""
        files.write_json(folder / "result.json", {**facts, "images": len(part), **self.means, "classes": self.classes})
        files.write_json(folder / "detections.json", results_json(found, part))
        for index in range(min(_PICTURES, len(part))):
            with suppress(ImageError):
                sure = found[index].select(found[index].scores >= _SHOWN)
                files.write_file(folder / f"found-{index + 1}.png", drawn(part.pixels(index), sure, classes))


def figures_of(
    found: Sequence[Detections], part: Scenes, classes: Sequence[str], masks: bool, metric: str = "area"
) -> Figures:
    """The figures of what was FOUND on the pictures of PART, in its order."""
    truth = [part.objects(index) for index in range(len(part))]
    area = voc_average_precision(found, truth, len(classes), points="area")
    eleven = voc_average_precision(found, truth, len(classes), points="11")
    means: dict[str, float | None] = {"area": mean(area), "voc07": mean(eleven)}
    for kind in ("bbox", "segm") if masks else ("bbox",):
        try:
            named = coco_figures(found, part, kind)
        except EnvironmentProblem:  # an extra that is not installed
            break
        means |= {f"{kind} {name}": value for name, value in named.items()}
    return Figures(means, dict(zip(classes, eleven if metric == "voc07" else area, strict=True)))
