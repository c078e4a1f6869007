"""Processes that work together: a driver imports torch once and forks every process of every trial.

    python ranks.py OUT < trials.json     one JSON list of trials in, one JSON list of answers out

A trial names a function below, its arguments and the number of processes; each process answers with plain data.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from resnets import families
from resnets.errors import ResnetsError
from resnets.recipe import change
from resnets.recipes import quick
from resnets.record import Result
from resnets.run import events
from resnets.start import Machine
from resnets.training.train import Step


def recipe(**changes):
    """A small network on digits, in fp32, without anything that a process would draw for itself."""
    base = change(
        quick(families.network("cifar_resnet8"), "digits"), size=8, epochs=3, batch_size=64, lr=0.1, pad=1, flip="none",
        normalize="none", precision="fp32", channels_last=False, ema=0.9,
    )  # fmt: skip
    return change(base, **changes)


def losses(folder, count, changes):
    """The losses of the first COUNT updates."""
    found = []
    for event in events(recipe(**changes), folder, Machine(0)):
        if isinstance(event, Step):
            found.append(event.loss)
            if len(found) == count:
                return found
    return found


def run(folder, changes, at=0, kill=None, victim=-1):
    """A whole run; process VICTIM gets the signal KILL at update AT."""
    updates, used = 0, []
    try:
        for event in events(recipe(**changes), folder, Machine(0, save_every=5)):
            if isinstance(event, Step):
                updates = event.update
                used.append(event.images)
                if at == event.update and int(os.environ.get("RANK", "0")) == victim:
                    os.kill(os.getpid(), kill)
                    time.sleep(0.2)
            if isinstance(event, Result):
                return {"updates": updates, "images": used, "error": event.test_error, "exit": 0}
    except ResnetsError as error:
        return {"updates": updates, "images": used, "message": str(error), "exit": error.exit_code}


def evaluate(folder, model, data, protocol):
    """The figures of a test."""
    from resnets import api

    tested = api.evaluate(model, data, protocol=protocol, batch_size=7)
    return tested.evaluation.as_dict()


def listeners(folder):
    """The addresses that this process listens on, once it has joined the others."""
    from resnets.training.distributed import processes

    together = processes()
    open_files = Path("/proc/self/fd").iterdir()
    inodes = {os.readlink(path) for path in open_files if path.is_socket()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.append(fields[1].split(":")[0])
    together.wait()
    return found


def free_port():
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fork(name, arguments, environment):
    """One process of a trial; its pid and where its answer can be read."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    try:
        os.environ.update(environment)
        torch.set_num_threads(1)
        answer = globals()[name](**arguments)
        os.write(write, json.dumps(answer).encode())
    finally:
        os._exit(0)


def trial(folder, name, processes, **arguments):
    """Run a trial; the answers of its processes in order, None for one that was killed."""
    arguments = {"folder": folder, **arguments}
    if processes == 1:
        environments = [{}]
    else:
        shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
        shared |= {"MASTER_PORT": str(free_port()), "RESNETS_PATIENCE": "20"}
        environments = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    started = [fork(name, arguments, environment) for environment in environments]
    answers = []
    for pid, read in started:
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        answers.append(json.loads(text) if text else None)
    return answers


def main():
    """Run every trial of standard input."""
    out = Path(sys.argv[1])
    trials = json.load(sys.stdin)
    print(json.dumps([trial(out / given.pop("folder", f"trial-{i}"), **given) for i, given in enumerate(trials)]))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
