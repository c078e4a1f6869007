"""`report`: a run, a test or a comparison as a page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..errors import UsageError
from .verb import Verb, console, print_json, shown


@dataclass(frozen=True)
class Report(Verb):
    """Write a run or a test as one HTML page, or several as a comparison; a folder that holds runs means all of them.

    examples: resnets report runs/latest; resnets report runs/latest --language zh; resnets report runs/;
    resnets report runs/a runs/b --out a-and-b.html
    """

    runs: Positional[Annotated[tuple[Path, ...], arg(help="runs, tests, or folders of them", metavar="RUN|DIR…")]] = ()
    language: Annotated[Literal["en", "zh"], arg(help="English or Chinese")] = "en"
    out: Annotated[
        Path | None,
        arg(help="the page; default: report.html in a run or test, comparison.html in DIR or the current folder"),
    ] = None
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Write and tell."""
        from ..record import resolve
        from ..report import compare, detector
        from ..report.reading import Damaged

        if not self.runs:
            raise UsageError(
                "nothing to report on; give runs or a folder that holds some, such as: resnets report runs/"
            )
        if self.out and self.out.suffix.lower() != ".html":
            raise UsageError(f"{shown(self.out)} is no name of a page; choose --out FILE.html")
        folders = [resolve(path) for path in self.runs]
        if len(folders) == 1 and (result := detector.finished(folders[0])):
            return self._told(detector.write(folders[0], result, self.language, self.out), {"runs": [asdict(result)]})
        found = [one for folder in folders for one in compare.find(folder)]
        if len(found) == 1 and found[0].folder == folders[0] and not isinstance(found[0], Damaged):
            path, facts = self._page(found[0])
        else:
            path = self.out or (folders[0] if len(folders) == 1 else Path()) / "comparison.html"
            facts = compare.write(found, path, self.language)
        return self._told(path, facts)

    def _told(self, path: Path, facts: dict[str, Any]) -> int:
        if self.json:
            print_json({"reports": [str(path)], **facts})
        else:
            console().print(f"report        {shown(path)}")
            for one in facts.get("left_out", ()):
                console().print(f"left out      {shown(one['reason'])}")
        return 0

    def _page(self, one: Any) -> tuple[Path, dict[str, Any]]:
        """The page of one run or test."""
        from ..report import page, reading

        if isinstance(one, reading.Test):
            return page.write_evaluation(one.folder, self.language, self.out), {
                "runs": [],
                "tests": [page.test_row(one)],
            }
        path = page.write(one.folder, one.result, self.language, self.out)
        result = asdict(one.result) if one.result else {}
        return path, {"runs": [result | {"run": str(one.folder)}], "tests": []}
