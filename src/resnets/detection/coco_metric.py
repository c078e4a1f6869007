"""COCO's twelve numbers for boxes and masks (Lin et al. 2014), computed by hotcoco.

hotcoco gives what COCO's own evaluator gives; it sees nothing that has not been checked here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, NumericError, safe_text
from .annotated import size_told
from .masks import Packed, hotcoco, outline_of
from .objects import Detections, Objects, Scenes
from .records import Record, as_record, categories_of, corners, number, read_json, records, shown, whole
from .results import Kind, check_results, results_json

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
Sizes = dict[int, tuple[int, int]]


def coco_figures(found: Sequence[Detections], scenes: Scenes, kind: Kind = "bbox") -> dict[str, float | None]:
    """FIGURES of what was FOUND, picture by picture of SCENES; None where there is nothing to find.

    The areas that make an object small, medium or large are those of the annotations, else of its mask, else of its
    box. COCO knows no difficult objects: they count as any other. Raises EnvironmentProblem without hotcoco,
    DataError for masks of a set that has none, NumericError for a score or box that is not finite.
    """
    if not all(np.isfinite(picture.boxes).all() and np.isfinite(picture.scores).all() for picture in found):
        raise NumericError("a box or a score of a detection is not a finite number; the model has diverged")
    images, annotations = list[Record](), list[Record]()
    for index in range(len(scenes)):
        width, height = scenes.size(index)
        images.append({"id": scenes.image_id(index), "width": width, "height": height})
        objects = scenes.objects(index, masks=kind == "segm")
        if kind == "segm" and objects.masks is None:
            raise DataError(f"{scenes.name(index)} has no masks; only boxes can be evaluated")
        annotations += [
            {"image_id": scenes.image_id(index), "category_id": scenes.categories[int(label) - 1], **row}
            for label, row in zip(objects.labels, _rows(objects), strict=True)
        ]
    categories = [{"id": key, "name": str(key)} for key in scenes.categories]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return _measured(truth, results_json(found, scenes, decimals=None), kind)


def _rows(objects: Objects) -> list[Record]:
    """What is annotated of each object but image and category."""
    boxes = objects.boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    masks = None if objects.masks is None else Packed.of(objects.masks)
    areas = sides.prod(1) if masks is None else masks.areas
    areas = areas if objects.areas is None else objects.areas
    rows: list[Record] = [
        {"bbox": [*map(float, (*box[:2], *side))], "area": float(area), "iscrowd": int(crowd)}
        for box, side, area, crowd in zip(boxes, sides, areas, objects.crowd, strict=True)
    ]
    if masks is not None:
        rows = [{**row, "segmentation": runs} for row, runs in zip(rows, masks.runs, strict=True)]
    return rows


def figures_of_files(annotations: Path, results: Path, kind: Kind = "bbox") -> dict[str, float | None]:
    """FIGURES of a results file on an annotation file, both in COCO's form; None where there is nothing to find.

    Nothing is left out: the first fault in either file is a DataError. Pictures are not needed. Raises
    EnvironmentProblem without hotcoco.
    """
    value = read_json(annotations)
    where = safe_text(str(annotations))
    categories = categories_of(value, where)
    images = _checked(records(value, "images", where), f"{where}: image", _image)
    sizes: Sizes = {row["id"]: (row["width"], row["height"]) for row in images}  # type: ignore[misc]
    if len(sizes) < len(images):
        raise DataError(f"{where}: {len(images) - len(sizes)} images have the id of another")
    faults = partial(_annotation, sizes=sizes, categories=categories, kind=kind)
    rows = _checked(records(value, "annotations", where), f"{where}: annotation", faults)
    if len({row["id"] for row in rows}) < len(rows):
        raise DataError(f"{where}: annotations have the ids of others")
    told = [{"id": key, "name": name} for key, name in categories.items()]
    found = check_results(read_json(results), sizes, list(categories), kind, str(results))
    return _measured({"images": images, "annotations": rows, "categories": told}, found, kind)


def _checked(values: list[object], where: str, checked: Callable[[Record], Record]) -> list[Record]:
    rows = list[Record]()
    for place, value in enumerate(values):
        try:
            rows.append(checked(as_record(value)))
        except ValueError as error:
            raise DataError(f"{where} number {place}: {safe_text(str(error))}") from error
    return rows


def _image(record: Record) -> Record:
    size = size_told(whole(record, "width"), whole(record, "height"))
    if size is None:
        raise ValueError(f"no picture is {record['width']} x {record['height']}")
    return {"id": whole(record, "id"), "width": size[0], "height": size[1]}


def _annotation(record: Record, sizes: Sizes, categories: dict[int, str], kind: Kind) -> Record:
    image, category, crowd = whole(record, "image_id"), whole(record, "category_id"), record.get("iscrowd", 0)
    if image not in sizes or category not in categories:
        raise ValueError(f"there is no {f'image {image}' if image not in sizes else f'category {category}'}")
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {shown(crowd)}, neither 0 nor 1")
    box = corners(record)
    area = number(record, "area") if "area" in record else box[2] * box[3]
    row: Record = {"id": whole(record, "id"), "image_id": image, "category_id": category, "bbox": list(box)}
    row |= {"area": area, "iscrowd": int(bool(crowd))}
    if kind == "segm":
        outline = outline_of(record.get("segmentation"), sizes[image])
        if outline is None:
            raise ValueError("no segmentation; only boxes can be evaluated")
        row["segmentation"] = outline if isinstance(outline, dict) else [polygon.tolist() for polygon in outline]
    return row


def _measured(truth: dict[str, list[Record]], found: list[Record], kind: Kind) -> dict[str, float | None]:
    """FIGURES by hotcoco; the size of a detection is that of its box, or of its mask where masks are measured."""
    package: Any = hotcoco()
    other = "segmentation" if kind == "bbox" else "bbox"
    rows = [{key: value for key, value in row.items() if key != other} for row in found]
    if kind == "segm" and not all("segmentation" in row for row in rows):
        raise DataError("detections without masks; only boxes can be evaluated")
    numbered = [{**row, "id": number} for number, row in enumerate(truth["annotations"], 1)]
    try:
        whole_truth = package.COCO({**truth, "annotations": numbered})
        measured = package.COCOeval(whole_truth, whole_truth.load_res(rows), kind)
        measured.evaluate()
        measured.accumulate()
        measured.summary_lines()  # what print would show; it computes `stats`
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DataError(f"hotcoco refuses the annotations or results: {safe_text(str(error))[:200]}") from error
    values = dict(zip(measured.metric_keys(), map(float, measured.stats), strict=True))
    return {name: values[name] if values[name] >= 0 else None for name in FIGURES}
