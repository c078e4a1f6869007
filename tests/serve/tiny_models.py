"""Models made by hand, without torch: an ONNX file of one convolution, and pictures to ask about."""

import io

import numpy as np
from PIL import Image

from resnets.data.preprocessing import Preprocessing
from resnets.deploy.described import Description, StageFacts, metadata
from resnets.spec import BASIC, Network, Stage, Stem, Unit

SIZE, CLASSES = 16, ("cat", "dog", "bird", "fish", "frog", "horse", "deer", "ship", "truck", "<b>plane</b>")


def description(classes=CLASSES, reject_below=0.0, size=SIZE, channels=3):
    """What a model with these classes says of itself."""
    network = Network(Stem(3, 8), (Stage(1, 8, 1),), Unit(BASIC), len(classes), channels, size)
    seen = Preprocessing(size, channels, "crop", 1.0, mean=(0.5,) * channels, std=(0.25,) * channels)
    stages = (StageFacts("stem", (8, 14, 14), 216, 42336), StageFacts("fc", (len(classes),), 80, 80))
    facts = {"data": "tiny", "test_error": 12.5}
    return Description(
        1, "0.1.0", network, "custom", tuple(classes), seen, 1.3, reject_below, facts=facts, stages=stages
    )


def onnx_file(said, maps=True):
    """An ONNX file of a convolution, ReLU, average and classifier, with its description inside."""
    from onnx import TensorProto, helper, numpy_helper

    rng, seen = np.random.default_rng(1), said.preprocessing
    kernel = rng.normal(size=(8, seen.channels, 3, 3)).astype(np.float32)
    weights = 0.5 * rng.normal(size=(len(said.classes), 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Identity", ["weights"], ["classifier"]),
        helper.make_node("Gemm", ["flat", "classifier"], ["logits"], transB=1),
    ]
    shapes = {"logits": ["N", len(said.classes)]}
    shapes |= {"features": ["N", 8, None, None], "classifier": list(weights.shape)} if maps else {}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", seen.channels, seen.size, seen.size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata(said))
    return model.SerializeToString()


def picture(number=0, kind="PNG", size=(40, 30)):
    """An encoded picture that differs from that of any other NUMBER."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()
