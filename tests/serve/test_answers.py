"""What the server answers: the model's own probabilities, maps, facts, files; whatever the companions of a batch."""

import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tiny_models import CLASSES, description, onnx_file, picture

from resnets.deploy.predictor import found
from resnets.serve.decoder import decoded


@pytest.fixture(scope="module")
def offline(models):
    """Probabilities (classes,) of an encoded picture, without a server."""
    servable = found(models / "tiny.onnx")
    predictor = servable.start("auto")
    return lambda data: predictor.probabilities(decoded(servable.description.preprocessing, data)[None])[0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_answers_are_those_of_the_model(server, offline, kind):
    data = picture(3, kind)
    expected = offline(data)
    reply = server.post("/predict?top=10", data)
    assert reply.status == 200, reply.body
    answer = reply.json
    assert [c["name"] for c in answer["classes"]] == [CLASSES[i] for i in np.argsort(-expected, kind="stable")]
    assert np.allclose([c["probability"] for c in answer["classes"]], np.sort(expected)[::-1], atol=1e-4)
    assert answer["model"] == "tiny"
    assert answer["engine"] == "onnxruntime:fp32"
    assert answer["sure"] is True
    assert "seen" not in answer
    assert set(answer["milliseconds"]) == {"decoding", "waiting", "inference"}
    assert all(value >= 0 for value in answer["milliseconds"].values())


def test_a_large_jpeg_is_seen_as_the_library_sees_it(server, offline):
    data = picture(5, "JPEG", (900, 700))
    expected = offline(data)
    first = server.post("/predict?top=1", data).json["classes"]
    assert first == [{"name": CLASSES[expected.argmax()], "probability": pytest.approx(expected.max(), abs=1e-4)}]


def test_fifty_at_once_are_not_mixed_up(server, offline):
    pictures = [picture(number) for number in range(50)]
    expected = [offline(data) for data in pictures]
    assert len({e.round(4).tobytes() for e in expected}) == 50
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda data: server.post("/predict?top=10", data), pictures))
    for reply, probabilities in zip(replies, expected, strict=True):
        assert reply.status == 200
        given = {c["name"]: c["probability"] for c in reply.json["classes"]}
        assert np.allclose([given[name] for name in CLASSES], probabilities, atol=1e-4)
    assert server.metric("resnets_batch_size_sum") > server.metric("resnets_batch_size_count"), "nothing was batched"


def test_what_the_network_saw(server):
    answer = server.post("/predict?seen=true", picture(1)).json
    head, data = answer["seen"].split(",")
    assert head == "data:image/png;base64"
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.array_equal(seen, decoded(description().preprocessing, picture(1)))


def test_an_explanation_is_the_class_activation_map(server, models):
    servable, data = found(models / "tiny.onnx"), picture(2)
    predictor = servable.start("auto")
    view = decoded(servable.description.preprocessing, data)
    for query, label in (("", int(predictor.probabilities(view[None])[0].argmax())), ("?class=dog", 1)):
        answer = server.post(f"/explain{query}", data).json
        assert answer["class"] == CLASSES[label]
        assert answer["method"] == "CAM"
        expected = predictor.heat(view, label).values
        assert np.allclose(answer["map"], expected, atol=1e-4)
        assert np.shape(answer["map"]) == (14, 14)
        assert answer["probability"] == pytest.approx(predictor.probabilities(view[None])[0][label], abs=1e-5)
        assert answer["seen"].startswith("data:image/png;base64,")


def test_a_model_of_another_name(server):
    answer = server.post("/predict?model=other", picture(1)).json
    assert answer["model"] == "other"
    assert answer["sure"] is False, "no probability reaches 1"
    refused = server.post("/explain?model=other", picture(1))
    assert refused.status == 501
    assert "no feature map" in refused.json["error"]


