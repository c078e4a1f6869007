"""The process: address, start, models that are none, signals, killing, what it imports."""

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import Reply, serve, serving, slow, stop
from tiny_models import picture

from resnets.cli.serve import _named
from resnets.errors import UsageError

PNG = picture(0)


@pytest.fixture
def ends(call):
    """Exit code and the one line of a `resnets serve` that does not get to serving."""

    def run(*arguments):
        code, out, err = call("serve", *arguments)
        assert out == ""
        assert len(err.splitlines()) == 1, err
        return code, err

    return run


def test_port_in_use(models, ends):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = ends(models / "tiny.onnx", "--port", port)
    assert code == 5
    assert f"127.0.0.1 port {port}" in line
    assert "--port" in line


def test_no_such_address(models, ends):
    code, line = ends(models / "tiny.onnx", "--host", "203.0.113.7", "--no-auth")
    assert code == 5
    assert "203.0.113.7" in line
    assert ends(models / "tiny.onnx", "--host", "no.such.host.invalid", "--no-auth")[0] == 5


def test_bad_models(tmp_path, models, ends):
    """Before anything listens: damaged files of every kind, and a pickle that would run code."""
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    whole = (models / "tiny.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    canary = tmp_path / "canary"
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'touch " + bytes(canary) + b"'\ntR.")
    shutil.copytree(folder_of_ours(tmp_path), tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for name in ("bad.onnx", "cut.onnx", "evil.pth", "cut"):
        code, line = ends(models / "tiny.onnx", tmp_path / name, "--port", 0)
        assert (code, name in line) == (4, True), line
    assert not canary.exists()


def folder_of_ours(tmp_path):
    """A model folder with random weights."""
    from resnets import bundle
    from resnets.bundle import Bundle
    from resnets.data.preprocessing import Preprocessing
    from resnets.models import create_model

    model = create_model("cifar_resnet8", 10)
    made = Bundle(model.spec, dict(model.state_dict()), tuple("0123456789"), Preprocessing(32, 3, crop_pct=1.0))
    bundle.save(made, tmp_path / "whole")
    return tmp_path / "whole"


def test_usage(call, models):
    tiny = models / "tiny.onnx"
    for arguments, words in (
        ([], "nothing to serve"),
        ([tiny, tiny], "two models are called tiny"),
        ([f"={tiny}"], "no name"),
        ([tiny, "--port", "70000"], "--port"),
        ([tiny, "--deadline", "0"], "--deadline"),
        ([tiny, "--token", "a b"], "--token"),
        ([tiny, "--token", "a", "--no-auth"], "not both"),
        ([tiny, "--host", "0.0.0.0", "--port", "0"], "--token T or --no-auth"),
    ):
        code, _, err = call("serve", *arguments)
        assert (code, words in err) == (2, True), err


def test_an_engine_that_it_does_not_have(models):
    done = subprocess.run(
        [sys.executable, "-m", "resnets", "serve", models / "tiny.onnx", "--port", "0", "--engine", "torch"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("resnets: an exported model runs by onnxruntime:fp32")


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.onnx").touch()
    (tmp_path / "birds.onnx").touch()
    (tmp_path / "runs" / "flowers").mkdir(parents=True)
    named = _named(("a=b.onnx", "x=a=b.onnx", "birds.onnx", "runs/flowers", "y=runs/flowers/"))
    assert {name: str(path) for name, path in named.items()} == {
        "a=b": "a=b.onnx", "x": "a=b.onnx", "birds": "birds.onnx", "flowers": "runs/flowers", "y": "runs/flowers",
    }  # fmt: skip
    with pytest.raises(UsageError, match="two models are called flowers"):
        _named(("runs/flowers", "flowers=birds.onnx"))


def test_json_and_another_address(models):
    command = [sys.executable, "-m", "resnets", "serve", models / "tiny.onnx", "--port", "0", "--json"]
    command += ["--host", "0.0.0.0", "--no-auth"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(6)]
        process.terminate()
        assert process.wait(20) == 0
        told = json.loads("".join(lines))
        assert told["models"] == ["tiny"]
        assert told["url"].startswith("http://localhost:")
        assert "warning: everybody" in process.stderr.read()


def test_a_model_is_served_without_torch(models):
    """A child in which torch cannot be imported, nor what needs it."""
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from resnets.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    with serving("-c", code, "serve", models / "tiny.onnx", "--port", "0") as server:
        assert server.wait().post("/predict", PNG).status == 200
        assert server.post("/explain", PNG).status == 200
        assert "torch" not in Path(f"/proc/{server.process.pid}/maps").read_text()
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", str(models), "--port", "0"], capture_output=True, text=True
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "without torch only such are served" in done.stderr


def test_serving_connects_nowhere(models, tmp_path):
    """An audit of every connection and every name that is looked up, while all routes are asked."""
    code = f"""
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.gethostbyname"):
        print(event, arguments[1:], file=open({str(tmp_path / "log")!r}, "a"))
sys.addaudithook(note)
from resnets.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    with serving("-c", code, "serve", models / "tiny.onnx", "--port", "0") as server:
        server.wait()
        routes = ("/", "/page.js", "/model", "/metrics", "/openapi.json")
        assert {server.get(route).status for route in routes} == {200}
        assert server.post("/predict?seen=true", PNG).status == server.post("/explain", PNG).status == 200
    assert not (tmp_path / "log").exists()
    probe = code.split("from resnets")[0] + "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", probe], check=True)
    assert "socket.connect" in (tmp_path / "log").read_text(), "so that it means something"


def test_sigterm_under_load():
    """All that was accepted is answered; whoever comes later finds the door closed, or a 503."""
    with slow(seconds=0.4) as server:
        server.wait()
        with concurrent.futures.ThreadPoolExecutor(24) as threads:
            asked = [threads.submit(server.post, "/predict", PNG) for _ in range(24)]
            until = time.monotonic() + 5
            while server.metric("resnets_queue_length") < 24 and time.monotonic() < until:
                time.sleep(0.01)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            replies = [each.result() for each in asked]
        assert [reply.status for reply in replies] == [200] * 24
        assert all(reply.json["classes"] for reply in replies)
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 10
        assert server.log == ""
        with pytest.raises(ConnectionError):
            server.get("/live")


def test_ready_ends_with_the_signal_and_connections_close():
    with slow(seconds=1.0) as server, server.wait().connect() as plug:
        plug.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)
        time.sleep(0.3)
        code, _ = stop(server)
        reply = plug.makefile("rb").read()
        assert code == 0
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply.lower()
        assert reply.rstrip().endswith(b"}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_model_starts(number):
    with slow(start=30) as server:
        assert server.get("/live").status == 200
        began = time.monotonic()
        code, err = stop(server, number)
        assert time.monotonic() - began < 8
        assert (code, err) == ({signal.SIGTERM: 0, signal.SIGINT: 130}[number], "")


def test_ctrl_c_is_one_line(models):
    with serve(models / "tiny.onnx") as server:
        server.wait()
        decoders = server.decoders()
        assert len(decoders) >= 2
        assert stop(server, signal.SIGINT) == (130, "resnets: interrupted\n")
        time.sleep(0.2)
        assert not any(alive(pid) for pid in decoders)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_started_again(models, times):
    port = 0
    for _ in range(1 + times):
        with serving("-m", "resnets", "serve", models / "tiny.onnx", "--port", port) as server:
            assert port in (0, server.port), "no stale port"
            assert server.wait(5).post("/predict", PNG).status == 200
            decoders, port = server.decoders(), server.port
            server.process.kill()
            server.process.wait()
    until = time.monotonic() + 2
    while time.monotonic() < until and any(map(alive, decoders)):
        time.sleep(0.02)
    assert not any(map(alive, decoders))


def test_a_decoder_that_is_killed_is_replaced_in_time(quick):
    before = set(quick.decoders())
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    statuses = [quick.post("/predict", PNG).status for _ in range(4)]
    assert time.monotonic() - began < 3
    assert set(statuses) <= {200, 422}
    assert statuses[-1] == 200
    assert quick.get("/ready").status == 200
    assert quick.metric("resnets_decoder_restarts_total") >= 1


def test_health_answers_while_a_decoder_hangs(quick):
    pids = quick.decoders()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        lost = threads.submit(quick.post, "/predict", PNG)
        times = []
        for _ in range(8):
            began = time.monotonic()
            assert quick.get("/live").status == 200
            times.append(time.monotonic() - began)
            time.sleep(0.05)
        assert lost.result().status == 422
        assert lost.result().json["error"] == "the picture could not be decoded"
    assert max(times) < 0.25
    assert quick.post("/predict", PNG).status in (200, 422)  # the other one hangs, too, and is found out
    assert quick.post("/predict", PNG).status == 200


def test_a_full_queue_is_said_at_once():
    with slow(seconds=0.3) as server:
        server.wait()

        def post(_):
            began = time.monotonic()
            reply = server.post("/predict", PNG)
            return reply, time.monotonic() - began

        with concurrent.futures.ThreadPoolExecutor(90) as threads:
            found = list(threads.map(post, range(90)))
        refused = [(reply, seconds) for reply, seconds in found if reply.status == 503]
        assert {reply.status for reply, _ in found} == {200, 503}
        assert 10 <= len(refused) <= 26
        for reply, _ in refused:
            assert isinstance(reply, Reply)
            assert reply.headers["retry-after"] == "1"
            assert reply.json["error"] == "too much is waiting already; try again"
        assert server.post("/predict", PNG).status == 200, "and then it is as before"
