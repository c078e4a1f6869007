"""What a detector's run came to."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DetectionResult:
    """Average precisions in 0 … 1 of the kept model; None where nothing was held out.

    metric: of `val_ap` and `test_ap`. figures: of the test part: "area" and "voc07" (IoU 0.5, mean of the classes
    that have boxes there), and COCO's twelve with the prefix "bbox" or "segm" where hotcoco is installed. classes: each
    class's AP, of 11 points where the metric is "voc07". evaluation: the folder of the test, in the run's. model:
    "best" (chosen on validation data) or "last". seconds: over all sittings.
    """

    run: str
    network: str
    design: str
    data: str
    recipe: str
    seed: int
    updates: int
    epochs: int
    model: str
    metric: str
    val_ap: float | None
    test_ap: float | None
    test_images: int
    figures: dict[str, float | None]
    classes: dict[str, float | None]
    bad_files: int
    seconds: float
    images_per_second: float
    evaluation: str | None = None
    task: str = "detection"

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.run)

    def __str__(self) -> str:
        ap = self.test_ap if self.test_ap is not None else self.val_ap
        what = "test" if self.test_ap is not None else "validation"
        figure = f"{what} AP {ap:.3f} ({self.metric})" if ap is not None else "not tested"
        return (
            f"{self.network} {self.design} on {self.data}: {figure} after {self.updates} updates in "
            f"{self.seconds:.0f} s, in {self.run}"
        )
