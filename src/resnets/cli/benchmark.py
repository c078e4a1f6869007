"""`benchmark`: which engine computes a model fastest on this machine, and what each one costs in accuracy."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from tyro.conf import Positional, arg

from ..errors import UsageError
from .verb import Verb, console, print_json, shown

_WIDTH = 120  # columns of the table, also where it goes to a file
_BUSY = 0.5  # load of the last minute from which on figures mislead


@dataclass(frozen=True)
class Benchmark(Verb):
    """Time every installed engine in every precision it has, compare their answers, and remember the fastest.

    examples: resnets benchmark runs/latest; resnets benchmark runs/latest --data photos/ --batch-size 32;
    resnets benchmark --network resnet50 --engine torch openvino:bf16
    """

    model: Positional[Annotated[Path | None, arg(help="a run folder or a model folder", metavar="MODEL")]] = None
    network: Annotated[str, arg(help="instead of MODEL: a network of this name with random weights")] = ""
    data: Annotated[str, arg(help="pictures to compare on, and to calibrate int8; default: random ones, no int8")] = ""
    images: Annotated[int, arg(help="how many pictures of the data are compared")] = 1000
    batch_size: Annotated[int, arg(help="images per call where throughput is measured; latency is that of one")] = 16
    seconds: Annotated[float, arg(help="how long each engine is timed, for latency and for throughput")] = 5.0
    engine: Annotated[tuple[str, ...], arg(help="only these: NAME or NAME:PRECISION", metavar="ENGINE…")] = ()
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Measure and tell."""
        from ..deploy import measured

        engines = self._engines()
        prepared = self._prepared()
        if not self.json:
            _print_head(self, prepared)
        rows, refused = list[measured.Measured](), list[measured.Refused]()
        for event in measured.measure(prepared, engines, self.batch_size, self.seconds):
            if isinstance(event, measured.Measured):
                rows.append(event)
            elif isinstance(event, measured.Refused):
                refused.append(event)
            else:
                console(to_stderr=True).print(f"started {event.engine} in {event.seconds:.1f} s")
        if self.model and not self.engine:
            measured.remember(prepared.bundle, self.batch_size, rows)
        found = _found(self, prepared, rows, refused)
        if self.json:
            print_json(found)
        else:
            _print(found)
        return 0

    def _engines(self) -> list[Any]:
        """The engines asked for; PyTorch as it is always among them, since the others are told as ratios to it."""
        if self.batch_size < 1 or self.images < 1 or not self.seconds > 0:
            raise UsageError("--batch-size, --images and --seconds must be above 0")
        if bool(self.model) == bool(self.network):
            raise UsageError("give either MODEL or --network")
        from ..deploy.engines import ENGINES, engine_called

        names = {engine.name for engine in ENGINES}
        asked = {str(engine_called(text)) for text in self.engine if text not in names}
        wanted = [e for e in ENGINES if not self.engine or e.name in self.engine or str(e) in asked]
        return wanted if ENGINES[0] in wanted else [ENGINES[0], *wanted]

    def _prepared(self) -> Any:
        """The model, and the pictures it is compared on."""
        from .. import bundle
        from ..deploy import pictures
        from ..deploy.engines import Prepared
        from ..deploy.measured import folder_of
        from ..record import model_folder

        if self.model is None:
            made = _random(self.network)
            seen = pictures.of_data(self.data, made.preprocessing, self.images) if self.data else None
            return Prepared(made, seen)
        made = bundle.load(model_folder(self.model))
        seen = pictures.of_model(self.model, self.data, made.preprocessing, self.images) if self.data else None
        return Prepared(made, seen, folder_of(made))


def _random(network: str) -> Any:
    """A bundle with He's initial weights."""
    import torch

    from ..bundle import Bundle
    from ..data.preprocessing import Preprocessing, normalization
    from ..families import network as network_called
    from ..models import create_model

    torch.manual_seed(0)
    spec = network_called(network)
    mean, std = normalization("imagenet", spec.channels)
    tensors = dict(create_model(spec).state_dict())
    classes = tuple(f"class{number}" for number in range(spec.classes))
    return Bundle(spec, tensors, classes, Preprocessing(spec.size, spec.channels, mean=mean, std=std))


