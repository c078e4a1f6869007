import io
import os
import pickle
import random
import re
import struct
import sys
import time
from pathlib import Path

import evil
import pytest
import torch
from safetensors.torch import save
from torch import nn

from resnets.errors import EnvironmentProblem, WeightsError
from resnets.models import foreign
from resnets.models.foreign import read_safetensors, read_tensors

CORPUS = evil.corpus()
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
PARTS = "subprocess.", "socket.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "ctypes.dlopen"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
watched: list[str] | None = None  # what happened while somebody watches


def listen(event, arguments):
    if watched is None:
        return
    if event.startswith(PARTS) or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
        watched.append(f"{event} {arguments}")


@pytest.fixture(scope="module", autouse=True)
def _hook():
    sys.addaudithook(listen)


@pytest.fixture
def events():
    """What the test did to the rest of the machine."""
    global watched
    watched = []
    yield watched
    watched = None
    evil.CANARY.unlink(missing_ok=True)


@pytest.fixture
def loads(monkeypatch):
    """One entry for each time that torch.load was reached."""
    calls, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: calls.append(options) or load(*args, **options))
    return calls


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def saved(content, zipped=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def read(folder, data):
    file = folder / "weights"
    file.write_bytes(data)
    return read_tensors(file)


def equal(these, those):
    return list(these) == list(those) and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(these.values(), those.values(), strict=True)
    )


def test_the_watch_sees_and_the_corpus_bites(events):
    os.system("true")
    pickle.loads(b"\x80\x02" + evil.CALLS["builtins.open"] + b".")
    assert len(events) == 2
    assert evil.CANARY.exists()
    assert len(CORPUS) >= 40


@pytest.mark.parametrize("title", CORPUS)
def test_evil_pth_corpus(title, tmp_path, events, loads):
    file = tmp_path / "weights.pth"
    file.write_bytes(CORPUS[title])
    events.clear()
    start = time.thread_time()
    with pytest.raises(WeightsError, match=r"^cannot read weights .*weights\.pth: [^\n]{10,200}$"):
        read_tensors(file)
    assert time.thread_time() - start < 1
    assert (events, loads) == ([], [])
    assert not evil.CANARY.exists()


def test_each_kind_of_stranger_is_named(tmp_path):
    words = {"tar": "tar", "gzip": "gzip", "empty": "empty", "git-lfs": "git-lfs", "web page": "web page"}
    words |= {"pickle": "torch.save did not", "text": "form is unknown", "zip: TorchScript": "TorchScript"}
    words |= {"zip: os.system": "asks for os.system", "zip: compressed": "unpack"}
    for title, word in words.items():
        with pytest.raises(WeightsError, match=word):
            read(tmp_path, CORPUS[title])


@FORMS
def test_a_plain_state_dict_loads(zipped, tmp_path, loads):
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    tensors = {
        str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in (*kinds, torch.int8, torch.uint8, torch.bool)
    }
    tensors |= {"view": torch.arange(12.0).reshape(3, 4).t()[1:3], "empty": torch.zeros(0, 3), "one": torch.tensor(2.0)}
    assert equal(read(tmp_path, saved(tensors, zipped)), tensors)
    assert loads == [{"map_location": "cpu", "weights_only": True, "mmap": False}]
    tied = {"a": torch.ones(1000), "b": nn.Parameter(torch.ones(5))}
    tied["c"] = tied["a"]
    again = read(tmp_path, saved(tied, zipped))
    assert equal(again, {**tied, "b": tied["b"].detach()})
    assert not again["b"].requires_grad


@FORMS
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net", "state_dict_ema"])
def test_wrappers_and_prefixes(wrapper, zipped, tmp_path):
    weights = network().state_dict()
    group = {"lr": 0.1, "nesterov": False, "foreach": None, "params": [0, 1]}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [group]}
    named = {f"module._orig_mod.{key}": tensor for key, tensor in weights.items()}
    others = {"epoch": 3, "best_prec1": torch.tensor(float("nan")), "optimizer": optimizer}
    assert equal(read(tmp_path, saved({**others, wrapper: named}, zipped)), weights)
    both = {"state_dict_ema": {"other": torch.ones(1)}, "net": weights}
    assert equal(read(tmp_path, saved(both, zipped)), weights)


def test_a_state_dict_of_python_2(tmp_path):
    key = b"U\x01w"
    pairs = b"](]" + b"(" + key + evil.tensor(evil.storage(legacy=True)) + b"ee"
    content = b"\x80\x02" + evil.call("collections", "OrderedDict", pairs) + b"."
    assert read(tmp_path, evil.legacy_form(content))["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.data
def test_published_weights():
    files = sorted(Path(os.environ.get("RESNETS_DATA", "/nonexistent"), "weights").glob("*.th"))
    if not files:
        pytest.skip("RESNETS_DATA names no folder with weights/*.th")
    for file in files:
        depth = int(re.findall(r"\d+", file.name)[0])
        tensors = read_tensors(file)
        assert len([name for name in tensors if "conv" in name]) == depth - 1
        assert tensors["linear.weight"].shape == (10, 64)


@FORMS
@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"w": torch.tensor([1, float("nan")])}, "'w' has NaN"),
        ({"w": torch.tensor([float("-inf")]).half()}, "'w' has NaN"),
        ({"w": torch.ones(1), "epoch": 3}, "'epoch' is no plain tensor"),
        ({"state_dict": {"w\x1b": [torch.ones(1)]}}, r"'w\\x1b' is no plain tensor"),
        ({1: torch.ones(1)}, "the number 1"),
        ({"a": torch.ones(1), "module.a": torch.ones(1)}, "with and without a prefix"),
        ({"state_dict": {}}, "no tensors"),
        ([torch.ones(1)], "no state dict"),
        (torch.ones(1), "no state dict"),
        ({"w": torch.ones(1).expand(10**10)}, "larger than the file"),
    ],
    ids=range(10),
)
def test_what_is_no_state_dict_is_refused(content, word, zipped, tmp_path):
    with pytest.raises(WeightsError, match=word):
        read(tmp_path, saved(content, zipped))


