"""The table of docs/results.md: every protocol on the photographs of RESNETS_DATA against the literal reference.

    PYTHONPATH=src python tests/evaluation/photographs.py OUT [COUNT]

resnet50 with random weights and BN statistics of eight photographs. What the
reference says is kept in OUT: it goes on where it stopped.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from literal import probabilities

from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Files
from resnets.evaluation.protocol import PROTOCOLS, parse
from resnets.evaluation.scoring import scored
from resnets.evaluation.views import view_batches
from resnets.models import create_model
from resnets.models.layers import BatchNorm

SEEING = Preprocessing(224)
RULES = (*PROTOCOLS, "dense:dense=i", "dense:dense=ii", "multi-scale:flip=true")


def photographs(count):
    """The first COUNT photographs, each a class of its own."""
    paths = sorted(Path(os.environ["RESNETS_DATA"], "imagenet-sample").glob("*.JPEG"))[:count]
    sizes = tuple(path.stat().st_size for path in paths)
    return Files(paths[0].parent, tuple(path.name for path in paths), sizes, np.arange(len(paths)))


def realistic(model, source):
    """MODEL whose activations keep their scale on photographs."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    with torch.inference_mode():
        model.train()(torch.from_numpy(np.stack([SEEING(source.picture(i)) for i in range(8)])))
    return model.eval()


def row(model, source, text, kept):
    """A row of the table; KEPT is a folder for what the reference has said of each picture."""
    rule, clock = parse(text), time.monotonic()
    found = scored([model], view_batches(source, SEEING, rule, 64), 1000, rule, 224).scores.double().log_softmax(1)
    seconds = (time.monotonic() - clock) / len(source)
    said = kept / f"{text.replace(':', '-')}.jsonl"
    lines = said.read_text().splitlines() if said.exists() else []
    with said.open("a") as file:
        for index in range(len(lines), len(source)):
            lines.append(json.dumps(probabilities(model, source.picture(index), SEEING, rule).tolist()))
            print(lines[-1], file=file, flush=True)
    expected = np.log([json.loads(line) for line in lines[: len(source)]])
    same = int((found.numpy().argmax(1) == expected.argmax(1)).sum())
    return f"| {text} | {np.abs(found.numpy() - expected).max():.1e} | {same} of {len(source)} | {seconds:.2f} |"


def main(out, count=100):
    """Print the table."""
    torch.manual_seed(0)
    source, kept = photographs(int(count)), Path(out)
    kept.mkdir(parents=True, exist_ok=True)
    model = realistic(create_model("resnet50", 1000), photographs(8))
    print("| Protocol | Largest difference of log probabilities | Same top-1 | Seconds a picture |\n|---|---|---|---|")
    for text in RULES:
        print(row(model, source, text, kept), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
