"""`detect localize`: learn to name and place the one object of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from .verb import Verb, console, plain, print_json, shown

# Options that are fields of the recipe, and where they stand in it.
_OWN = ("seed", "weights", "origin", "normalize", "max_bad")
_TRAINING = ("epochs", "updates", "batch_size", "lr")


@dataclass(frozen=True)
class Localize(Verb):
    """Learn classes, a per-class RPN and R-CNN, and measure the top-5 localization error (he2015 appendix C).

    DATA is any detection set whose pictures have boxes of one class each. The same command with the same --out goes on.

    examples: resnets detect localize digits-single; resnets detect localize ILSVRC/ --recipe imagenet-2015 --network
    resnet101_v1 --weights resnet101.pth --origin msra
    """

    called: ClassVar[str] = "detect localize"
    data: Positional[Annotated[str, arg(help="digits-single, a folder, a JSON or CSV file", metavar="DATA")]]
    out: Annotated[Path | None, arg(help="folder for the three runs; default: a new one below runs/")] = None
    network: Annotated[str, arg(help="resnet50, slim_resnet18, cifar_resnet20 …")] = "cifar_resnet20"
    recipe: Annotated[Literal["quick", "imagenet-2015"], arg(help="small, or the paper's sizes")] = "quick"
    seed: Annotated[int | None, arg(help="decides initial weights, order, crops and samples; default 0")] = None
    epochs: Annotated[int | None, arg(help="passes over the pictures in each step; default: the recipe's")] = None
    updates: Annotated[int | None, arg(help="length of each step in updates instead of epochs")] = None
    batch_size: Annotated[int | None, arg(help="crops per update")] = None
    lr: Annotated[float | None, arg(help="peak learning rate of the first step; the others take a part of it")] = None
    size: Annotated[int | None, arg(help="side of the network's input; scales and anchors follow")] = None
    weights: Annotated[str | None, arg(help="a classifier in place of the first step: a file, run or model folder")] = (
        None
    )
    origin: Annotated[str | None, arg(help="who published the weights file: torchvision, timm, msra …")] = None
    normalize: Annotated[str | None, arg(help="what the weights were trained with: imagenet, cifar10, none")] = None
    max_bad: Annotated[float | None, arg(help="fraction of pictures or boxes that may be unusable")] = None
    json: Annotated[bool, arg(help="print the result as one object; progress goes to standard error")] = False

    def run(self) -> int:
        """Take the steps one after the other, and tell the rows of the paper's table."""
        from .. import files
        from ..api import followed, new_folder
        from ..detection.localization_recipe import steps
        from ..training.distributed import processes
        from .localize_screen import StepScreen

        folder, found, event = self.out, dict[str, Any](), None
        made = self.made()
        folder = folder or new_folder(f"{self.network}-localize-{Path(self.data).name}")
        for step in steps(made):
            with StepScreen(to_stderr=self.json, quiet=not processes().first) as screen:
                for event in followed(step, folder / step.step):
                    screen.show(event)
            found[step.step] = plain(event)
        rows = {name: row for result in found.values() for name, row in result["figures"].items()}
        facts = {"run": str(folder), "part": found["rcnn"]["part"], "figures": rows, "steps": found}
        if not processes().first:
            return 0
        files.write_json(folder / "result.json", facts)
        if self.json:
            print_json(facts)
        else:
            _tell(facts)
        return 0

    def made(self) -> Any:
        """The recipe that the options make. Raises UsageError."""
        from ..data.preprocessing import NORMALIZATIONS
        from ..detection.localization_recipe import RECIPES, resized
        from ..errors import UsageError, unknown
        from ..families import network

        made = RECIPES[self.recipe](network(self.network), self.data)
        made = resized(made, self.size) if self.size else made
        training = replace(made.training, **self._given(_TRAINING))
        training = replace(training, updates=0) if self.epochs and not self.updates else training
        made = replace(made, training=training, **self._given(_OWN))
        if made.normalize not in NORMALIZATIONS:
            raise unknown("normalization", made.normalize, NORMALIZATIONS)
        if made.size < 32 or training.batch_size < 2 or training.lr <= 0 or training.epochs + training.updates < 1:
            raise UsageError("--size must be at least 32, --batch-size 2, --epochs or --updates 1, --lr above 0")
        return made

    def _given(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _tell(facts: dict[str, Any]) -> None:
    out = console()
    out.print(f"errors on {facts['part'] or 'no'} pictures")
    for name, row in facts["figures"].items():
        out.print(f"  {name:<28}{row['error']:6.2f} %   {row['wrong']} of {row['images']} wrong")
    out.print(f"kept          {shown(facts['run'])}")