def _found(verb: Benchmark, prepared: Any, rows: Any, refused: Any) -> dict[str, Any]:
    """What --json prints."""
    from ..deploy import measured
    from ..deploy.compare import compare
    from ..deploy.engines import eager
    from ..families import name_of

    folded, pictures = prepared.folded, prepared.pictures
    change = compare(prepared.reference, prepared.scores(eager(folded.module, "fp32"), len(prepared.examples)))
    winners = {
        "latency": measured.best(rows, lambda row: row.latency),
        "throughput": measured.best(rows, lambda row: -row.images_per_second),
    }
    return {
        "model": str(verb.model) if verb.model else None,
        "network": name_of(prepared.bundle.network),
        "input": list(prepared.shape),
        "machine": measured.machine(),
        "pictures": pictures.name if pictures else "random",
        "images": len(prepared.examples),
        "calibration": len(pictures.calibration) if pictures else 0,
        "batch_size": verb.batch_size,
        "folded": {"layers": folded.layers, "of": folded.of, "difference": change.largest},
        "engines": measured.as_rows(rows),
        "refused": [{"engine": str(one.engine), "reason": one.reason} for one in refused],
        "fastest": {name: f"{row.engine}:{row.precision}" if row else None for name, row in winners.items()},
    }


def _print_head(verb: Benchmark, prepared: Any) -> None:
    from ..deploy.measured import machine

    out, here, pictures = console(), machine(), prepared.pictures
    out.print(f"{here['processor']}, {here['threads']} threads")
    what = f"{len(pictures.views)} pictures of {shown(pictures.name)}" if pictures else "random pictures"
    labelled = pictures is not None and pictures.labels is not None
    out.print(f"compared on {what}{'' if labelled else '; without labels there is no accuracy'}")
    if (load := os.getloadavg()[0]) > _BUSY:
        out.print(f"note: other programs keep {load:.1f} cores busy; threads that wait for each other suffer most")


def _print(found: dict[str, Any]) -> None:
    out, rows, batch = console(), found["engines"], found["batch_size"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("engine")
    heads = ("ms for 1", "p90", "ratio", f"images/s by {batch}", "ratio", "start s", "differ", "same")
    told = any(row["accuracy"] is not None for row in rows)
    for head in (*heads, *(("accuracy", "lost") if told else ())):
        table.add_column(head, justify="right")
    for row in rows:
        lost = "" if row["lost"] is None else f"{row['lost']:+.2f}"
        accuracy = (f"{row['accuracy']:.2f} %", lost) if told else ()
        table.add_row(
            f"{row['engine']}:{row['precision']}",
            f"{1000 * row['latency']:.2f}",
            f"{1000 * row['latency_p90']:.2f}",
            f"{row['latency_ratio']:.2f}×",
            f"{row['images_per_second']:.1f}",
            f"{row['throughput_ratio']:.2f}×",
            f"{row['start']:.1f}",
            f"{row['difference']:.1e}",
            f"{100 * row['agreement']:.2f} %",
            *accuracy,
        )
    out.print()
    out.width = max(out.width, _WIDTH)
    out.print(table)
    out.print()
    for one in found["refused"]:
        out.print(f"left out  {shown(one['engine'])}: {shown(one['reason'])}")
    folded = found["folded"]
    out.print(
        f"folded    {folded['layers']} of {folded['of']} BNs into convolutions, "
        f"largest output difference {folded['difference']:.1e}"
    )
    fastest = found["fastest"]
    out.print(f"fastest   {fastest['latency']} for one image, {fastest['throughput']} for {batch} at a time")
    if found["model"]:
        out.print(f"\nuse it: resnets predict {shown(found['model'])} PICTURE… --engine auto")