def test_facts_of_a_model(server):
    facts = server.get("/model").json
    said = description()
    assert facts["model"] == "tiny"
    assert facts["models"] == ["tiny", "other"]
    assert facts["ready"] is True
    assert facts["engine"] == "onnxruntime:fp32"
    assert facts["classes"] == list(CLASSES)
    assert facts["layers"] == said.network.layers
    assert facts["preprocessing"] == {
        "size": 16, "channels": 3, "fit": "crop", "crop_pct": 1.0, "interpolation": "bilinear",
        "mean": [0.5] * 3, "std": [0.25] * 3,
    }  # fmt: skip
    assert (facts["parameters"], facts["multiply_adds"]) == (296, 42416)
    assert facts["stages"][0] == {
        "name": "stem", "output": [8, 14, 14], "parameters": 216, "multiply_adds": 42336,
    }  # fmt: skip
    assert facts["spec"]["unit"]["convs"] == [{"kernel": 3, "width": 1.0}] * 2
    assert facts["facts"]["test_error"] == 12.5
    assert (facts["explains"], facts["report"]) == (True, False)
    assert facts["limits"] == {"bytes": 16_000_000, "pixels": 50_000_000}
    assert server.get("/model?model=other").json["explains"] is False


def test_health_and_metrics(server):
    assert server.get("/live").json == {"live": True}
    assert server.get("/ready").json == {"ready": True}
    before = server.metric("resnets_requests_total")
    server.post("/predict", picture(1))
    server.get("/nowhere/at/all")
    text = server.get("/metrics").body.decode()
    assert re.search(r'resnets_requests_total\{route="/predict",status="200"\} \d', text)
    assert 'route="other",status="404"' in text
    assert "/nowhere" not in text, "strangers make no labels"
    assert server.metric("resnets_requests_total") >= before + 3
    assert server.metric("resnets_queue_length") == 0
    for name in ("decoding", "waiting", "inference"):
        assert server.metric(f"resnets_{name}_seconds_count") > 0


def test_the_description_is_complete_and_self_contained(server):
    text = server.get("/openapi.json").body.decode()
    paths = json.loads(text)["paths"]
    assert set(paths) == {"/live", "/ready", "/model", "/predict", "/explain", "/report", "/metrics"}
    assert paths["/predict"]["post"]["requestBody"]["content"].keys() == {"image/*"}
    assert {p["name"] for p in paths["/explain"]["post"]["parameters"]} == {"model", "class"}
    assert "HTTPValidationError" not in text
    assert "http" not in text.replace("HTTP", "")


def test_the_page_and_its_files_are_served_by_their_exact_names(server):
    from resnets.serve.app import page

    for path, (data, kind) in page().items():
        reply = server.get(path)
        assert (reply.status, reply.body) == (200, data)
        assert reply.headers["content-type"].startswith(kind)
        assert reply.headers["cache-control"] == "no-cache"


def test_every_answer_protects_the_browser(server):
    for reply in (server.get("/model"), server.get("/no"), server.post("/predict", b"no"), server.get("/live")):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert len(reply.headers["x-request-id"]) == 16
        assert "server" not in reply.headers
        assert not any(name.startswith("access-control") for name in reply.headers)


def test_channels_that_are_no_colours(tmp_path):
    from servers import serve

    said = description(channels=5)
    (tmp_path / "five.onnx").write_bytes(onnx_file(said))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 5), dtype=np.uint8)
    out = io.BytesIO()
    np.save(out, pixels)
    expected = found(tmp_path / "five.onnx").start("auto").probabilities(said.preprocessing.view(pixels)[None])[0]
    with serve(tmp_path / "five.onnx") as server:
        reply = server.wait().post("/predict?top=10&seen=true", out.getvalue())
        given = {c["name"]: c["probability"] for c in reply.json["classes"]}
        assert np.allclose([given[name] for name in CLASSES], expected, atol=1e-4)
        assert reply.json["seen"].startswith("data:image/png")
        assert server.post("/predict", picture(0)).json["error"] == "picture of 3 channels, the network takes 5"
