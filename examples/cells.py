"""Own photographs: cut the boxes of PASCAL VOC annotations into class folders, one picture a cell.

It reads the photographs of blood cells in RESNETS_DATA/bccd and makes cells/RBC, cells/WBC and cells/Platelets here;
then look at them, and train with the cells of one photograph on one side of the split:

    resnets check cells/ --fit pad --sheet cells.png
    resnets train cells/ --group-by 'BloodImage_[0-9]+'
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from resnets.data.images import read_bytes, read_image
from resnets.errors import DataError, safe_text

FORBIDDEN = (b"<!DOCTYPE", b"<!ENTITY", b"\0")  # what bombs are made of; \0 stands in UTF-16 and UTF-32


def parsed(path: Path) -> ElementTree.Element:
    """The tree of an annotation that nobody vouches for. Raises DataError."""
    data = read_bytes(path)
    if len(data) > 256 * 1024 or data.count(b"<") > 10_000 or any(word in data for word in FORBIDDEN):
        raise DataError(f"{safe_text(str(path))}: too large for an annotation, or has a DOCTYPE or another encoding")
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - checked above
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{safe_text(str(path))}: {safe_text(str(error))}") from error


def boxes(path: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Class and box (left, upper, right, lower; right and lower exclusive) of every object: VOC counts from 1."""
    for thing in parsed(path).iter("object"):
        try:
            low_x, low_y, high_x, high_y = (
                int(thing.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError as error:
            raise DataError(f"{safe_text(str(path))}: a box without four whole numbers") from error
        name = thing.findtext("name", "").strip()
        if not name.isalnum():  # it becomes a folder
            raise DataError(f"{safe_text(str(path))}: '{safe_text(name)}' is no class name")
        yield name, (low_x - 1, low_y - 1, high_x, high_y)


def cut(folder: Path, out: Path) -> Counter[str]:
    """Write OUT/<class>/<photograph>_<number>.png for every box of FOLDER, clipped to its photograph; counts."""
    counts: Counter[str] = Counter()
    for path in sorted((folder / "Annotations").glob("*.xml")):
        photograph = read_image(folder / "JPEGImages" / f"{path.stem}.jpg")
        for number, (name, (left, upper, right, lower)) in enumerate(boxes(path)):
            clipped = max(left, 0), max(upper, 0), min(right, photograph.width), min(lower, photograph.height)
            if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
                print(f"skipped: box {number} of {path.name} is empty: {left + 1} {upper + 1} {right} {lower}")
                continue
            (out / name).mkdir(parents=True, exist_ok=True)
            photograph.crop(clipped).save(out / name / f"{path.stem}_{number:02}.png", compress_level=1)
            counts[name] += 1
    return counts


if __name__ == "__main__":
    bccd = Path(os.environ.get("RESNETS_DATA", "data")) / "bccd"
    if (bccd / "Annotations").is_dir():
        print("cells/ has " + ", ".join(f"{count} {name}" for name, count in cut(bccd, Path("cells")).most_common()))
    else:
        print(f"no cells/ made: {bccd} is not there; RESNETS_DATA must name the folder that holds bccd/")
