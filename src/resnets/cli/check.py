"""`check`: what is wrong with a data set, before it costs a night."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.progress import track
from tyro.conf import Positional, arg

from ..errors import DataError, UsageError, safe_text
from .verb import Verb, console, print_json, shown

if TYPE_CHECKING:
    from ..data.check import Picture, Report
    from ..data.datasets import Dataset

_SHOWN = 5  # examples of a finding, and classes at each end


@dataclass(frozen=True)
class Check(Verb):
    """Read every picture once and report what is wrong; nothing in DATA is changed. Sets of boxes are known too.

    examples: resnets check photos/; resnets check photos.csv --group-by patient --json; resnets check photos/ --fit pad
    --sheet seen.png
    """

    data: Positional[Annotated[str, arg(help="digits, cifar10, cifar100, a folder or a list", metavar="DATA")]]
    group_by: Annotated[str, arg(help="what keeps pictures together: a list's column or a regular expression")] = ""
    class_order: Annotated[str, arg(help="string, natural, or a file with a class a line")] = "string"
    sheet: Annotated[Path | None, arg(help="write what the network will see to this PNG file")] = None
    fit: Annotated[
        Literal["auto", "crop", "pad", "squash"], arg(help="how pictures are made square; auto: as recommended")
    ] = "auto"
    size: Annotated[int, arg(help="side of the network's input; 0: 32 for small pictures, else 224")] = 0
    strict: Annotated[bool, arg(help="stop at the first picture that cannot be read, with exit code 3")] = False
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Look and tell; 3 where the data cannot be used."""
        from ..data.check import pictures, report
        from ..data.datasets import Holdout, open_dataset
        from ..detection.datasets import is_detection

        if is_detection(self.data):
            return detection_check(self.data, self.strict, self.json)
        if not 0 <= self.size <= 4096:
            raise UsageError(f"--size is {self.size}; it must be at most 4096")
        self._check_sheet()
        dataset = open_dataset(self.data, Holdout(group_by=self.group_by, class_order=self.class_order))
        screen = console(to_stderr=True)
        total = sum(map(len, dataset.parts.values()))
        read = _sound(pictures(dataset)) if self.strict else pictures(dataset)
        told = track(read, "reading", total, console=screen, transient=True, disable=not screen.is_terminal)
        found = report(dataset, told)
        if self.sheet and found.readable:
            self._write_sheet(self.sheet, dataset, found)
        if self.json:
            sheet = str(self.sheet) if self.sheet else None
            print_json({**asdict(found), "usable": found.usable, "sheet": sheet})
        else:
            _print(found, self._next(found))
        if not found.usable:
            raise DataError(f"{safe_text(self.data)}: fewer than two classes have pictures that can be read")
        return 0

    def _check_sheet(self) -> None:
        if self.sheet is None:
            return
        if self.sheet.suffix.lower() != ".png":
            raise UsageError(f"{shown(self.sheet)}: a sheet is a PNG file; give --sheet NAME.png")
        if Path(self.data).is_dir() and self.sheet.resolve().is_relative_to(Path(self.data).resolve()):
            raise UsageError(f"{shown(self.sheet)} lies in the data, which is never changed; give another --sheet")

    def _write_sheet(self, path: Path, dataset: "Dataset", found: "Report") -> None:
        from ..choose import choose
        from ..data.contact import contact_sheet
        from ..data.preprocessing import Preprocessing
        from ..files import write_file

        chosen = choose(dataset).fields  # what `train` would see them with
        fit = found.fit if self.fit == "auto" else self.fit
        size = self.size or chosen["size"]
        seen = dict[str, Any](size=size, fit=fit, crop_pct=chosen.get("crop_pct", 0.875 if size > 64 else 1.0))
        channels = _channels(dataset)
        if channels not in (1, 3):
            seen |= {"channels": channels, "mean": (0.5,) * channels, "std": (1.0,) * channels}
        write_file(path, contact_sheet(dataset, Preprocessing(**seen)))

    def _next(self, found: "Report") -> str:
        if self.sheet:
            return f"what the network will see: {shown(self.sheet)}"
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in found.data) or "data"
        command = f"resnets check {shlex.quote(self.data)} --fit {found.fit} --sheet check-{name}.png"
        return f"what the network will see: {shown(command)}"


def _sound(found: "Iterable[Picture]") -> "Iterator[Picture]":
    """The pictures up to the first that cannot be read: DataError."""
    for picture in found:
        if picture.bad:
            raise DataError(f"{safe_text(picture.name)}: {safe_text(picture.bad)}; without --strict all are read")
        yield picture


def _channels(dataset: "Dataset") -> int:
    """Channels of the first picture that can be read."""
    import numpy as np

    from ..data.images import ImageError

    for index in range(len(dataset.train)):
        try:
            return np.atleast_3d(np.asarray(dataset.train.picture(index))).shape[2]
        except ImageError:
            continue
    return 3


def _print(found: "Report", last: str) -> None:
    out = console()
    rate = found.pictures / max(found.seconds, 1e-3)
    out.print(
        f"{shown(found.data)}: {found.pictures} pictures, {found.readable} readable, {len(found.classes)} classes"
    )
    out.print(f"  {', '.join(f'{part} {count}' for part, count in found.parts.items())}: {shown(found.split)}")
    ranked = sorted(found.classes.items(), key=lambda row: -row[1])
    few = ranked if len(ranked) <= 2 * _SHOWN else [*ranked[:_SHOWN], *ranked[-_SHOWN:]]
    out.print(f"  classes: {', '.join(f'{shown(name)} {count}' for name, count in few)}")
    for side, bounds in found.sizes.items():
        out.print(f"  {side}: {bounds['min']} to {bounds['max']} pixels, median {bounds['median']:g}")
    if found.formats:
        out.print(f"  formats: {', '.join(f'{name} {count}' for name, count in found.formats.items())}")
    out.print(f"  recommended: --fit {found.fit} ({found.fit_reason})")
    for note in found.notes:
        out.print(f"note: {shown(note)}")
    for finding in found.findings:
        within = f" times, {finding.pictures} pictures" if finding.pictures > finding.count else ""
        out.print(f"\n{finding.kind}: {finding.count}{within}  ({finding.meaning})")
        for item in finding.items[:_SHOWN]:
            names = " = ".join(map(shown, item["pictures"][:_SHOWN]))
            more = " …" if len(item["pictures"]) > _SHOWN else ""
            out.print("  " + ": ".join(filter(None, (names + more, shown(item["why"])))))
    if not found.findings:
        out.print("\nnothing is wrong with them")
    out.print(f"\nread in {found.seconds:.1f} s, {rate:.0f} pictures a second; nothing was changed")
    out.print(last)


def detection_check(data: str, strict: bool, as_json: bool) -> int:
    """The same for a set of pictures with boxes; strict: whatever had to be left out is an error."""
    from ..detection.check import check_detection, sentences
    from ..detection.datasets import open_detection

    found = open_detection(data, max_bad=0.0 if strict else 1.0)
    reports = check_detection(found)
    if as_json:
        facts = {"data": data, "classes": list(found.classes), "notes": list(found.notes), "bad": dict(found.bad)}
        print_json({**facts, "parts": reports})
    else:
        for line in sentences(found, reports):
            console().print(line)
    return 0
