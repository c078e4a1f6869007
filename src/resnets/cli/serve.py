"""`serve`: models over HTTP, and a page to try them on."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..errors import UsageError
from .verb import Verb, console, print_json, shown


@dataclass(frozen=True)
class Serve(Verb):
    """Serve models to this machine: a page to drop pictures on, and predictions over HTTP for programs.

    examples: resnets serve runs/latest; resnets serve cats=runs/cats birds=birds.onnx --port 0; resnets serve
    birds.onnx --host 0.0.0.0 --token SECRET --allow-host birds.example.org
    """

    models: Positional[
        Annotated[
            tuple[str, ...],
            arg(help="runs, model folders or exported models: PATH, or NAME=PATH", metavar="MODEL…"),
        ]
    ] = ()
    host: Annotated[str, arg(help="the address to listen on; the default is reached from this machine only")] = (
        "127.0.0.1"
    )
    port: Annotated[int, arg(help="0 for any that is free")] = 8000
    engine: Annotated[
        str, arg(help="NAME or NAME:PRECISION as resnets benchmark shows them, or auto: the fastest here")
    ] = "auto"
    token: Annotated[str, arg(help="what requests must show: Authorization: Bearer TOKEN; or RESNETS_TOKEN")] = ""
    no_auth: Annotated[bool, arg(help="let everybody ask who reaches --host")] = False
    allow_host: Annotated[tuple[str, ...], arg(help="other names that this server goes by", metavar="NAME…")] = ()
    deadline: Annotated[float, arg(help="seconds until a picture has its answer, or is refused")] = 10.0
    batch_invariant: Annotated[bool, arg(help="answer pictures one by one: no bit depends on other requests")] = False
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Serve until a signal ends it."""
        from ..deploy.runtimes import needed

        self._check()
        places = _named(self.models)
        for package in ("fastapi", "uvicorn", "prometheus_client"):
            needed(package, "serve")
        from ..deploy.predictor import found
        from ..serve import serving
        from ..serve.batching import BATCH
        from ..serve.service import Settings

        with serving.bound(self.host, self.port) as listener:
            self._check_access(serving.is_local(listener))
            models = {name: found(path) for name, path in places.items()}
            rules = serving.rules_of(listener, (self.host, *self.allow_host), self._token())
            settings = Settings(self.engine, self.deadline, 1 if self.batch_invariant else BATCH)
            service = serving.prepared(models, rules, settings)
            self._tell(serving.listening(listener, self.host), list(models))
            serving.serve(service, listener)
        return 0

    def _check(self) -> None:
        if not 0 <= self.port < 65536 or not self.deadline > 0:
            raise UsageError("--port must be 0 to 65535, and --deadline above 0")
        token = self._token()
        if self.token and self.no_auth:
            raise UsageError("give --token or --no-auth, not both")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise UsageError("--token goes into a header: letters, digits and signs without spaces")

    def _token(self) -> str:
        """What --token says, or RESNETS_TOKEN, which other users of the machine do not see."""
        return "" if self.no_auth else self.token or os.environ.get("RESNETS_TOKEN", "")

    def _check_access(self, local: bool) -> None:
        """Nobody opens a server to others without saying so."""
        if local:
            return
        if not (self._token() or self.no_auth):
            raise UsageError(f"--host {shown(self.host)} is reached from other machines; give --token T or --no-auth")
        who = "who knows the token, and whoever listens on the way," if self._token() else "who reaches this address"
        console(to_stderr=True).print(f"warning: everybody {who} can use these models; encryption is a proxy's task")

    def _tell(self, url: str, models: list[str]) -> None:
        names = ", ".join(map(shown, models))
        if self.json:
            print_json({"url": url, "models": models})
        else:
            console().print(f"{names} at {url}   (Ctrl-C ends it)")
        sys.stdout.flush()


def _named(models: tuple[str, ...]) -> dict[str, Path]:
    """The models by their names: NAME of NAME=PATH, else that of the run, folder or file. Raises UsageError."""
    if not models:
        raise UsageError("nothing to serve; give a run, a model folder or an exported model: resnets serve runs/latest")
    found = dict[str, Path]()
    for text in models:
        name, sign, rest = text.partition("=")
        path = Path(rest) if sign and not Path(text).exists() else Path(text)
        name = name if path != Path(text) else _name_of(path)
        if not name or not name.isprintable():
            raise UsageError(f"{shown(text)} gives no name to the model; write NAME=PATH")
        if name in found:
            raise UsageError(f"two models are called {shown(name)}; write NAME=PATH for one of them")
        found[name] = path
    return found


def _name_of(path: Path) -> str:
    if path.name == "latest" and not path.exists():
        from ..record import resolve

        path = resolve(path)
    return path.stem if path.is_file() else path.resolve().name
