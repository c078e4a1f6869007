"""The models, the decoders, and a picture's way through both."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from ..data.images import LIMITS
from ..data.preprocessing import Preprocessing
from ..deploy.predictor import Servable
from .batching import BATCH, Answer, Explain, Model
from .decoding import COUNT, Decoded, Decoders, Patience
from .forms import ModelFacts, Most, Seen, Stage
from .metrics import Metrics
from .refusals import BYTES, Refusal


@dataclass(frozen=True)
class Settings:
    """How models are served.

    engine: for all of them. deadline: seconds until a picture has its answer or none. batch: pictures at once, 1 for
    answers whose bits do not depend on other requests.
    """

    engine: str = "auto"
    deadline: float = 10.0
    batch: int = BATCH
    decoding: Patience = field(default_factory=Patience)


class Service:
    """Models by name. failed: what ended the service, where that was no signal."""

    def __init__(self, found: Mapping[str, Servable], metrics: Metrics, settings: Settings) -> None:
        self.settings, self.metrics = settings, metrics
        self.models = {name: Model(name, each, metrics, settings.batch) for name, each in found.items()}
        seen: dict[str, Preprocessing] = {name: each.description.preprocessing for name, each in found.items()}
        self.decoders = Decoders(seen, metrics, settings.decoding)
        self.failed: BaseException | None = None
        self.server: Any = None  # that has `should_exit`

    def is_stopping(self) -> bool:
        """Whether a signal, or a failure, has told the server to end."""
        return self.server is not None and self.server.should_exit

    @property
    def started(self) -> bool:
        """Whether every model has started."""
        return all(model.predictor for model in self.models.values())

    @property
    def ready(self) -> bool:
        """Whether every model answers."""
        return self.started and bool(self.decoders.ready) and not self.is_stopping()

    @asynccontextmanager
    async def life(self, _app: object = None) -> AsyncIterator[None]:
        """Everything that goes on in the background; models start in it, one after the other."""
        work = [self.decoders.work(number) for number in range(COUNT)]
        work += [self._start(), *(model.work() for model in self.models.values())]
        tasks = [asyncio.create_task(each) for each in work]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for model in self.models.values():
                model.thread.shutdown(wait=False, cancel_futures=True)

    async def _start(self) -> None:
        for model in self.models.values():
            await model.start(self.settings.engine)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self.failed = self.failed or task.exception()
            if self.server is not None:
                self.server.should_exit = True

    def model(self, name: str | None) -> Model:
        """The model called NAME, the first one for None. Raises Refusal."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal("model")
        return self.models[name]

    async def answer(
        self, model: Model, data: bytes, *, png: bool, explain: Explain | None = None
    ) -> tuple[Decoded, Answer]:
        """What MODEL sees of an encoded picture and what it answers. Raises Refusal."""
        with model.place():
            try:
                async with asyncio.timeout(self.settings.deadline):
                    decoded = await self.decoders.decode(model.name, data, png)
                    return decoded, await model.ask(decoded.view, explain)
            except TimeoutError as error:
                raise Refusal("late") from error

    def facts(self, model: Model) -> ModelFacts:
        """What GET /model says."""
        said, predictor = model.description, model.predictor
        seen = {name: value for name, value in asdict(said.preprocessing).items() if name in Seen.model_fields}
        return ModelFacts(
            model=model.name,
            models=list(self.models),
            ready=self.ready,
            network=said.name,
            layers=said.network.layers,
            engine=predictor.engine if predictor else None,
            classes=list(said.classes),
            preprocessing=Seen(**seen),
            temperature=said.temperature,
            reject_below=said.reject_below,
            parameters=sum(stage.parameters for stage in said.stages),
            multiply_adds=sum(stage.multiply_adds for stage in said.stages),
            stages=[Stage(**asdict(stage)) for stage in said.stages],
            spec=asdict(said.network),
            facts=said.facts or {},
            explains=bool(predictor and predictor.explain),
            report=model.servable.report is not None,
            limits=Most(bytes=BYTES, pixels=LIMITS.max_pixels),
        )


def as_url(png: bytes) -> str:
    """A picture as the address of itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
