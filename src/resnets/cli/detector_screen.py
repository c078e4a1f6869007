"""What a detector's run looks like."""

from typing import Any, ClassVar

from ..families import name_of
from .screen import Screen
from .verb import shown


class DetectorScreen(Screen):
    """What a detector's run looks like."""

    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("loss", "train_loss", "{:.3f}"),
        ("val AP", "val_ap", "{:.3f}"),
    )

    def _told(self, plan: Any) -> list[tuple[str, str]]:
        recipe, training, detector = plan.recipe, plan.recipe.training, plan.recipe.detector
        names = ", ".join(shown(name) for name in plan.dataset.classes[:8])
        sides = ", ".join(map(str, recipe.scales))
        extras = "".join(f", {name}" for name in ("context", "masks") if getattr(detector, name))
        return [
            ("data", f"{shown(plan.dataset.name)}: {len(plan.dataset.classes)} classes ({names})"),
            ("images", " · ".join(f"{name} {len(part)}" for name, part in plan.dataset.parts.items())),
            ("input", f"shorter side {sides}, longer at most {recipe.longest}, normalization {recipe.normalize}"),
            (
                "network",
                f"{name_of(detector.network)} {detector.design}, {detector.bn} BN, {detector.pooling}{extras}",
            ),
            ("anchors", f"{', '.join(map(str, detector.anchors))} pixels a side, each in three ratios"),
            ("recipe", f"{recipe.name}: {plan.total} updates of {training.batch_size}, {plan.per_epoch} an epoch"),
            ("training", f"rate {training.lr:g} {training.schedule}, {training.precision}, seed {recipe.seed}"),
            ("run", shown(plan.folder)),
            *(("chosen", shown(reason)) for reason in recipe.reasons),
        ]

    def _result(self, result: Any) -> None:
        out = self.out
        out.print()
        for name, value in result.figures.items():
            if name in ("area", "voc07") or name.endswith(" AP"):
                out.print(f"{name:<14}{'–' if value is None else f'{value:.3f}'}")
        for name, value in result.classes.items():
            out.print(f"  {shown(name):<12}{'no box in the test part' if value is None else f'{value:.3f}'}")
        chosen = "chosen on validation data" if result.model == "best" else "the last update's"
        out.print(f"model         {shown(result.path / result.model)}, {chosen}")
        out.print(f"report        {shown(result.path / 'report.html')}")
        run = shown(result.run)
        out.print("\nnext:")
        out.print(f"  resnets detect predict {run} PICTURE… --draw out/    boxes on pictures")
        out.print(f"  resnets detect evaluate {run} --data DATA --refine    test, with improvements")
