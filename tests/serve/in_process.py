"""The server's application without its process: asked by calling it, event by event."""

import asyncio
from contextlib import asynccontextmanager

from servers import Reply

from resnets.serve.app import ROUTES, application
from resnets.serve.limits import Limits, Rules
from resnets.serve.metrics import Metrics
from resnets.serve.service import Service, Settings

HERE = Rules(frozenset({"here"}))


@asynccontextmanager
async def running(found, settings=Settings(), rules=HERE):  # noqa: B008
    """The service of these models, ready, and the layer in front of it."""
    metrics = Metrics(ROUTES)
    service = Service(found, metrics, settings)
    front = Limits(application(service), rules, metrics, service.is_stopping)
    async with service.life():
        while not (service.ready or service.failed):
            await asyncio.sleep(0.01)
        yield service, front


async def ask(front, method, path, body=b"", headers=None, receive=None):
    """One request; RECEIVE gives its events where they are not simply the body and then nothing for ever."""
    path, _, query = path.partition("?")
    length = {"content-length": str(len(body)), "content-type": "image/png"} if method == "POST" else {}
    sent = {"host": "here", **length, **(headers or {})}
    events, left = [], [{"type": "http.request", "body": body, "more_body": False}]

    async def once():
        return left.pop() if left else await asyncio.Event().wait()

    async def send(event):
        events.append(event)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await front(scope, receive or once, send)
    if not events:
        return None
    found = {name.decode(): value.decode() for name, value in events[0]["headers"]}
    return Reply(events[0]["status"], found, b"".join(event.get("body", b"") for event in events[1:]))
