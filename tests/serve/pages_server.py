"""A server process for the page, models for it, and a browser window that notes everything it should not see."""

import base64
import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import resnets
from resnets import api, bundle

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
    pytest.mark.xdist_group("browser"),
]
TAG = "<img src=x onerror=\"alert('class')\">"
HOSTILE = (TAG, "=1+1", "a\u202eb\n<b>c", "x,\"y'", *(f"<i>{n}</i>" for n in range(6)))
MAKE_FILES = """files => {
  const transfer = new DataTransfer();
  for (const [name, type, data] of files) {
    transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  }
  return transfer;
}"""


class Served:
    """`resnets serve` as a process of its own, which can be killed and started again at the same address."""

    def __init__(self, *arguments: str) -> None:
        self.arguments, self.port, self.url = arguments, "0", ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Served":
        command = [sys.executable, "-m", "resnets", "serve", *self.arguments, "--engine", "torch", "--port", self.port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.url, self.port = found[0], found[1]
                return self
        raise RuntimeError("the server did not start: " + "".join(said))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def trained(folder: Path) -> tuple[str, str]:
    """What to serve: a run on digits, and the same network with hostile class names that is never sure."""
    run = resnets.train("digits", epochs=3, out=folder / "digits").run
    model = bundle.load(Path(run) / "best")
    bundle.save(replace(model, classes=HOSTILE, reject_below=1.0), folder / "hostile")
    return f"digits={run}", f"hostile={folder / 'hostile'}"


def save_published(data: Path, folder: Path) -> None:
    """The published 20-layer weights for CIFAR-10 as a model folder that wants to be half sure."""
    names = (data / "cifar-10-batches-bin" / "batches.meta.txt").read_text().split()
    foreign = api.ForeignModel("cifar_resnet20", str(data / "weights" / "resnet20-12fca82f.th"))
    model = replace(foreign.bundle(tuple(names)), reject_below=0.5, facts={"data": "cifar10", "test_error": 8.27})
    bundle.save(model, folder)


def digits(count: int) -> dict[str, bytes]:
    """So many pictures of digits as files: name → bytes."""
    return as_files((load_digits().images[:count] * 255 / 16).astype(np.uint8), "digit")


def as_files(images: np.ndarray, what: str) -> dict[str, bytes]:
    """Images, uint8 (N, H, W) or (N, H, W, 3), as PNG files: name → bytes."""
    files = {}
    for number, pixels in enumerate(np.asarray(images)):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        files[f"{what}-{number:03d}.png"] = out.getvalue()
    return files


def drop(page, files: dict[str, bytes], kind: str = "image/png") -> None:
    """Let FILES fall on the page."""
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page, files, kind)})


def transfer(page, files: dict[str, bytes], kind: str = "image/png"):
    """FILES as the browser hands them over when they are dropped or pasted."""
    return page.evaluate_handle(
        MAKE_FILES, [[name, kind, base64.b64encode(data).decode()] for name, data in files.items()]
    )


def answered(page, count: int) -> None:
    """Wait until so many pictures have an answer, and none is on its way."""
    expect(page.locator("#list > li:not(.pending):not(.failed)")).to_have_count(count, timeout=60_000)
    expect(page.locator("#list > .pending")).to_have_count(0)


@contextmanager
def window(browser, url: str, *allowed: str, **how) -> Iterator:
    """A page at URL in a window of its own. Everything on the console, every dialog and every request to elsewhere is a
    failure, but for what contains one of the words ALLOWED."""
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1100, "height": 900}, **how})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, faults = context.new_page(), []
    page.set_default_timeout(20_000)
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if _own(request.url, url) else faults.append(request.url))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert [fault for fault in faults if not any(word in fault for word in allowed)] == []


def _own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:", f"blob:{url}/"))


@pytest.fixture(scope="module", name="browser")
def browser_fixture():
    """Chromium; as long as Playwright's loop runs in this thread no other may, so it ends with the module."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module", name="models")
def models_fixture(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module", name="server")
def server_fixture(models):
    served = Served(*models).start()
    yield served
    served.kill()


def table(page) -> tuple[str, list[dict[str, str]]]:
    """The CSV that the page lets be saved, and its rows."""
    with page.expect_download() as saved:
        page.click("#csv")
    text = Path(saved.value.path()).read_text("utf-8-sig")
    return text, list(csv.DictReader(io.StringIO(text)))
