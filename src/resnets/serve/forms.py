"""What is asked and answered over HTTP, as /openapi.json says it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_NAME = Field(None, max_length=200, description="a name that GET /model lists; the first where none is given")


class OfModel(BaseModel):
    """Which model is meant."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = _NAME


class OfPicture(OfModel):
    """What is asked of a picture."""

    top: int = Field(5, ge=1, le=1000, description="how many classes to name")
    seen: bool = Field(False, description="whether to answer with the picture as the network saw it")


class OfExplanation(OfModel):
    """What is to be explained."""

    label: str | None = Field(None, alias="class", max_length=1000, description="a class; the answer, if none is given")


class Live(BaseModel):
    """The server listens."""

    live: bool


class Ready(BaseModel):
    """Every model answers."""

    ready: bool


class Problem(BaseModel):
    """Why there is no answer, and the number of the request in the log."""

    error: str
    request: str


class Class(BaseModel):
    """A class and its calibrated probability."""

    name: str
    probability: float


class Milliseconds(BaseModel):
    """What a picture cost: decoding, waiting for a decoder and for the model, the batch it was answered in."""

    decoding: float
    waiting: float
    inference: float


class Prediction(BaseModel):
    """What is on a picture; sure: whether the best probability reaches `reject_below`."""

    model: str
    engine: str
    classes: list[Class]
    sure: bool
    seen: str | None = None
    milliseconds: Milliseconds


class Explanation(BaseModel):
    """Where on a picture a class is seen: a map of h rows of w numbers, over what the network saw."""

    model: str
    label: str = Field(serialization_alias="class")
    probability: float
    method: str
    map: list[list[float]]
    seen: str


class Stage(BaseModel):
    """A stage of a network: what it puts out (channels, height, width), and what it costs."""

    name: str
    output: list[int]
    parameters: int
    multiply_adds: int


class Seen(BaseModel):
    """How a picture becomes an input."""

    size: int
    channels: int
    fit: str
    crop_pct: float
    interpolation: str
    mean: list[float]
    std: list[float]


class Most(BaseModel):
    """How large a picture may be: bytes of its file, and pixels."""

    bytes: int
    pixels: int


class ModelFacts(BaseModel):
    """A model. engine: null until it is ready. spec: the network as a value. facts: what its run said of it."""

    model: str
    models: list[str]
    ready: bool
    network: str
    layers: int
    engine: str | None
    classes: list[str]
    preprocessing: Seen
    temperature: float
    reject_below: float
    parameters: int
    multiply_adds: int
    stages: list[Stage]
    spec: dict[str, Any]
    facts: dict[str, Any]
    explains: bool
    report: bool
    limits: Most
