"""Servers in processes of their own, and ways to ask them: politely, and byte by byte."""

import contextlib
import http.client
import json
import os
import re
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
        """What it said on standard error."""
        self.said.seek(0)
        return self.said.read()

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

    def metric(self, name):
        """The sum of all values called NAME in /metrics."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def decoders(self):
        """The process ids of its decoders."""
        parent = f"/proc/{self.process.pid}/task"
        children = [Path(task, "children").read_text().split() for task in Path(parent).iterdir()]
        return [int(pid) for each in children for pid in each]


@contextlib.contextmanager
def serving(*command, env=None, python=None):
    """A server started by this command, which prints its address first; it is killed at the end."""
    command, env = [str(python or sys.executable), *map(str, command)], {**os.environ, **(env or {})}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=env) as process,
    ):
        try:
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


def slow(seconds=0.0, start=0.0, body=20.0, deadline=10.0, decoding=5.0):
    """A server of a model without weights that takes so many SECONDS for a batch."""
    return serving(Path(__file__), *(str(each) for each in (seconds, start, body, deadline, decoding)))


def stop(server, number=signal.SIGTERM, seconds=15):
    """Send a signal; the exit code and what was said on standard error."""
    server.process.send_signal(number)
    return server.process.wait(seconds), server.log


def channel_means(images):
    """The logits of the model without weights: ten times the mean of each channel."""
    return 10 * images.mean((2, 3))


def slow_model(seconds=0.0, start=0.0, said=None):
    """A Servable that sleeps, and knows what it answers: `channel_means`."""
    from tiny_models import description

    said = said or description(("red", "green", "blue"))

    def run(images):
        time.sleep(seconds if np.ptp(images) else 0)  # what it answers to be ready is one colour
        return channel_means(images)

    def begin(_engine):
        time.sleep(start)
        return Predictor(said, "none:fp32", run, lambda image, label: Heat("CAM", image[label]))

    return Servable(said, begin)


def main(seconds, start, body, deadline, decoding):
    """Serve it, and print the address."""
    from dataclasses import replace

    from resnets.serve import serving
    from resnets.serve.decoding import Patience
    from resnets.serve.service import Settings

    listener = serving.bound("127.0.0.1", 0)
    rules = replace(serving.rules_of(listener, ()), seconds=body)
    settings = Settings("auto", deadline, decoding=Patience(decoding))
    service = serving.prepared({"slow": slow_model(seconds, start)}, rules, settings)
    print(serving.listening(listener, "127.0.0.1"), flush=True)
    serving.serve(service, listener)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
