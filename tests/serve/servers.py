"""Servers in processes of their own, and ways to ask them: politely, and byte by byte."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import numpy as np

from resnets.deploy.predictor import Heat, Predictor, Servable

WAIT = 30  # seconds that a server may take to be ready, on a busy machine
IMAGE = {"Content-Type": "image/png"}


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A running server: its process and where it listens."""

    process: subprocess.Popen
    said: IO
    host: str
    port: int

    @property
    def log(self):
        """What it said on standard error, where that is no file of the test's own."""
        self.said.seek(0)
        return self.said.read()

    def held(self):
        """What the process itself holds: MiB of memory, open descriptors, threads."""
        own = Path(f"/proc/{self.process.pid}")
        lines = (own / "smaps_rollup").read_text().splitlines()
        memory = next(int(line.split()[1]) for line in lines if line.startswith("Rss")) / 1024
        return memory, len(list((own / "fd").iterdir())), len(list((own / "task").iterdir()))

    def peak(self):
        """MiB of memory that the process itself has held at most."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def seconds(self):
        """Seconds of processor time that the process itself has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, method, path, body=None, headers=None, seconds=WAIT):
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, IMAGE | {k.replace("_", "-"): v for k, v in headers.items()})

    def connect(self, seconds=WAIT):
        return socket.create_connection((self.host, self.port), timeout=seconds)

    def raw(self, data, seconds=5):
        """What comes back for these bytes until the server closes, or for so many SECONDS."""
        found = b""
        with self.connect(seconds) as plug, contextlib.suppress(OSError):
            plug.sendall(data)
            while piece := plug.recv(65536):
                found += piece
                if b"\r\n\r\n" in found and b"connection: close" not in found.lower():
                    break
        return found

    def wait(self, seconds=WAIT):
        """Until it is ready."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.get("/ready").status == 200:
                    return self
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.05)
        raise AssertionError("not ready in time")

    def metric(self, name, label=""):
        """The sum of all values called NAME in /metrics, with LABEL in their labels."""
        lines = self.get("/metrics").body.decode().splitlines()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def decoders(self):
        """The process ids of its decoders."""
        parent = f"/proc/{self.process.pid}/task"
        children = [Path(task, "children").read_text().split() for task in Path(parent).iterdir()]
        return [int(pid) for each in children for pid in each]


@contextlib.contextmanager
def serving(*command, env=None, python=None, log=None, descriptors=0):
    """A server started by this command, which prints its address first; it is killed at the end.

    log: the path of a file or a device for its standard error. descriptors: that it may have open, 0 for as many as we.
    """
    command, env = [str(python or sys.executable), *map(str, command)], {**os.environ, **(env or {})}
    with (
        open(log, "w") if log else tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=env) as process,
    ):
        try:
            if descriptors:
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, (line, said.seek(0), said.read())
            address = urlsplit(found[0])
            yield Server(process, said, address.hostname, address.port)
        finally:
            process.kill()


def serve(*arguments, **env):
    """`resnets serve` on a free port."""
    return serving("-m", "resnets", "serve", *arguments, "--port", "0", env=env)


def slow(seconds=0.0, start=0.0, body=20.0, deadline=10.0, decoding=5.0, planted=0, failing=False, **how):
    """A server of a model without weights that takes so many SECONDS for a batch; HOW as in `serving`.

    planted: bytes that it forgets to give back for every picture. failing: whether no explanation succeeds.
    """
    options = {name: value for name, value in locals().items() if name != "how"}
    return serving(Path(__file__), json.dumps(options), **how)


def stop(server, number=signal.SIGTERM, seconds=15):
    """Send a signal; the exit code and what was said on standard error."""
    server.process.send_signal(number)
    return server.process.wait(seconds), server.log


def channel_means(images):
    """The logits of the model without weights: ten times the mean of each channel."""
    return 10 * images.mean((2, 3))


def slow_model(seconds=0.0, start=0.0, said=None, planted=0, failing=False):
    """A Servable that sleeps, and knows what it answers: `channel_means`; the rest as in `slow`."""
    from tiny_models import description

    said, leak = said or description(("red", "green", "blue")), []

    def run(images):
        time.sleep(seconds if np.ptp(images) else 0)  # what it answers to be ready is one colour
        leak.extend(os.urandom(planted) for _ in images)
        return channel_means(images)

    def explain(image, label):
        if failing:
            raise RuntimeError("x" * 500)
        return Heat("CAM", image[label])

    def begin(_engine):
        time.sleep(start)
        return Predictor(said, "none:fp32", run, explain)

    return Servable(said, begin)


def main(seconds, start, body, deadline, decoding, planted, failing):
    """Serve it, and print the address."""
    from dataclasses import replace

    from resnets.serve import serving
    from resnets.serve.decoding import Patience
    from resnets.serve.service import Settings

    listener = serving.bound("127.0.0.1", 0)
    rules = replace(serving.rules_of(listener, ()), seconds=body)
    settings = Settings("auto", deadline, decoding=Patience(decoding))
    servable = slow_model(seconds, start, planted=planted, failing=failing)
    service = serving.prepared({"slow": servable}, rules, settings)
    print(serving.listening(listener, "127.0.0.1"), flush=True)
    serving.serve(service, listener)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
