"""Runs that are killed, stopped and resumed: a driver process imports torch once and forks every trial.

    python trials.py DATA OUT < trials.json     one JSON list of trials in, one JSON object of digests out

A trial is a list of sittings in the same run folder; each says where it is to be killed. The driver itself never
computes with torch, so that forking it is safe.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from resnets import families, files
from resnets.errors import ResnetsError
from resnets.recipe import change
from resnets.recipes import quick
from resnets.run import events
from resnets.start import Machine
from resnets.training.train import Step

UPDATES = 36  # 96 images in batches of 8, 3 epochs
SAVE_EVERY = 4


def recipe(data, **changes):
    """A small network with everything that is random: dropout, stochastic depth, crops and flips, and EMA."""
    network = families.network("cifar_resnet8_shortcut_dropout_stochastic_depth")
    base = change(
        quick(network, str(data)), size=8, epochs=3, batch_size=8, lr=0.05, schedule="cosine", ema=0.9, pad=1,
        flip="random", precision="fp32", channels_last=False, val=0.2, test=0.2, watch_test=True,
    )  # fmt: skip
    return change(base, **changes)


def sit(data, folder, sitting):
    """One sitting: run until the end or until it is killed at an update, at a file operation, or after a signal."""
    torch.set_num_threads(1)
    kill_update, kill_operation = sitting.get("kill_update"), sitting.get("kill_operation")
    count = 0

    def hook(operation, path):
        nonlocal count
        count += 1
        if count == kill_operation:
            os.kill(os.getpid(), signal.SIGKILL)

    files._hook = hook
    machine = Machine(workers=sitting.get("workers", 0), save_every=SAVE_EVERY)
    for event in events(recipe(data, **sitting.get("changes", {})), folder, machine):
        if isinstance(event, Step) and event.update == kill_update:
            os.kill(os.getpid(), sitting.get("signal", signal.SIGKILL))
    return count


def forked(data, folder, sitting):
    """Run a sitting in a child; its exit status, and how many file operations it did if it ended by itself."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.write(write, str(sit(data, folder, sitting)).encode())
            status = 0
        except ResnetsError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            status = error.exit_code
        finally:
            os._exit(status)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        operations = pipe.read()
    code = os.waitstatus_to_exitcode(status)
    return {"exit": code, "operations": int(operations or 0)}


def digest(folder):
    """A hash per thing that must be the same, bit for bit: every tensor, the log, the result, the answers."""
    found = {}
    newest = max((folder / "checkpoints").glob("step-*"))
    for path in [*sorted(newest.glob("*.safetensors")), *folder.glob("*/model.safetensors")]:
        tensors = load_file(path)
        data = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    found["state"] = (newest / "state.json").read_text()
    found["log"] = hashlib.sha256((folder / "log.jsonl").read_bytes()).hexdigest()
    result = json.loads((folder / "result.json").read_text())
    found["result"] = {k: v for k, v in result.items() if k not in ("seconds", "images_per_second", "run")}
    found["answers"] = hashlib.sha256((folder / result["evaluation"] / "predictions.csv").read_bytes()).hexdigest()
    return found


def main():
    """Run every trial of standard input."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    answers = []
    for number, sittings in enumerate(json.load(sys.stdin)):
        folder = out / f"trial-{number}"
        ends = [forked(data, folder, sitting) for sitting in sittings]
        answers.append({"ends": ends, "digest": digest(folder) if ends[-1]["exit"] == 0 else None})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
