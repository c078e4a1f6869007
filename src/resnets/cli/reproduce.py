"""`reproduce`: a table or figure of the literature, the published numbers beside ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..errors import DataError, EnvironmentProblem, UsageError
from .verb import Verb, console, print_json

_SHOWN = 20  # updates between two lines of progress, at least
_EMBEDDED = {"detection": "digits-scene", "localization": "digits-single"}  # the data of a miniature, by task


@dataclass(frozen=True)
class Reproduce(Verb):
    """Run an experiment of the literature, and report the published numbers beside ours.

    The plan comes first. With --budget every row gets as many updates as fit, and the report says so; `full` is the
    paper's own protocol. A run that is done is never repeated, a stopped one goes on; processes that share --out share
    the runs.

    examples: resnets reproduce figure-1 --data digits --budget 3min; resnets reproduce table-6 --only "ResNet 20";
    resnets list experiments
    """

    name: Positional[Annotated[str, arg(help="an experiment, or all", metavar="NAME")]]
    data: Annotated[str, arg(help="in place of the paper's data: a name, a folder; default: the paper's")] = ""
    budget: Annotated[str, arg(help="time for all of it: 10min, 2h, or full")] = "full"
    updates: Annotated[int, arg(help="so many updates for every run, 0: as the budget says")] = 0
    seeds: Annotated[int, arg(help="runs per row; default: the paper's with full, else 1")] = 0
    only: Annotated[tuple[str, ...], arg(help="rows by their label; default: all")] = ()
    miniature: Annotated[
        bool,
        arg(help="ImageNet or detection in small; --data: photographs (default: imagenet-sample), or a detection set"),
    ] = False
    devices: Annotated[str, arg(help="a process on each, as cuda:0,cuda:1 or cpu,cpu")] = ""
    workers: Annotated[int | None, arg(help="processes that decode pictures; changes nothing but speed")] = None
    out: Annotated[Path, arg(help="where runs and reports lie")] = Path("runs/reproduce")
    plan: Annotated[bool, arg(help="print the plan and stop")] = False
    json: Annotated[bool, arg(help="print one object; progress goes to standard error")] = False

    def run(self) -> int:
        """Plan, run, report."""
        from ..experiments import reporting
        from ..experiments.catalogue import EXPERIMENTS, experiment
        from ..experiments.experiment import seconds_of

        everything = self.name == "all"
        chosen = [experiment(name) for name in (EXPERIMENTS if everything else [self.name])]
        self._check(chosen)
        if self.miniature and not any(one.data == "imagenet" or one.task in _EMBEDDED for one in chosen):
            raise UsageError(f"--miniature is for ImageNet and detection; {self.name} takes --budget")
        helpers = self._helpers()
        try:
            limited = everything and seconds_of(self.budget)
            share = max(1, sum(map(self._trains, chosen))) if limited else 1
            told = [self._tried(one, share) for one in chosen] if everything else [self._one(chosen[0], share)]
        except BaseException:
            for helper in helpers:
                helper.terminate()
            raise
        if any(helper.wait() for helper in helpers):
            raise EnvironmentProblem("a process on another device failed; see its own message")
        if everything and not self.plan:
            rows = [(one.name, one.title, facts.get("skipped", "")) for one, facts in zip(chosen, told, strict=True)]
            console(to_stderr=self.json).print(f"index   {reporting.index(rows, self.out)}")
        if self.json:
            print_json({"experiments": told} if everything else told[0])
        return 0

    def _check(self, chosen: list[Any]) -> None:
        """Raise UsageError for options that are wrong for all of them, before anything is written."""
        from ..experiments.experiment import seconds_of
        from ..models.device import device_called

        if self.updates < 0 or self.seeds < 0:
            raise UsageError("--updates and --seeds must be at least 0")
        seconds_of(self.budget)
        for name in reversed(self.devices.split(",") if self.devices else []):  # the first stays the current one
            device_called(name.strip())
        if self.only and self.name == "all":
            raise UsageError("--only takes rows of one experiment; name it in place of all")
        first = chosen[0].only(list(self.only))
        if self.name != "all" and not first.rows and (self.data or self.seeds or self.updates):
            raise UsageError(f"{self.name} trains nothing; leave out --data, --seeds and --updates")

    def _tried(self, experiment: Any, share: int) -> dict[str, Any]:
        """One of all experiments; what it lacks leaves it out."""
        try:
            return self._one(experiment, share)
        except (DataError, UsageError) as error:
            console(to_stderr=True).print(f"{experiment.name} is left out: {error}")
            return {"experiment": experiment.name, "skipped": str(error)}

    def _one(self, experiment: Any, share: int) -> dict[str, Any]:
        """Plan, run and report one experiment, which has its share of the budget."""
        from ..experiments import planning, reporting
        from ..experiments.running import run
        from ..experiments.speed import remembered, speed

        out, asked = console(to_stderr=self.json), experiment.only(list(self.only))
        schedule, outcomes = self._steps(experiment)
        with nullcontext(speed) if self.plan else remembered(self.out) as known, self._data(experiment) as data:
            wish = self._wish(experiment, data, share)
            planned = schedule(asked, wish, known)
            for line in reporting.announced(planned):
                out.print(line)
            if self.plan:
                return {"experiment": experiment.name, "runs": len(planned.jobs), "seconds": round(planned.seconds)}
        shown = dict[str, int]()
        for happening in run(planned, self.out / "runs", self.workers):
            if line := _progress(happening, shown):
                out.print(line)
        if self.only:  # the report has every row, with the runs of earlier commands
            planned = planning.completed(planned, wish, lambda alike: schedule(experiment, alike, known))
        found = outcomes(planned, self.out / "runs")
        page = reporting.write(
            reporting.made(planned, found, self.out / "runs"), planned, found, self.out / experiment.name
        )
        out.print(f"report  {page}")
        return reporting.facts(planned, found) | {"report": str(page)}

    def _trains(self, experiment: Any) -> bool:
        """Whether one of all experiments has runs here, so that it needs a share of the budget."""
        with suppress(DataError, UsageError), self._data(experiment) as data:
            wish = replace(self._wish(experiment, data, 1), budget=None)
            return bool(self._steps(experiment)[0](experiment, wish, lambda _: 0.0).jobs)
        return False

    @staticmethod
    def _steps(experiment: Any) -> tuple[Any, Any]:
        """What plans an experiment of its task, and what reads its runs."""
        from ..experiments import detectors, localizers, planning, running

        return {
            "classification": (planning.schedule, running.outcomes),
            "detection": (detectors.schedule, detectors.outcomes),
            "localization": (localizers.schedule, localizers.outcomes),
        }[experiment.task]

    def _wish(self, experiment: Any, data: str, share: int) -> Any:
        from ..experiments.experiment import seconds_of
        from ..experiments.planning import Wish

        seconds = seconds_of(self.budget)
        return Wish(data, seconds / share if seconds else None, self.seeds, self.updates, self._small(experiment))

    def _small(self, experiment: Any) -> bool:
        return self.miniature and (experiment.data == "imagenet" or experiment.task in _EMBEDDED)

    @contextmanager
    def _data(self, experiment: Any) -> Iterator[str]:
        """The data of an experiment; a miniature of photographs stays only if something comes of its plan."""
        from ..experiments.miniature import miniature

        place, embedded = self.out / "miniature", _EMBEDDED.get(experiment.task, "")
        if not self._small(experiment) or embedded:
            yield self.data or (embedded if self.miniature else "")
            return
        stays = place.exists()
        try:
            yield str(miniature(self.data, place))
            stays = stays or not self.plan
        finally:
            if not stays:
                shutil.rmtree(place, ignore_errors=True)
                with suppress(OSError):  # something else lies there
                    self.out.rmdir()

    def _helpers(self) -> list["subprocess.Popen[bytes]"]:
        """The same command on every device but the first, which this process has."""
        first, *others = self.devices.split(",") if self.devices else [""]
        if first:
            os.environ["RESNETS_DEVICE"] = first.strip()
        given = sys.argv[1:]
        if "--devices" in given:
            place = given.index("--devices")
            given = [*given[:place], *given[place + 2 :]]
        given = [argument for argument in given if not argument.startswith("--devices=") and argument != "--json"]
        return [
            subprocess.Popen(  # noqa: S603 - this very command
                [sys.executable, "-m", "resnets", *given],
                env={**os.environ, "RESNETS_DEVICE": device.strip()}, stdout=subprocess.DEVNULL,
            )
            for device in others
        ]  # fmt: skip


def _progress(happening: Any, shown: dict[str, int]) -> str:
    """A line now and then: where a run is, and what it came to."""
    from ..detection.localization_recipe import LocalizationResult
    from ..detection.result import DetectionResult
    from ..errors import NumericError
    from ..record import Result
    from ..training.train import Step

    job, event = happening.job, happening.event
    name = f"{job.row.label}, seed {job.recipe.seed}"
    if event is None:
        return "" if shown.setdefault(name, -1) == -2 else shown.update({name: -2}) or f"{name}: another process has it"
    if isinstance(event, NumericError):
        return f"{name}: diverged, {event}"
    if isinstance(event, Result | DetectionResult | LocalizationResult):
        return f"{name}: {event}"
    if isinstance(event, Step) and event.update - shown.get(name, 0) >= max(
        _SHOWN, (job.recipe.training.updates or job.whole) // 10
    ):
        shown[name] = event.update
        return f"{name}: update {event.update}, loss {event.loss:.3f}"
    return ""
