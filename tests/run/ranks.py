"""Processes that work together: a driver imports torch once and forks every process of every trial.

    python ranks.py OUT < trials.json     one JSON list of trials in, one JSON list of answers out

A trial names a function below, its arguments and the number of processes; each process answers with plain data.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import torch

import resnets.outcome
from resnets import classification, families, files
from resnets.recipe import change
from resnets.recipes import quick
from resnets.record import Result
from resnets.run import events
from resnets.start import Machine, fit_network, new_state, opened, preprocessing_of
from resnets.training.distributed import processes
from resnets.training.train import Step


def recipe(network="cifar_resnet8", **changes):
    """A small network on digits, in fp32, without anything that a process would draw for itself."""
    base = change(
        quick(families.network(network), "digits"), size=8, epochs=3, batch_size=64, lr=0.1, pad=1, flip="none",
        normalize="none", precision="fp32", channels_last=False, ema=0.9, optimizer="sgd", momentum=0.9,
        border="after",
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


def run(folder, changes, fault=None):
    """A whole run, in which FAULT happens if there is one; "seconds" are those since the last update."""
    fault = Fault(**fault) if fault else None
    last, updates, drawn, said = time.monotonic(), 0, recorded(), []
    logging.lastResort.emit = lambda record: said.append(record.getMessage())
    try:
        for event in events(recipe(**changes), folder, Machine(0, save_every=5)):
            if isinstance(event, Step):
                last, updates = time.monotonic(), event.update
                if fault:
                    fault.update = updates
                    fault.at("update")
            if isinstance(event, Result):
                end = {"error": event.test_error, "exit": 0}
    except Exception as error:
        end = {"message": f"{type(error).__name__}: {error}", "exit": getattr(error, "exit_code", 1)}
    return {"updates": updates, "drawn": drawn, "said": said, "seconds": time.monotonic() - last, **end}


def recorded():
    """A list that will hold the indices of the images of every update."""
    own, drawn = classification.training_batches, []

    def batches(*arguments):
        for batch in own(*arguments):
            drawn.append(batch.indices.tolist())
            yield batch

    classification.training_batches = batches
    return drawn


class Fault:
    """What process VICTIM does or suffers at the first MOMENT (gradient, update, test, save) after SINCE updates."""

    def __init__(self, victim, do, since=0, moment="update"):
        self.do, self.since, self.moment, self.update, self.state = do, since, moment, 0, None
        self.pid = processes().gather_json([os.getpid()])[victim]
        self.mine = processes().rank == (0 if moment == "save" else victim)  # only process 0 saves
        self.watch(classification.Classification, "loss", "gradient")
        self.watch(classification, "gathered", "test")
        files._hook = lambda name, path: self.at("save") if "checkpoints" in str(path) and name == "write" else None
        new_state = resnets.outcome.new_state

        def kept(*arguments):
            self.state, notes = new_state(*arguments)
            return self.state, notes

        resnets.outcome.new_state = kept

    def watch(self, module, name, moment):
        """Function NAME of MODULE begins at MOMENT."""
        own = getattr(module, name)

        def watched(*arguments):
            self.at(moment)
            return own(*arguments)

        setattr(module, name, watched)

    def at(self, moment):
        """Let it happen if this is the moment."""
        if not self.mine or moment != self.moment or self.update < self.since:
            return
        self.mine = False
        if self.do == "exhaust":
            raise MemoryError("no room for 12 GB")
        if self.do == "flip":
            list(self.state.model.parameters())[-2].data.view(torch.int32).view(-1)[3] ^= 1
        else:
            os.kill(self.pid, getattr(signal, self.do))
            time.sleep(0.2)


def scores(folder, sizes, batch):
    """The indices and scores of the first images of the test part, for each of SIZES, BATCH together."""
    classification._TESTED = batch
    chosen, dataset = recipe(), opened(recipe())
    chosen = fit_network(chosen, dataset)
    model, found = new_state(chosen, 100, fresh=True)[0].model.eval(), []
    seen = preprocessing_of(chosen, dataset)
    job = classification.Classification(model, chosen, dataset.test, seen, dataset.classes, 0, processes())
    for size in sizes:
        tested = job.evaluate(model, dataset.test.subset(np.arange(size)))
        found.append((tested.indices.tolist(), tested.scores.flatten().tolist()))
    return found


def evaluate(folder, model, data, protocol):
    """The figures of a test."""
    from resnets import api

    tested = api.evaluate(model, data, protocol=protocol, batch_size=7)
    return tested.evaluation.as_dict()


def listeners(folder):
    """The addresses that this process listens on, once it has joined the others."""
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
    """One process of a trial; its pid and where its answer will be."""
    memory = os.memfd_create("answer")  # a pipe would hold up who has much to say
    pid = os.fork()
    if pid:
        return pid, memory
    try:
        os.environ.update(environment)
        torch.set_num_threads(1)
        with os.fdopen(memory, "wb") as answer:
            answer.write(json.dumps(globals()[name](**arguments)).encode())
    finally:
        os._exit(0)


def trial(folder, name, processes, patience=20, **arguments):
    """Run a trial; the answers of its processes in order, None for one that was killed."""
    arguments = {"folder": folder, **arguments}
    if processes == 1:
        environments = [{}]
    else:
        shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
        shared |= {"MASTER_PORT": str(free_port()), "RESNETS_PATIENCE": str(patience)}
        environments = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    started = dict(fork(name, arguments, environment) for environment in environments)
    await_end(set(started))
    answers = []
    for memory in started.values():
        with os.fdopen(memory, "rb") as answer:
            answer.seek(0)
            text = answer.read()
        answers.append(json.loads(text) if text else None)
    return answers


def await_end(alive):
    """Wait for processes; those that are stopped are killed when all others have ended."""
    stopped = set()
    while alive:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        (stopped.add if os.WIFSTOPPED(status) else alive.remove)(pid)
        if alive == stopped:
            for pid in stopped:
                os.kill(pid, signal.SIGKILL)
            stopped = set()


def main():
    """Run every trial of standard input."""
    out = Path(sys.argv[1])
    trials = json.load(sys.stdin)
    print(json.dumps([trial(out / given.pop("folder", f"trial-{i}"), **given) for i, given in enumerate(trials)]))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
