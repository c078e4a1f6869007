"""What a step of localization looks like."""

from typing import Any

from ..families import name_of
from .screen import Screen
from .verb import shown


class StepScreen(Screen):
    """What a step looks like."""

    def _told(self, plan: Any) -> list[tuple[str, str]]:
        recipe, training = plan.recipe, plan.recipe.training
        names = ", ".join(shown(name) for name in plan.dataset.classes[:8])
        return [
            ("step", {"class": "classes", "rpn": "per-class RPN", "rcnn": "R-CNN on its proposals"}[recipe.step]),
            ("data", f"{shown(plan.dataset.name)}: {len(plan.dataset.classes)} classes ({names})"),
            ("images", " · ".join(f"{name} {len(part)}" for name, part in plan.dataset.parts.items())),
            ("input", f"crops of {recipe.size}, normalization {recipe.normalize}"),
            ("network", f"{name_of(recipe.network)}{', from weights' if recipe.weights else ''}"),
            ("recipe", f"{recipe.name}: {plan.total} updates of {training.batch_size}, {plan.per_epoch} an epoch"),
            ("training", f"rate {training.lr:g} {training.schedule}, {training.precision}, seed {recipe.seed}"),
            ("run", shown(plan.folder)),
        ]

    def _result(self, result: Any) -> None:
        self.out.print()
