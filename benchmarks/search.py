"""The search around `quick` for CIFAR-10: one change at a time, judged on 5,000 of the training images.

    python -m benchmarks.search OUT [--epochs 8] [NAME …]     trains what OUT lacks, prints the table

A row trains on 45,000 images and is one run folder: a stopped search goes on where it was. The test set plays no part.
"""

import argparse
from pathlib import Path
from typing import Any

from resnets.errors import ResnetsError
from resnets.plan import plan
from resnets.record import read_result
from resnets.run import execute

ROWS: dict[str, dict[str, Any]] = {
    "quick": {},
    "SGD, pad 4, zeros": {"optimizer": "sgd", "momentum": 0.9, "pad": 4, "border": "after"},
    "SGD": {"optimizer": "sgd", "momentum": 0.9},
    "pad 4, zeros": {"pad": 4, "border": "after"},
    "pad 2, zeros": {"border": "after"},
    "muon_lr 0.015": {"muon_lr": 0.015},
    "muon_lr 0.06": {"muon_lr": 0.06},
    "momentum 0.6": {"momentum": 0.6},
    "momentum 0.9": {"momentum": 0.9},
    "lr 0.2": {"lr": 0.2},
    "lr 0.8": {"lr": 0.8},
    "weight_decay 1e-3": {"weight_decay": 1e-3},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "batch 256, muon_lr 0.045": {"batch_size": 256, "muon_lr": 0.045},
    "random flips": {"flip": "random"},
    "cosine": {"schedule": "cosine"},
    "ema 0.995": {"ema": 0.995},
}


def main() -> None:
    """Train and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in ROWS]:
        parser.error(f"no row '{unknown[0]}'; there are: {', '.join(ROWS)}")
    print("| Change | Validation error | Images/s |\n|---|---|---|")
    for name in given.names or ROWS:
        folder = given.out / f"{given.epochs}-{name.replace(' ', '-').replace(',', '')}"
        recipe = plan("cifar10", **{"val": 0.1, "epochs": given.epochs, "watch_test": False, **ROWS[name]})
        try:
            done = read_result(folder) or execute(recipe, folder)
        except ResnetsError as error:
            parser.exit(error.exit_code, f"benchmarks.search: {error}\n")
        kept = done.val_error if done.val_error is not None else float("nan")
        print(f"| {name} | {kept:.2f} % | {done.images_per_second:.0f} |", flush=True)


if __name__ == "__main__":
    main()
