"""Small detection sets on disk: a VOC folder, a COCO folder, pictures of noise."""

import json

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30


def picture(path, size=(WIDTH, HEIGHT), orientation=None):
    """A JPEG, or what the extension says, dark but for a light upper left corner of its stored pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), 40, np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = 220
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def marked(name="cell", box=(2, 3, 11, 12), more=""):
    """One <object> with VOC's inclusive box."""
    tags = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{tags}</bndbox></object>"


def annotation(*objects, size=(WIDTH, HEIGHT)):
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return "\n".join(["<annotation>", "<filename>../../x.jpg</filename>", told, *objects, "</annotation>"])


def voc(root, sets, folder=""):
    """SETS: {"train": {id: XML as text or bytes}}."""
    home = root / folder
    for name, pictures in sets.items():
        for key, xml in pictures.items():
            picture(home / "JPEGImages" / f"{key}.jpg")
            path = home / "Annotations" / f"{key}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        path = home / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}\n" for key in pictures))
    return root


def image(key=1, name="a.jpg", **more):
    return {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}


def instance(key=1, image_id=1, category=7, box=(2, 3, 10, 9), **more):
    return {"id": key, "image_id": image_id, "category_id": category, "bbox": list(box), "iscrowd": 0, **more}


CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}]


def coco_value(images, annotations, categories=CATEGORIES):
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root, value, path="annotations.json", pictures=("a.jpg", "b.jpg")):
    """VALUE, or text, as an annotation file, and PICTURES below ROOT."""
    for name in pictures:
        picture(root / name)
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return root


def told(scenes):
    """Boxes and labels by name."""
    return {
        scenes.name(i): (scenes.objects(i).boxes.tolist(), scenes.objects(i).labels.tolist())
        for i in range(len(scenes))
    }


def all_sound(scenes):
    """Every box lies in its picture, has an area and is a number."""
    for i in range(len(scenes)):
        boxes, (width, height) = scenes.objects(i).boxes, scenes.size(i)
        assert boxes.dtype == np.float32
        assert boxes.shape == (len(scenes.objects(i)), 4)
        assert np.isfinite(boxes).all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [width, height]).all()
        assert (boxes[:, 2:] - boxes[:, :2] > 0).all()
