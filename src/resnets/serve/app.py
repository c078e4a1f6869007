"""The routes: a page, models, predictions, explanations, health, metrics; every error is one sentence."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from .. import __version__
from . import forms
from .batching import Explain, Model
from .refusals import Refusal
from .service import Service, as_url

_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_PICTURE = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _PICTURE}}
_NO_ANSWER: dict[int | str, dict[str, Any]] = {"default": {"model": forms.Problem, "description": "Why not"}}
ROUTES = frozenset({"/live", "/ready", "/model", "/predict", "/explain", "/report", "/metrics", "/openapi.json"})


def page() -> dict[str, tuple[bytes, str]]:
    """The files of the page by their paths, and their types."""
    found = {
        f"/{file.name}": (file.read_bytes(), _TYPES[file.name.rpartition(".")[2]])
        for file in files("resnets.serve").joinpath("static").iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }
    return found | ({"/": found["/index.html"]} if "/index.html" in found else {})


def application(service: Service) -> FastAPI:
    """The routes of SERVICE."""
    app = FastAPI(
        title="resnets",
        version=__version__,
        summary="Names what is on pictures.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=service.life,
        responses=_NO_ANSWER,
    )
    _add_errors(app)
    _add_page(app)
    _add_health(app, service)
    _add_facts(app, service)
    _add_answers(app, service)
    return app


def _add_errors(app: FastAPI) -> None:
    async def refuse(request: Request, refusal: Exception) -> Response:
        refusal = refusal if isinstance(refusal, Refusal) else Refusal("failed")
        body = refusal.body(request.scope["state"]["number"])
        return Response(body, refusal.status, refusal.headers, "application/json")

    async def elsewhere(request: Request, error: HTTPException) -> Response:
        name = {404: "path", 405: "method"}.get(error.status_code, "query")
        return await refuse(request, Refusal(name, headers=error.headers))

    async def misunderstood(request: Request, _error: RequestValidationError) -> Response:
        return await refuse(request, Refusal("query"))

    app.exception_handlers |= {Refusal: refuse, Exception: refuse}
    app.exception_handlers |= {HTTPException: elsewhere, RequestValidationError: misunderstood}


def _add_page(app: FastAPI) -> None:
    for path, (data, kind) in page().items():
        app.add_route(path, _sends(data, kind), methods=["GET"], include_in_schema=False)


def _sends(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def send(_request: Request) -> Response:
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    return send


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/live")
    async def live() -> forms.Live:
        """Whether the server listens."""
        return forms.Live(live=True)

    @app.get("/ready")
    async def ready() -> forms.Ready:
        """Whether every model answers; 503 while they start, and while the server ends."""
        if not service.ready:
            raise Refusal("stopping" if service.is_stopping() else "starting")
        return forms.Ready(ready=True)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/model")
    async def model(asked: Annotated[forms.OfModel, Query()]) -> forms.ModelFacts:
        """What a model is."""
        return service.facts(service.model(asked.model))

    @app.get("/report", response_class=Response)
    async def report(asked: Annotated[forms.OfModel, Query()]) -> Response:
        """The page of the run that made a model."""
        path = service.model(asked.model).servable.report
        try:
            data = await run_in_threadpool(path.read_bytes) if path else b""
        except OSError:
            data = b""
        if not data:
            raise Refusal("report")
        return Response(data, media_type="text/html", headers={"content-security-policy": _REPORT})


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/predict", openapi_extra=_BODY, response_model_exclude_none=True)
    async def predict(request: Request, asked: Annotated[forms.OfPicture, Query()]) -> forms.Prediction:
        """What is on a picture, the most probable class first."""
        model = service.model(asked.model)
        decoded, answer = await service.answer(model, await request.body(), png=asked.seen)
        waited, found = decoded.waited + answer.waited, answer.probabilities
        return forms.Prediction(
            model=model.name,
            engine=_engine(model),
            classes=[_class(model, found, label) for label in np.argsort(-found, kind="stable")[: asked.top]],
            sure=bool(found.max() >= model.description.reject_below),
            seen=as_url(decoded.png) if asked.seen else None,
            milliseconds=forms.Milliseconds(
                decoding=_milliseconds(decoded.spent),
                waiting=_milliseconds(waited),
                inference=_milliseconds(answer.spent),
            ),
        )

    @app.post("/explain", openapi_extra=_BODY)
    async def explain(request: Request, asked: Annotated[forms.OfExplanation, Query()]) -> forms.Explanation:
        """Where on a picture a class is seen."""
        model = service.model(asked.model)
        if model.predictor and not model.predictor.explain:
            raise Refusal("explain")
        wanted = Explain(_label(model, asked.label))
        decoded, answer = await service.answer(model, await request.body(), png=True, explain=wanted)
        assert answer.heat is not None
        chosen = _class(model, answer.probabilities, answer.label)
        return forms.Explanation(
            model=model.name,
            label=chosen.name,
            probability=chosen.probability,
            method=answer.heat.method,
            map=np.round(answer.heat.values.astype(np.float64), 6).tolist(),
            seen=as_url(decoded.png),
        )


def _engine(model: Model) -> str:
    return model.predictor.engine if model.predictor else ""


def _class(model: Model, probabilities: Any, label: int) -> forms.Class:
    return forms.Class(name=model.description.classes[label], probability=round(float(probabilities[label]), 6))


def _label(model: Model, name: str | None) -> int | None:
    """The number of the class called NAME. Raises Refusal."""
    if name is None:
        return None
    if name not in model.description.classes:
        raise Refusal("class")
    return model.description.classes.index(name)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)
