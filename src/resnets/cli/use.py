"""`evaluate`: how good a trained model is, or several together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..errors import UsageError
from .source import ModelSource
from .verb import console, print_json, shown

_CHOICES = ("part", "protocol", "batch_size", "workers", "cache", "device")


@dataclass(frozen=True)
class Evaluate(ModelSource):
    """Test a model, or several whose probabilities are averaged, under a protocol of the literature.

    examples: resnets evaluate runs/latest --data photos/ --protocol 10-crop; resnets evaluate runs/a runs/b --data
    photos/ --protocol multi-scale:flip=true --cache scores/; resnets evaluate --network cifar_resnet20 --weights
    resnet20-12fca82f.th --normalize imagenet --data DIR --json, where DIR holds cifar-10-batches-bin/
    """

    models: Positional[Annotated[tuple[Path, ...], arg(help="run folders or model folders", metavar="MODEL…")]] = ()
    data: Annotated[str, arg(help="digits, cifar10, cifar100, or a folder")] = ""
    part: Annotated[
        Literal["auto", "test", "val", "train", "all"],
        arg(help="auto: test, else val, else all that the model was not trained or chosen on"),
    ] = "auto"
    protocol: Annotated[
        str, arg(help="how each image is viewed: a name of resnets list protocols, with changes NAME:FIELD=VALUE,…")
    ] = "1-crop"
    batch_size: int = 256
    workers: Annotated[int, arg(help="processes that decode pictures")] = 0
    max_bad: Annotated[float, arg(help="fraction of unreadable pictures that ends the test")] = 0.01
    strict: Annotated[bool, arg(help="stop at the first unreadable picture")] = False
    cache: Annotated[
        Path | None, arg(help="keep each model's scores in this folder: in another ensemble it is not asked again")
    ] = None
    best_of: Annotated[int, arg(help="rank every ensemble of so many of the MODELs (he2015 table 5)")] = 0
    out: Annotated[Path | None, arg(help="where figures and answers go; default: below the run, if MODEL is one")] = (
        None
    )
    device: Annotated[str, arg(help="auto: a card if there is one; cpu, cuda, cuda:1 …")] = "auto"
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Test and tell."""
        from .. import api
        from ..evaluation.protocol import parse
        from ..evaluation.records import write
        from ..files import probe
        from ..outcome import folder_name
        from ..report import page
        from ..training.distributed import processes

        protocol = parse(self.protocol)
        if self.out and (self.out / "recipe.json").exists():
            raise UsageError(f"{self.out} is a run; its own result is not written over: choose another --out")
        for place in filter(None, (self.out, self.cache)):
            probe(place)
        if not self.data:
            raise UsageError("nothing to test on; give --data DATA, such as --data digits or --data photos/")
        choices: dict[str, Any] = {name: getattr(self, name) for name in _CHOICES}
        choices["max_bad"] = 0.0 if self.strict else self.max_bad
        if self.best_of:
            return self._rank(choices)
        tested = api.evaluate(self._sources(), self.data, **choices)
        if not processes().first:
            return 0
        facts: dict[str, Any] = {
            "model": [str(model) for model in self.models] or [self.weights],
            "data": tested.dataset.name,
            "part": tested.part,
            "protocol": protocol.name,
            "fingerprint": tested.answers.source.fingerprint(),
        }
        part = "" if tested.part == "test" else f"-{tested.part}"
        name = f"{tested.dataset.name}{part}-{folder_name(protocol)}"
        folder = self.out or self._beside(name, facts["fingerprint"])
        if folder:
            write(folder, tested.evaluation, tested.answers, facts)
            page.write_evaluation(folder)
        if self.json:
            found = {**facts, **tested.evaluation.as_dict()}
            print_json({**found, "notes": tested.notes, "out": str(folder) if folder else None})
        else:
            _print_evaluation(facts, tested, folder)
        return 0

    def _rank(self, choices: dict[str, Any]) -> int:
        from .. import api
        from ..training.distributed import processes

        part, found = api.ensembles(list(self.models), self.data, self.best_of, **choices)
        rows = [{**one.as_dict(), "models": [str(self.models[i]) for i in one.members]} for one in found]
        if processes().first and self.json:
            print_json({"part": part, "protocol": self.protocol, "ensembles": rows})
        elif processes().first:
            out = console()
            out.print(
                f"{len(rows)} ensembles of {self.best_of} on the {part} part, {found[0].images} images, best first"
            )
            for row in rows[:20]:
                out.print(
                    f"top-5 error {row['top5_error']:6.2f} %   top-1 error {row['top1_error']:6.2f} %   "
                    + " + ".join(map(shown, row["models"]))
                )
            out.print("the first is chosen on these images: test it on others")
        return 0

    def _sources(self) -> list[Any]:
        foreign = self.foreign()
        if bool(self.models) == bool(foreign):
            raise UsageError("give either MODEL, or both --network and --weights")
        return [foreign] if foreign else list(self.models)

    def _beside(self, name: str, fingerprint: str) -> Path | None:
        """The place of a test below the run: another one where NAME holds the test of other images."""
        from ..record import fingerprint_of, resolve

        if len(self.models) != 1:
            return None
        folder = resolve(self.models[0])
        if not (folder / "recipe.json").is_file():
            return None
        place = folder / "evaluations" / name
        return place if fingerprint_of(place) in (None, fingerprint) else Path(f"{place}-{fingerprint[:8]}")


def _print_evaluation(facts: dict[str, Any], tested: Any, folder: Path | None) -> None:
    out, counts = console(), tested.evaluation.counts
    for note in tested.notes:
        out.print(f"note: {shown(note)}")
    out.print(f"{shown(facts['data'])}, {facts['part']} part, {facts['protocol']}: {counts.images} images")
    out.print(f"top-1 error  {counts.top1_error:6.2f} %   {counts.mistakes} mistakes")
    out.print(f"top-5 error  {counts.top5_error:6.2f} %")
    out.print(f"balanced     {tested.evaluation.balanced_accuracy:6.2f} %   accuracy, the mean over classes")
    out.print(f"calibration  {tested.evaluation.calibration.ece:6.2f} %   expected error of the probabilities")
    rows = [row for row in counts.per_class(tested.evaluation.classes) if row["images"]]
    rows.sort(key=lambda row: row["recall"])
    out.print("\nclasses, the weakest first:")
    for row in rows[:10]:
        precision = "" if row["precision"] is None else f"   precision {row['precision']:6.2f} %"
        out.print(f"  {shown(row['class']):<20} recall {row['recall']:6.2f} %{precision}   {row['images']} images")
    for name, reason in tested.evaluation.bad[:5]:
        out.print(f"not read: {shown(name)}: {shown(reason)}")
    if folder:
        out.print(f"\nreport.html, per_class.csv, confusion.csv, predictions.csv, result.json in {folder}")
