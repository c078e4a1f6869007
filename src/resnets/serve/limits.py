"""The layer in front of everything: who may ask, how much and how slowly, and what every answer carries."""

import asyncio
import hmac
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

from .metrics import Metrics
from .refusals import BYTES, Refusal

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[None]]

REQUESTS = 128  # at once, health not counted
HEADER = 8_192  # bytes of a request before its body
HELD = 128_000_000  # bytes of all bodies at once
PIECES = 4_096  # of a body, and one more for every 512 bytes
LINGER = 1.0  # seconds in which a client that was refused may finish sending
CRUMBS = 65_536  # bytes that it may send in chunks meanwhile: they cost time even if nobody looks at them
HEALTH = frozenset({"/live", "/ready"})
GONE = 499  # counted for a request whose client did not wait
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_MEDIA = re.compile(r"(image/[\w.+-]+|application/octet-stream)?(\s*;.*)?")
_log = getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Who may ask.

    names: of this server, in the Host header; any_address: whatever number it was reached by counts, too. token: what
    has to be shown for all but the `public` paths, "" for nothing. seconds: that a body may take.
    """

    names: frozenset[str]
    any_address: bool = False
    token: str = ""
    public: frozenset[str] = HEALTH
    seconds: float = 20.0

    def know(self, host: str) -> bool:
        """Whether a Host header means this server."""
        found = _HOST.fullmatch(host)
        name = found[1].strip("[]") if found else ""
        return bool(name) and (name in self.names or (self.any_address and _is_address(name)))

    def allow(self, path: str, authorization: str) -> bool:
        """Whether this Authorization header opens PATH."""
        scheme, _, token = authorization.partition(" ")
        fits = hmac.compare_digest(token.strip().encode(), self.token.encode())
        return not self.token or path in self.public or (scheme.lower() == "bearer" and fits)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(eq=False)
class _Body:
    """What a request sends, as far as it was read."""

    length: int = 0
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: bool = True


class _Reply:
    """What is sent: every answer carries the number of its request and the headers that protect a browser."""

    def __init__(self, send: Send, number: str, stopping: Callable[[], bool]) -> None:
        self.send, self.number, self.stopping = send, number, stopping
        self.status, self.complete = 0, False

    async def __call__(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            headers = {**_HEADERS, b"x-request-id": self.number.encode(), **dict(event["headers"])}
            if self.stopping():
                headers[b"connection"] = b"close"
            event = {**event, "headers": list(headers.items())}
        elif not event.get("more_body"):
            self.complete = True
        await self.send(event)

    async def refuse(self, refusal: Refusal, more: bool = False) -> None:
        """Send the sentence of a refusal; MORE: the answer does not end with it, though no byte of it is to come."""
        data = refusal.body(self.number)
        headers = {"content-type": "application/json", "content-length": str(len(data)), **refusal.headers}
        headers |= {"connection": "close"} if more else {}
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": sent})
        await self({"type": "http.response.body", "body": data, "more_body": more})


class Limits:
    """An ASGI application in front of another one."""

    def __init__(self, app: App, rules: Rules, metrics: Metrics, stopping: Callable[[], bool]) -> None:
        self.app, self.rules, self.metrics, self.stopping = app, rules, metrics, stopping
        self.requests = self.held = 0

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        number, path, body = os.urandom(8).hex(), scope["path"], _Body()
        scope.setdefault("state", {})["number"] = number
        reply, counted = _Reply(send, number, self.stopping), path not in HEALTH
        self.requests += counted
        try:
            await self._answer(scope, body, receive, reply)
        except Refusal as refusal:
            await self._refuse(refusal, body, receive, reply)
        except Exception as error:
            _log.error("request %s failed", number, exc_info=error)
            if not reply.status:
                await reply.refuse(Refusal("failed"))
        finally:
            self.requests -= counted
            self.held -= body.size
            self.metrics.count(path, reply.status or GONE)

    async def _answer(self, scope: Event, body: _Body, receive: Receive, reply: _Reply) -> None:
        self._check(scope, body)
        if not body.length:
            return await self.app(scope, _once(b"", receive), reply)
        if not await self._read(body, receive):
            return None
        data, body.pieces = b"".join(body.pieces), []
        work = asyncio.ensure_future(self.app(scope, _once(data, receive), reply))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not (work.done() or reply.complete or self.stopping()):
                return None
            await work
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})

    def _check(self, scope: Event, body: _Body) -> None:
        """Raise Refusal for the first thing that is wrong with what stands before the body."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, path = headers.get("host", "").lower(), scope["path"]
        origin, chunked = headers.get("origin"), "transfer-encoding" in headers
        body.length = 0 if chunked else int(headers.get("content-length", 0))
        body.whole = not body.length and not chunked
        coded = headers.get("content-encoding", "identity") != "identity"
        strange = not _MEDIA.fullmatch(headers.get("content-type", "").lower())
        wrong = {
            "host": not self.rules.know(host),
            "origin": origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"),
            "header": len(scope["query_string"]) + sum(len(n) + len(v) + 4 for n, v in scope["headers"]) > HEADER,
            "busy": path not in HEALTH and self.requests > REQUESTS,
            "token": not self.rules.allow(path, headers.get("authorization", "")),
            "framing": chunked and "content-length" in headers,
            "length": chunked,
            "media": (body.length or scope["method"] == "POST") and (coded or strange),
            "size": body.length > BYTES,
        }
        for name, is_so in wrong.items():
            if is_so:
                raise Refusal(name)

    async def _read(self, body: _Body, receive: Receive) -> bool:
        """Read a body; False where the client has gone. Raises Refusal for one that is too slow or in crumbs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.rules.seconds):
                while not body.whole:
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        if self.stopping():
                            raise Refusal("stopping")
                        return False
                    self._take(body, event)
                return True
        raise Refusal("slow")

    def _take(self, body: _Body, event: Event) -> None:
        piece = event.get("body", b"")
        body.pieces.append(piece)
        body.size += len(piece)
        self.held += len(piece)
        body.whole = not event.get("more_body", False)
        if body.size > BYTES:
            raise Refusal("size")
        if len(body.pieces) > PIECES + body.size // 512:
            raise Refusal("pieces")
        if self.held > HELD:
            raise Refusal("busy")

    async def _refuse(self, refusal: Refusal, body: _Body, receive: Receive, reply: _Reply) -> None:
        """Say why; a client that is still sending may go on for a moment, or it would never read the answer."""
        body.pieces.clear()
        await reply.refuse(refusal, more=not body.whole)
        if not body.whole:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await _drained(receive, 2 * BYTES if body.length else CRUMBS)
            await reply({"type": "http.response.body"})


def _once(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read already, and then what RECEIVE gives."""
    left = [body]

    async def replay() -> Event:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return replay


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drained(receive: Receive, most: int) -> None:
    size = 0
    while size < most:
        event = await receive()
        if event["type"] == "http.disconnect" or not event.get("more_body"):
            return
        size += len(event["body"])
