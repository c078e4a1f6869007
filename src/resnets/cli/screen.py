"""What a run looks like: a live table on a terminal, one line per epoch elsewhere."""

import shlex
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from ..families import name_of
from ..record import Result, Seeds
from ..report.tables import duration
from ..run import Epoch
from ..start import Plan
from ..training.train import Step
from .verb import console, shown

_MEASURED = 20  # updates before the expected time is told
_ROWS = 12
_ALWAYS = ("epoch", "loss", "train error", "images/s", "left")


@dataclass
class Screen:
    """Shows the events of a run one by one; standard error where standard output is for a program."""

    to_stderr: bool = False
    quiet: bool = False
    rows: list[tuple[str, ...]] = field(default_factory=list)
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (  # of an epoch: name, figure, how it is written
        ("loss", "train_loss", "{:.3f}"),
        ("train error", "train_error", "{:.2f} %"),
        ("val error", "val_error", "{:.2f} %"),
        ("test error (watched)", "watched_test_error", "{:.2f} %"),
    )

    def __post_init__(self) -> None:
        self.out: Console = console(self.to_stderr)
        self.live: Live | None = None
        self.images = 0
        self.began = time.monotonic()
        self.told = False
        self.epoch, self.seen, self.mistakes = -1, 0, 0

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()
            self.live = None

    def show(self, event: Any) -> None:
        """Show one event."""
        if self.quiet:
            return
        if isinstance(event, Seeds):
            self._seeds(event)
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Epoch):
            self._epoch(event.figures)
        elif hasattr(event, "resumed_at"):
            self._plan(event)
        else:
            self.__exit__()
            self._result(event)

    def _plan(self, plan: Any) -> None:
        self.plan = plan
        for name, text in self._told(plan):
            self.out.print(f"{name:<9}{text}")
        for note in plan.notes:
            self.out.print(f"{'note':<9}{shown(note)}")
        if plan.resumed_at:
            self.out.print(f"{'resume':<9}from update {plan.resumed_at} of {plan.total}")
        self.out.print()
        self.rows, self.images, self.told, self.began = [], 0, False, time.monotonic()
        if self.out.is_terminal:
            self.progress = Progress(TextColumn("{task.description}"), BarColumn(40), console=self.out)
            self.task = self.progress.add_task("", total=plan.total, completed=plan.resumed_at)
            self.live = Live(self._picture(), console=self.out, refresh_per_second=4)
            self.live.start()

    def _told(self, plan: Plan) -> list[tuple[str, str]]:
        """What is said before the first update, line by line."""
        recipe, training = plan.recipe, plan.recipe.training
        counts = " · ".join(f"{name} {len(part)}" for name, part in plan.dataset.parts.items())
        names = ", ".join(shown(c) for c in plan.dataset.classes[:8]) + (" …" if len(plan.dataset.classes) > 8 else "")
        network = recipe.network
        decay = f"decay {training.weight_decay:g}" + (" (not BN, biases)" if training.decay != "all" else "")
        lines = {
            "data": f"{shown(plan.dataset.name)}: {len(plan.dataset.classes)} classes ({names})",
            "images": counts,
            "split": shown(plan.dataset.split),
            "input": f"{network.channels}×{recipe.size}×{recipe.size}, {recipe.fit}, normalization {recipe.normalize}",
            "network": f"{name_of(network)}, {network.layers} layers",
            "recipe": f"{recipe.name}: {plan.total} updates of {training.batch_size}, {plan.per_epoch} an epoch",
            "training": f"rate {training.lr:g} {training.schedule}, {decay}, {training.precision}, seed {recipe.seed}",
            "run": shown(plan.folder),
        }
        told = [*lines.items(), *(("chosen", shown(reason)) for reason in recipe.reasons)]
        if plan.cost:
            memory = f"{plan.cost.memory / 2**30:.1f} GiB"
            told.append(("expected", f"{duration(plan.cost.seconds)} and {memory} of memory, from two updates"))
        return told

    def _speed(self) -> str:
        """Images a second, with a decimal where there are few."""
        speed = self.images / max(time.monotonic() - self.began, 1e-9)
        return f"{speed:.{int(speed < 10)}f}"

    def _left(self, update: int) -> float:
        done = update - self.plan.resumed_at
        return (time.monotonic() - self.began) / max(done, 1) * (self.plan.total - update)

    def _step(self, step: Step) -> None:
        self.images += step.images
        if step.epoch != self.epoch:  # the running error is that of the epoch
            self.epoch, self.seen, self.mistakes = step.epoch, 0, 0
        self.seen, self.mistakes = self.seen + step.images, self.mistakes + step.mistakes
        done = step.update - self.plan.resumed_at
        if done >= _MEASURED and not self.told:
            self.told = True
            expected = duration(self._left(step.update))
            self.out.print(f"{'measured':<9}{expected} more, at {self._speed()} images/s over {done} updates\n")
        if self.live:
            told = "train error" in self._names()  # of a detector it says little: one wrong box of many is one
            error = f"error {100 * self.mistakes / self.seen:.2f} %  " if told else ""
            speed = f"{self._speed()} images/s  {duration(self._left(step.update))} left"
            text = f"loss {step.loss:.3f}  {error}{speed}"
            self.progress.update(self.task, completed=step.update, description=text)
            self.live.update(self._picture())

    def _epoch(self, figures: dict[str, Any]) -> None:
        last = self.plan.total // self.plan.per_epoch + (self.plan.total % self.plan.per_epoch > 0)
        row = [f"{figures['epoch'] + 1}/{last}"]
        row += [text.format(figures[key]) if figures.get(key) is not None else "" for _, key, text in self.columns]
        row += [self._speed(), duration(self._left(figures["update"]))]
        self.rows.append(tuple(row))
        if self.live:
            self.live.update(self._picture())
            return
        self.out.print("  ".join(f"{name} {value}" for name, value in zip(self._names(), row, strict=True) if value))

    def _names(self) -> list[str]:
        return ["epoch", *(name for name, _, _ in self.columns), "images/s", "left"]

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 3, 0, 0))
        names = self._names()
        used = [i for i, name in enumerate(names) if name in _ALWAYS or any(row[i] for row in self.rows)]
        for i in used:
            table.add_column(names[i], justify="right")
        for row in self.rows[-_ROWS:]:
            table.add_row(*(row[i] for i in used))
        return Group(table, self.progress)

    def _seeds(self, seeds: Seeds) -> None:
        self.out.print(f"\n{len(seeds.runs)} seeds: {', '.join(f'{error:.2f} %' for error in seeds.errors)}")
        if seeds.mean is not None:
            spread = f" ± {seeds.deviation:.2f}" if seeds.deviation is not None else ""
            self.out.print(f"best {seeds.best:.2f} %, median {seeds.median:.2f} %, mean {seeds.mean:.2f}{spread} %")

    def _result(self, result: Result) -> None:
        out = self.out
        out.print()
        if result.test_error is None:
            out.print(
                f"no test part; validation error {result.val_error:.2f} %"
                if result.val_error is not None
                else "no test"
            )
        else:
            right = 100 - result.test_error
            tested = f"{result.test_mistakes} mistakes on {result.test_images} images that chose nothing"
            out.print(f"test accuracy {right:.2f} %  ({tested})")
        chosen = "chosen on validation data" if result.model == "best" else "the last update's"
        out.print(f"model         {shown(result.path / result.model)}, {chosen}")
        if result.worst_class:
            worst = result.worst_class
            out.print(f"worst class   {shown(worst['class'])}: {worst['mistakes']} of {worst['images']} wrong")
        out.print(f"report        {shown(result.path / 'report.html')}")
        if result.bad_files:
            out.print(f"bad files     {result.bad_files}, named in {shown(result.path / 'bad_images.txt')}")
        out.print(
            f"time          {duration(result.seconds)}, {result.images_per_second:.0f} images/s with tests and saving"
        )
        run = shown(shlex.quote(result.run))
        out.print("\nnext:")
        out.print(f"  resnets predict {run} PICTURE…        name what is on pictures")
        out.print(f"  resnets serve {run}                   a page to drop pictures on")
        out.print(f"  resnets evaluate {run} --data DATA    test on other data")
        out.print(f"  resnets describe {run}                every value of the recipe")