def test_paths_that_are_no_weight_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("gone")
    for name, word in {
        "": "folder",
        "fifo": "regular",
        "gone": "No such",
        "link": "No such",
        "a\0": "file name",
    }.items():
        with pytest.raises(WeightsError, match=f"cannot read weights .*{word}"):
            read_tensors(str(tmp_path / name))
    with pytest.raises(WeightsError, match=r"a\\nb: No such file"):
        read_tensors(tmp_path / "a\nb")


def test_limits(tmp_path, monkeypatch):
    data = saved({"w": torch.ones(1)})
    for limit, word in {"MAX_PICKLE": "16 MiB", "MAX_MEMBERS": "more than", "MAX_BYTES": "4 GiB"}.items():
        monkeypatch.setattr(foreign, limit, 2)
        with pytest.raises(WeightsError, match=word):
            read(tmp_path, data)
    with pytest.raises(WeightsError, match="did not write"):
        foreign.check_legacy_pickle(data)
    monkeypatch.setattr(foreign, "MAX_BYTES", len(data))
    monkeypatch.setattr(torch, "__version__", "2.10.1+cpu")
    with pytest.raises(EnvironmentProblem, match=r"2\.11"):
        read(tmp_path, data)


def peak_memory():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory cannot be reset")
def test_pth_bomb(tmp_path):
    for data in evil.bombs():
        assert len(data) < 250_000
        Path("/proc/self/clear_refs").write_text("5")
        before, start = peak_memory(), time.thread_time()
        with pytest.raises(WeightsError):
            read(tmp_path, data)
        assert time.thread_time() - start < 1
        assert peak_memory() - before < 32 * 2**20


def mutated(data, choose, last):
    """DATA with one to three changes before the place LAST."""
    for _ in range(choose.randint(1, 3)):
        at = choose.randrange(last)
        match choose.randrange(5):
            case 0:
                data = data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + choose.choice(b'\x00\xff"{}[],.0').to_bytes() + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + choose.randint(1, 9) :]
            case 3:
                data = data[:at] + choose.choice([b"0", b"-", b"9" * 20, b"\xff" * 8, data[:9]]) + data[at:]
            case _:
                data = data[:at] + data[at:].replace(*choose.choice(SWAPS), 1)
        last = min(last, len(data))
    return data


SWAPS = [pair.split(b">") for pair in b"F32>F64 F32>U9 [0,>[1, 4>400000000000 Float>Double q>h".split()]


@pytest.mark.parametrize(("form", "count"), [("safetensors", 1000), ("zip", 250), ("legacy", 250)])
def test_fuzz(form, count, tmp_path):
    weights = {name: tensor for name, tensor in network().state_dict().items() if tensor.numel() > 1}
    good = save(weights, {"format": "pt"}) if form == "safetensors" else saved(weights, form == "zip")
    size = sum(tensor.numel() for tensor in weights.values())
    last = 8 + struct.unpack("<Q", good[:8])[0] if form == "safetensors" else len(good)
    choose, refused = random.Random(0), 0
    for _ in range(count):
        try:
            tensors = read(tmp_path, mutated(good, choose, last))
        except WeightsError:
            refused += 1
        else:
            assert all(tensor.isfinite().all() for tensor in tensors.values())
            assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) <= 8 * size
            if form == "zip":
                assert [tensor.shape for tensor in tensors.values()] == [tensor.shape for tensor in weights.values()]
    assert refused > count // 2


def test_safetensors(tmp_path):
    weights = network().state_dict()
    tensors, metadata = read_safetensors(save(weights, {"text": "\x1b[31m"}))
    assert equal(dict(sorted(tensors.items())), dict(sorted(weights.items())))
    assert metadata == {"text": "\x1b[31m"}
    assert set(read(tmp_path, save({f"module.{key}": tensor for key, tensor in weights.items()}))) == set(weights)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (save({"w": torch.tensor([float("nan")])}), "'w' has NaN"),
        (save({"w": torch.ones(1)}, {"k": "v" * foreign.MAX_METADATA}), "metadata"),
        (save({"w": torch.ones(1).to(torch.complex64)}), "unknown type C64"),
        (save({"w": torch.ones(2, 3)}).replace(b'"F32"', b'"F16"'), "disagree"),
        (save({"a": torch.ones(1), "b": torch.ones(1)}).replace(b'"b"', b'"a"'), "twice"),
        (save({"a": torch.ones(1), "b": torch.ones(1)}).replace(b"[4,8]", b"[0,4]"), "disagree"),
        (save({"w": torch.ones(1)})[:-1], "disagree"),
        (struct.pack("<Q", 2**63) + b"{}", "header"),
        (struct.pack("<Q", 2**21 + 8) + b"{}" + b" " * (2**21 + 6), "header is longer"),
        (save({"w": torch.ones((1,) * 65)}), "no usable shape"),
        (struct.pack("<Q", 100_000) + b"{" + b'"a":{' * 19_999 + b"1234", "damaged"),
        (struct.pack("<Q", 2) + b"{}", "no tensors"),
        (struct.pack("<Q", 7) + b'{"w":3}', "damaged"),
        (b"{", "form is unknown"),
    ],
    ids=range(14),
)
def test_safetensors_that_lie(data, word, tmp_path):
    with pytest.raises(WeightsError, match=word):
        read(tmp_path, data)
