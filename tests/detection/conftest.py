"""What several tests of localization take."""

import numpy as np
import pytest
from located import write


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """10 training, 3 validation and 4 test pictures of three classes; one of them has two boxes, one none."""
    root, generator = tmp_path_factory.mktemp("localization") / "set", np.random.default_rng(0)

    def box():
        (x, y), (w, h) = generator.integers(0, 20, 2).tolist(), generator.integers(12, 24, 2).tolist()
        return x, y, x + w, y + h

    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        rows = {f"{part}-{i}.png": [("abc"[i % 3], box())] for i in range(count)}
        rows[f"{part}-1.png"].append(("b", (40, 30, 50, 42)))
        rows |= {"none.png": []} if part == "train" else {}
        write(root, rows, part)
    return root
