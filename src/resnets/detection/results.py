"""Detections in COCO's results form: what is written for others, and what others wrote, read with care."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DataError, safe_text
from .masks import Packed, mask_of, runs_of
from .objects import Detections, Scenes
from .records import Record, as_record, corners, number, read_json, whole

Kind = Literal["bbox", "segm"]
_KEYS = {"bbox": "bbox", "segm": "segmentation"}


def results_json(found: Sequence[Detections], scenes: Scenes, decimals: int | None = 3) -> list[dict[str, Any]]:
    """FOUND, picture by picture of SCENES, as COCO's results: x, y, width, height with so many DECIMALS, None for all.

    Scores are written with the fewest digits that tell them from any other float32: ties stay ties, and nothing else.
    """
    return [
        row
        for index, picture in enumerate(found)
        for row in results_rows(picture, scenes.image_id(index), scenes.categories, decimals)
    ]


def results_rows(
    picture: Detections, image_id: int, categories: Sequence[int], decimals: int | None = 3
) -> list[dict[str, Any]]:
    """The same for one picture."""
    rows = list[dict[str, Any]]()
    boxes = picture.boxes.astype(np.float64)
    sides = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
    runs = () if picture.masks is None else Packed.of(picture.masks).runs
    for at, label in enumerate(picture.labels):
        box = [float(side) if decimals is None else round(float(side), decimals) for side in sides[at]]
        score = float(picture.scores[at]) if decimals is None else float(str(picture.scores[at]))
        row = {"image_id": image_id, "category_id": categories[int(label) - 1]}
        rows.append({**row, "bbox": box, "score": score})
        if runs:
            rows[-1]["segmentation"] = runs[at]
    return rows


def read_results(path: Path, scenes: Scenes) -> list[Detections]:
    """The detections on every picture of SCENES that a results file tells. Raises DataError for the first fault."""
    sizes = {scenes.image_id(index): scenes.size(index) for index in range(len(scenes))}
    rows = check_results(read_json(path), sizes, scenes.categories, "bbox", str(path))
    labels = {category: label for label, category in enumerate(scenes.categories, 1)}
    by_image: dict[int, list[Record]] = {key: [] for key in sizes}
    for row in rows:
        by_image[row["image_id"]].append(row)  # type: ignore[index]
    return [_detections(mine, labels, sizes[key]) for key, mine in by_image.items()]


def _detections(rows: Sequence[Mapping[str, Any]], labels: Mapping[int, int], size: tuple[int, int]) -> Detections:
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    found = Detections.of(boxes, [row["score"] for row in rows], [labels[row["category_id"]] for row in rows])
    if not rows or not all("segmentation" in row for row in rows):
        return found
    masks = np.stack([mask_of(row["segmentation"], size) for row in rows])
    return Detections(found.boxes, found.scores, found.labels, masks).light


def check_results(
    value: object, sizes: Mapping[int, tuple[int, int]], categories: Sequence[int], kind: Kind, where: str
) -> list[Record]:
    """The records of a results file, of which KIND is evaluated. SIZES: (width, height) of the pictures by id.

    Raises DataError for the first fault, with its place.
    """
    where = safe_text(where)
    if isinstance(value, dict) and "results" in value:  # what `detect predict --json` prints
        value = value["results"]
    if not isinstance(value, list):
        raise DataError(
            f"{where}: expected a list of results, each with image_id, category_id, score and {_KEYS[kind]}"
        )
    known, rows = set(categories), list[Record]()
    for place, entry in enumerate(value):
        try:
            rows.append(_row(as_record(entry), sizes, known, kind))
        except ValueError as error:
            raise DataError(f"{where}: result number {place}: {safe_text(str(error))}") from error
    return rows


def _row(record: Record, sizes: Mapping[int, tuple[int, int]], categories: set[int], kind: Kind) -> Record:
    image, category = whole(record, "image_id"), whole(record, "category_id")
    if image not in sizes:
        raise ValueError(f"there is no image {image} in the annotations")
    if category not in categories:
        raise ValueError(f"there is no category {category} in the annotations")
    row: Record = {"image_id": image, "category_id": category, "score": number(record, "score")}
    if kind == "bbox":
        row["bbox"] = list(corners(record))
    runs = record.get("segmentation")
    if kind == "segm" or isinstance(runs, dict):
        if not isinstance(runs, dict):
            raise ValueError("no segmentation in run lengths")
        row["segmentation"] = runs_of(runs, sizes[image])
    return row
