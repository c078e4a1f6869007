"""Pictures with a box each, and a small recipe to locate them."""

from dataclasses import replace

import numpy as np
from PIL import Image

from resnets.detection.localization_recipe import LocalizationRecipe, Row
from resnets.families import network
from resnets.recipe import Training

SIDE = 32


GT, TOP5 = Row("RPN", "dense"), Row("RPN+RCNN", "dense", 5)


def small(data, **changes):
    """A recipe that trains in seconds."""
    training = Training(epochs=0, updates=4, batch_size=4, lr=0.01, ema=0.5, precision="fp32", kernels="eager")
    made = LocalizationRecipe(
        "small", replace(network("cifar_resnet8"), classes=3), str(data), size=SIDE, scale=(36, 44), tested=(36, 40),
        anchors=(8, 16, 24), proposals=4, nms=0.7, val_every=1, training=training,
    )  # fmt: skip
    return replace(made, **changes)


def write(root, rows, part="train"):
    """Pictures of noise with bright boxes; ROWS: file → list of (label, box). Adds to boxes.csv."""
    root.mkdir(exist_ok=True)
    table = root / "boxes.csv"
    lines = table.read_text().splitlines() if table.exists() else ["file,label,x1,y1,x2,y2,part"]
    for number, (name, marks) in enumerate(rows.items()):
        pixels = np.random.default_rng(number).integers(0, 90, (44, 52, 3), np.uint8)
        for label, (x1, y1, x2, y2) in marks:
            pixels[y1:y2, x1:x2, "abc".index(label)] += 150
            lines.append(f"{name},{label},{x1},{y1},{x2},{y2},{part}")
        if not marks:
            lines.append(f"{name},,,,,,{part}")
        Image.fromarray(pixels).save(root / name)
    table.write_text("\n".join(lines) + "\n")
    return root
