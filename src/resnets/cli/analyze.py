"""`analyze`: what can be learnt about a network or its training before or after the fact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..errors import UsageError, unknown
from .verb import Verb, console, print_json

KINDS = ("lr",)


@dataclass(frozen=True)
class Analyze(Verb):
    """Analyze training or a network. `lr DATA`: raise the learning rate update by update, and suggest one.

    examples: resnets analyze lr digits; resnets analyze lr photos/ --network resnet18 --out lr.svg
    """

    what: Positional[Annotated[str, arg(help="lr", metavar="WHAT")]]
    data: Positional[Annotated[str, arg(help="digits, cifar10, cifar100, a folder, or a list of files")]]
    network: Annotated[str | None, arg(help="default: as train chooses")] = None
    recipe: Annotated[str | None, arg(help="quick, finetune …, or a recipe file; default: quick")] = None
    weights: Annotated[str, arg(help="start from a weights file, a run or a model folder")] = ""
    updates: Annotated[int, arg(help="how many rates are tried")] = 100
    low: Annotated[float, arg(help="the first rate")] = 1e-4
    high: Annotated[float, arg(help="the last rate")] = 10.0
    out: Annotated[Path | None, arg(help="where the picture goes (SVG)")] = None
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Try the rates and tell."""
        if self.what not in KINDS:
            raise unknown("analysis", self.what, KINDS)
        if self.updates < 10 or not 0 < self.low < self.high:
            raise UsageError("--updates must be at least 10, and 0 < --low < --high")
        from .. import api
        from ..analysis.lr import picture
        from ..files import write_file

        choices = {"network": self.network, "recipe": self.recipe}
        if self.weights:
            choices["weights"] = self.weights
        found = api.learning_rates(self.data, updates=self.updates, span=(self.low, self.high), **choices)
        if self.out:
            write_file(self.out, picture(found.rates, found.losses, found.suggestion).encode())
        if self.json:
            print_json({**found.as_dict(), "out": str(self.out) if self.out else None})
            return 0
        out = console()
        for i in range(0, len(found.rates), max(1, len(found.rates) // 20)):
            out.print(f"rate {found.rates[i]:<10.3g} loss {found.losses[i]:.3f}")
        out.print(f"\nsuggested rate  {found.suggestion.suggested:.2g}   (the recipe has {found.recipe_rate:g})")
        out.print(f"picture         {self.out}" if self.out else "--out lr.svg draws the picture")
        return 0
