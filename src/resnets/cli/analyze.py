"""`analyze`: what can be learnt about a network or its training before or after the fact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..errors import UsageError, unknown
from .analyses import KINDS, look
from .verb import Verb, console, print_json


@dataclass(frozen=True)
class Analyze(Verb):
    """Analyze training or networks. A MODEL is a run, a model folder, or NETWORK=FILE, the weights of others.

    lr DATA: raise the learning rate update by update, and suggest one.

    responses MODEL… DATA: how far each layer moves the signal (he2015 figure 7).

    lesions MODEL… DATA: the error without each unit, without several, and with units in another order.

    paths MODEL… DATA: how many there are of each length, and what gradient they carry.

    gradients MODEL… DATA: is the signal healthy, of a trained model or, by a network's name, at its first weights and,
    with --at 0 10 100, after so many updates.

    complexity NETWORK…: parameters, multiply-adds, activations and time by stage.

    theory: the equations and equivalences of the papers in numbers, on small networks.

    shorten MODEL DATA: leave out units for at most --max-loss points of error, and keep the shorter network.

    examples: resnets analyze lr digits; resnets analyze responses runs/latest digits --out responses.svg; resnets
    analyze lesions cifar_resnet20=resnet20-12fca82f.th cifar10; resnets analyze complexity vgg19 resnet34 resnet152
    """

    what: Positional[Annotated[str, arg(help=f"lr, {', '.join(KINDS)}", metavar="WHAT")]]
    inputs: Positional[
        Annotated[tuple[str, ...], arg(help="models, and the data last: digits, a folder …", metavar="MODEL… DATA")]
    ] = ()
    network: Annotated[str | None, arg(help="lr: default as train chooses; else the network of --weights")] = None
    recipe: Annotated[str | None, arg(help="lr, gradients: quick, finetune …, or a recipe file; default: quick")] = None
    weights: Annotated[str, arg(help="lr: start from a weights file, a run or a model; else a file of others")] = ""
    normalize: Annotated[str, arg(help="how inputs of weights of others are normalized")] = "imagenet"
    origin: Annotated[str, arg(help="who published them: torchvision, timm, msra …")] = ""
    part: Annotated[str, arg(help="auto: test, else val, else what the model was not trained or chosen on")] = "auto"
    images: Annotated[
        int | None, arg(help="drawn at random, default 1000, paths 32, gradients 200; complexity: of a batch")
    ] = None
    draws: Annotated[
        int | None, arg(help="random choices of units or paths of each kind; default 3, paths 20; theory: 1 is quick")
    ] = None
    kernels: Annotated[tuple[int, ...], arg(help="responses: of convolutions with these kernels, such as 1 3")] = (3,)
    at: Annotated[
        tuple[int, ...], arg(help="gradients of a network by its name: after so many updates of its training")
    ] = (0,)
    max_loss: Annotated[float, arg(help="shorten: points of error that may be lost")] = 0.5
    device: Annotated[str, arg(help="auto: a card if there is one; cpu, cuda, cuda:1 …")] = "auto"
    updates: Annotated[int, arg(help="lr: how many rates are tried")] = 100
    low: Annotated[float, arg(help="lr: the first rate")] = 1e-4
    high: Annotated[float, arg(help="lr: the last rate")] = 10.0
    out: Annotated[
        Path | None, arg(help="where the picture goes (SVG); shorten: the model folder, default beside MODEL")
    ] = None
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Look and tell."""
        if self.what not in ("lr", *KINDS):
            raise unknown("analysis", self.what, ("lr", *KINDS))
        if self.what == "lr":
            return self._rates()
        found = look(self)
        if self.json:
            print_json(found.facts)
        else:
            out = console()
            for line in found.lines:
                out.print(line)
        return 0

    def _rates(self) -> int:
        """Try the rates and tell."""
        if self.updates < 10 or not 0 < self.low < self.high:
            raise UsageError("--updates must be at least 10, and 0 < --low < --high")
        if len(self.inputs) != 1:
            raise UsageError("give one data set to train on, such as: resnets analyze lr digits")
        from .. import api
        from ..analysis.lr import picture
        from ..files import write_file

        choices = {"network": self.network, "recipe": self.recipe}
        if self.weights:
            choices["weights"] = self.weights
        found = api.learning_rates(self.inputs[0], updates=self.updates, span=(self.low, self.high), **choices)
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
