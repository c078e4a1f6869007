"""`train` and `resume`."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from tyro.conf import Positional, arg

from ..errors import UsageError
from .verb import Verb, plain, print_json

if TYPE_CHECKING:
    from .screen import Screen

# Options of `train` that are fields of the recipe under the same name; their defaults are the chosen recipe's own.
FIELDS = (
    "seed", "epochs", "updates", "batch_size", "lr", "size", "fit", "channels", "balance", "val", "test", "group_by",
    "class_order", "weights", "origin",
)  # fmt: skip
# Those that decide what the data is, and so what else is chosen.
FIRST = ("weights", "val", "test", "group_by", "class_order")


@dataclass(frozen=True)
class Train(Verb):
    """Train a network on a data set or a folder with one subfolder of pictures per class, test it and keep it.

    The same command with the same --out goes on where it stopped. The defaults shown are those of the chosen recipe;
    `resnets train DATA --help` shows them for DATA. What has no option here is changed in a recipe file
    (--recipe FILE.json) or in Python.

    examples: resnets train digits; resnets train photos/; resnets train photos.csv --group-by patient;
    resnets train cifar10 --recipe cifar-2015 --seeds 5 --out runs/paper
    """

    data: Positional[
        Annotated[str, arg(help="digits, cifar10, cifar100, synthetic, a folder, or a list of files", metavar="DATA")]
    ]
    out: Annotated[Path | None, arg(help="the run's folder; default: a new one below runs/")] = None
    network: Annotated[str | None, arg(help="default: cifar_resnet20 for small images, else chosen from them")] = None
    recipe: Annotated[str | None, arg(help="quick, finetune, cifar-2015 …, or a recipe file; default: quick")] = None
    seed: Annotated[int, arg(help="decides initial weights, order and augmentation")] = 0
    seeds: Annotated[int, arg(help="so many runs, seed by seed, with best, median and mean ± deviation")] = 1
    epochs: Annotated[int, arg(help="passes over the training images")] = 30
    updates: Annotated[int, arg(help="length in updates instead of epochs, 0: in epochs")] = 0
    batch_size: Annotated[int, arg(help="images per update")] = 128
    lr: Annotated[float, arg(help="peak learning rate; resnets analyze lr DATA suggests one")] = 0.1
    size: Annotated[int, arg(help="side of the network's input in pixels")] = 32
    fit: Annotated[Literal["crop", "pad", "squash"], arg(help="how a picture that is not square is fitted")] = "crop"
    channels: Annotated[int, arg(help="of the network's input: 1 gray, 3 colour, N; 0: 3, or those of arrays")] = 0
    balance: Annotated[
        Literal["none", "loss", "sampling"], arg(help="rare classes weigh more, or are drawn more often")
    ] = "none"
    val: Annotated[float | None, arg(help="fraction held out for validation where the data has no such part")] = None
    test: Annotated[float | None, arg(help="fraction held out for testing where the data has no such part")] = None
    group_by: Annotated[
        str, arg(help="keep groups on one side of the split: a column of the list, or a regular expression on the path")
    ] = ""
    class_order: Annotated[str, arg(help="string, natural (2 before 10), or a file with a class a line")] = "string"
    weights: Annotated[str, arg(help="start from a weights file, a run or a model folder")] = ""
    origin: Annotated[str, arg(help="who published the weights file: torchvision, timm, msra …")] = ""
    memory: Annotated[str, arg(help="what training may take, such as 4GB: activations are computed again to fit")] = ""
    strict: Annotated[bool, arg(help="stop at the first unreadable picture")] = False
    workers: Annotated[int | None, arg(help="processes that decode pictures; changes nothing but speed")] = None
    download: Annotated[bool, arg(help="fetch cifar10 or cifar100 into data/ first, checked by sha256")] = False
    json: Annotated[bool, arg(help="print the result as one object; progress goes to standard error")] = False

    @classmethod
    def parse(cls, arguments: Sequence[str], default: Any = None) -> Self:
        """Two passes: the first finds data, network and recipe, the second has their values as defaults."""
        from ..plan import plan

        quiet = [argument for argument in arguments if argument not in ("-h", "--help")]
        if quiet and (quiet == list(arguments) or not quiet[0].startswith("-")):
            first = super().parse(quiet)
        else:  # help without data: the defaults of small images
            first = cls("cifar10")
        given = {name: getattr(first, name) for name in FIRST if getattr(first, name) != getattr(cls, name)}
        start = plan(first.data, first.network, first.recipe, first.out, **given)
        own = {name: start.value(name) for name in FIELDS}
        chosen = super().parse(arguments, cls(first.data, **own))
        if chosen.epochs != start.training.epochs and chosen.updates == start.training.updates:
            chosen = replace(chosen, updates=0)
        return chosen

    def run(self) -> int:
        """Train, showing how it goes."""
        from .. import api
        from ..plan import plan

        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}; it must be at least 1")
        data = str(_fetch(self.data)) if self.download else self.data
        changes = {name: getattr(self, name) for name in FIELDS}
        if self.strict:
            changes["max_bad"] = 0.0
        recipe = plan(data, self.network, self.recipe, self.out, self.memory, **changes)
        folder = api.run_folder(recipe, self.out)
        if self.seeds == 1:
            return follow(api.followed(recipe, folder, self.workers), self.json)
        return follow(api.seeded(recipe, folder, self.seeds, self.workers), self.json)


@dataclass(frozen=True)
class Resume(Verb):
    """Go on with a run that was stopped or killed: the end is bit for bit that of an undisturbed run.

    examples: resnets resume runs/latest
    """

    run_folder: Positional[Annotated[Path, arg(help="the run's folder", metavar="RUN")]]
    workers: Annotated[int | None, arg(help="processes that decode pictures; changes nothing but speed")] = None
    json: Annotated[bool, arg(help="print the result as one object; progress goes to standard error")] = False

    def run(self) -> int:
        """Go on, showing how it goes."""
        from .. import api
        from ..detection.localization_recipe import LocalizationRecipe
        from ..detection.recipe import DetectionRecipe
        from ..record import read_recipe, resolve
        from .detector_screen import DetectorScreen
        from .localize_screen import StepScreen

        folder = resolve(self.run_folder)
        screens = {DetectionRecipe: DetectorScreen, LocalizationRecipe: StepScreen}
        screen = screens.get(type(read_recipe(folder, object)))  # type: ignore[arg-type]
        return follow(api.resumed(folder, self.workers), self.json, screen)


def follow(run: Iterator[Any], as_json: bool, kind: "type[Screen] | None" = None) -> int:
    """Show the events of RUN on a screen of this KIND, the last one as JSON where a program asks; the exit code."""
    from ..training.distributed import processes

    event = watch(run, as_json, kind)
    if as_json and processes().first:
        print_json(plain(event))
    return 0


def watch(run: Iterator[Any], to_stderr: bool, kind: "type[Screen] | None" = None) -> Any:
    """Show the events of RUN on a screen of this KIND; the last one."""
    from ..training.distributed import processes
    from .screen import Screen

    event = None
    with (kind or Screen)(to_stderr=to_stderr, quiet=not processes().first) as screen:
        for event in run:
            screen.show(event)
    return event


def _fetch(data: str) -> Path:
    from ..data.fetch import ARCHIVES, fetch
    from ..errors import unknown

    if data not in ARCHIVES:
        raise unknown("data set to download", data, ARCHIVES)
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        if (tenth := 10 * done // max(total, 1)) > shown:
            shown = tenth
            print(f"{data}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr)

    return fetch(data, Path("data"), report)
