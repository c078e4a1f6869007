"""What the server refuses, and the one sentence it says: nothing else ever stands in the body of an error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

BYTES = 16_000_000  # of a body


@dataclass(frozen=True)
class Reason:
    """A status, its sentence, and the headers that go with it."""

    status: int
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)


_SOON = {"retry-after": "1"}
REASONS = {
    "framing": Reason(400, "Content-Length and Transfer-Encoding do not go together"),
    "pieces": Reason(400, "the body comes in too many pieces"),
    "query": Reason(400, "the query is not understood; GET /openapi.json says what may be asked"),
    "model": Reason(400, "there is no model of this name; GET /model lists them"),
    "class": Reason(400, "the model has no class of this name; GET /model lists them"),
    "token": Reason(401, "a token is needed: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}),
    "origin": Reason(403, "requests from pages of other sites are refused"),
    "path": Reason(404, "there is nothing here; GET /openapi.json says what there is"),
    "report": Reason(404, "this model has no report"),
    "method": Reason(405, "this is asked by another method; GET /openapi.json says which"),
    "slow": Reason(408, "the body took too long to arrive"),
    "length": Reason(411, "send the picture whole, with a Content-Length"),
    "size": Reason(413, f"the picture has more than {BYTES // 10**6} MB"),
    "media": Reason(415, "send one picture as it is: curl --data-binary @picture.jpg -H 'Content-Type: image/jpeg' …"),
    "host": Reason(421, "the server does not go by this name; start it with --allow-host NAME"),
    "picture": Reason(422, "the picture could not be decoded"),
    "header": Reason(431, "the header has more than 8 KiB"),
    "failed": Reason(500, "the server failed; its log says more under the number of this request"),
    "explain": Reason(501, "this engine has no feature map to explain its answers by"),
    "busy": Reason(503, "too much is waiting already; try again", _SOON),
    "starting": Reason(503, "the model is not ready yet; try again", _SOON),
    "late": Reason(503, "there was no answer in time; try again", _SOON),
    "stopping": Reason(503, "the server is stopping", _SOON),
}


class Refusal(Exception):
    """No answer, for a reason of the table. sentence: what is said instead of the table's, of a picture.

    headers: beside the table's.
    """

    def __init__(self, name: str, sentence: str = "", headers: Mapping[str, str] | None = None) -> None:
        reason = REASONS[name]
        super().__init__(sentence or reason.sentence)
        self.name, self.status = name, reason.status
        self.headers = {**reason.headers, **(headers or {})}

    def body(self, request: str) -> bytes:
        """The JSON that is said in answer to the request of this number."""
        return json.dumps({"error": str(self), "request": request}, ensure_ascii=False).encode()
