"""The process that serves: its socket, its log, its signals and its end."""

import ipaddress
import json
import logging
import math
import os
import signal
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import uvicorn

from ..deploy.predictor import Servable
from ..errors import EnvironmentProblem, safe_text
from .app import ROUTES, application, page
from .limits import HEADER, HEALTH, Limits, Rules
from .metrics import Metrics
from .service import Service, Settings

CONNECTIONS = 256  # beyond them even /live is refused; limits.REQUESTS leaves it room
_BACKLOG = 256  # connections that wait to be accepted
_READ = 65_536  # bytes that wait to be read: as many in small chunks hold up everything else for a tenth of a second
_WRITTEN = 65_536  # bytes that wait for a client to read them: what one that reads nothing may hold
_KEPT = 5  # seconds that a connection is kept without a request
_DRAIN = 10  # seconds to finish what was accepted, at least


class _Listener(socket.socket):
    """A socket whose queue has its own length, whoever lets it listen.

    asyncio tries to accept as many connections in one go as it would let wait, and where descriptors have run out it
    logs each try and begins as many new ones a second later: it is told 1.
    """

    def listen(self, backlog: int = _BACKLOG, /) -> None:
        """Listen."""
        super().listen(_BACKLOG)


def bound(host: str, port: int) -> socket.socket:
    """A socket of this address that does not listen yet. Raises EnvironmentProblem."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = _Listener(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of connections of a server that was killed
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ)  # of the connections, too
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WRITTEN)
        made.bind(address)
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, error) from error
    return made


def listening(listener: socket.socket, host: str) -> str:
    """Let a bound socket listen; the address to open in a browser. Raises EnvironmentProblem."""
    port = listener.getsockname()[1]
    try:
        listener.listen()
    except OSError as error:
        raise _refused(host, port, error) from error
    name = "localhost" if _address(listener).is_unspecified else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _refused(host: str, port: int, error: OSError | UnicodeError) -> EnvironmentProblem:
    reason = getattr(error, "strerror", None) or "no such address"
    where = f"{safe_text(host)} port {port}"
    return EnvironmentProblem(f"cannot listen on {where}: {reason}; choose another --port or --host")


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine reaches a bound socket."""
    return _address(listener).is_loopback


def _address(listener: socket.socket) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(listener.getsockname()[0])


def rules_of(listener: socket.socket, names: Iterable[str], token: str = "") -> Rules:
    """Who may ask at a bound socket, which also goes by NAMES."""
    known = {"localhost", "127.0.0.1", "::1", str(_address(listener)), *(name.lower() for name in names)}
    return Rules(frozenset(known), _address(listener).is_unspecified, token, HEALTH | page().keys())


def prepared(found: Mapping[str, Servable], rules: Rules, settings: Settings) -> Service:
    """The service of these models; from now on SIGTERM ends it in order, and the log is lines of JSON."""
    metrics = Metrics(ROUTES | rules.public)
    service = Service(found, metrics, settings)
    front = Limits(application(service), rules, metrics, service.is_stopping)
    service.server = server = uvicorn.Server(_config(front, settings.deadline))
    _log_lines()
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))  # uvicorn raises it again at the end
    return service


def serve(service: Service, listener: socket.socket) -> None:
    """Serve until a signal ends it; what was accepted is finished. Raises what a model fails to start with."""
    interrupted = False
    try:
        service.server.run(sockets=[listener])
    except KeyboardInterrupt:
        interrupted = True
    if service.failed:
        raise service.failed
    if not service.started:  # an engine may be starting for minutes yet, and nobody waits for it
        os._exit(130 if interrupted else 0)
    if interrupted:
        raise KeyboardInterrupt


def _config(front: Limits, deadline: float) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        interface="asgi3",
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        backlog=1,  # see _Listener
        timeout_keep_alive=_KEPT,
        timeout_graceful_shutdown=max(_DRAIN, math.ceil(deadline)),
        h11_max_incomplete_event_size=HEADER,
    )


class _Lines(logging.Formatter):
    """A record as one line of JSON, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": safe_text(record.getMessage()),
        }
        if record.exc_info:
            line["trace"] = safe_text(self.formatException(record.exc_info))
        return json.dumps(line)


def _log_lines() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    handler.format(logging.makeLogRecord({"msg": "\x1b"}))  # loads all that a line needs, while files can be opened
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.raiseExceptions = False  # a full disk stops the log and nothing else
