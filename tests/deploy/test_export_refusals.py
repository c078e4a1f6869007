"""What is not written, not opened or not believed, and what a written model does without us."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import NAMES, noisy, written
from PIL import Image
from random_bundles import bundle_of, prepared, require

from resnets import bundle
from resnets.deploy import export
from resnets.deploy.compare import compare, noise, refuse
from resnets.deploy.described import is_exported, read_exported
from resnets.deploy.export import Wanted
from resnets.deploy.predictor import Unexplained, found
from resnets.deploy.verify import SESSIONS, read, verified
from resnets.errors import NumericError, UsageError, WeightsError
from resnets.models import build
from resnets.spec import VGG

require("onnx", "onnxscript", "onnxruntime", "openvino")


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_form_that_differs_is_refused_with_its_numbers_and_the_old_one_stays(form, tmp_path, monkeypatch):
    place, right = tmp_path / NAMES[form], SESSIONS[form]
    old = place
    if form == "openvino":
        export.export(bundle_of(), Wanted(form), place, noisy(bundle_of()))
        old = place / "model.bin"
    else:
        old.write_bytes(b"old")
    before = old.read_bytes()

    def wrong(contents, precision):
        session = right(contents, precision)
        return replace(session, fetch=lambda inputs, names: [1.001 * each for each in session.fetch(inputs, names)])

    monkeypatch.setitem(SESSIONS, form, wrong)
    with pytest.raises(NumericError, match=r"export at batch 1 is refused: its outputs differ from PyTorch's by .*e-0"):
        export.export(bundle_of(), Wanted(form), place, noisy(bundle_of()))
    assert old.read_bytes() == before


def test_nothing_of_the_users_is_replaced(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="photos is a folder with other things in it"):
        export.checked(Wanted("openvino"), photos)
    (tmp_path / "link.onnx").symlink_to(photos / "a.jpg")
    with pytest.raises(UsageError, match="is a link"):
        export.checked(Wanted("onnx"), tmp_path / "link.onnx")
    assert (photos / "a.jpg").read_bytes() == b"mine"


def test_few_pictures_fill_the_largest_batch_again_and_again(tmp_path):
    one, sizes = bundle_of(), []
    contents = export.FORMS["onnx"].make(one, export.description_of(one), noisy(one))
    right = SESSIONS["onnx"]

    def watched(contents, precision):
        session = right(contents, precision)
        return replace(session, fetch=lambda x, names: (sizes.append(len(x)), session.fetch(x, names))[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SESSIONS, "onnx", watched)
        assert verified(one, "onnx", contents, noisy(one, 1)).whole.images == 7
    assert {1, 2, 7} <= set(sizes)


def test_names_that_cannot_be(tmp_path):
    for wanted, said in (
        (Wanted("onix"), "unknown format 'onix'; nearest: onnx"),
        (Wanted("onnx", "bf16"), "onnx has no precision 'bf16'; it has fp32, int8"),
        (Wanted("pt2", "int8"), "pt2 has no precision 'int8'; it has fp32"),
        (Wanted("openvino", input="pixels"), "openvino has no input 'pixels'; it has tensor"),
        (Wanted("onnx"), r"ends in \.onnx"),
        (Wanted("pt2"), r"ends in \.pt2"),
    ):
        with pytest.raises(UsageError, match=said):
            export.checked(wanted, tmp_path / "x")


def test_what_is_no_export_or_another_models_is_named(tmp_path):
    one, place, _ = written("onnx", tmp_path)
    other = replace(one, classes=tuple("abcdefghij"))
    seen = replace(one.preprocessing, mean=(0.0, 0.0, 0.0))
    for stranger, what in (
        (other, "classes"),
        (replace(one, preprocessing=seen), "preprocessing"),
        (replace(one, temperature=2.0), "temperature"),
    ):
        with pytest.raises(WeightsError, match=f"of another model than MODEL: its {what} differ"):
            verified(stranger, "onnx", read(place)[1], noisy(one))
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(place.read_bytes()[:1000])
    stranger = tmp_path / "stranger.onnx"
    stranger.write_bytes(prepared().onnx["model.onnx"])
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, said in (
        (cut, "no ONNX file|describe"),
        (stranger, "was not exported by resnets"),
        (tmp_path / "none", "No such"),
    ):
        with pytest.raises(WeightsError, match=said):
            read_exported(path)
    assert not is_exported(empty)


def test_weights_in_other_files_are_refused(tmp_path):
    import onnx

    _, place, _ = written("onnx", tmp_path)
    model = onnx.load(place)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    (tmp_path / "two.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="keeps weights in other files"):
        read_exported(tmp_path / "two.onnx")
    model = onnx.load(place)
    node = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    opset = [onnx.helper.make_opsetid("", 18)]
    model.functions.append(onnx.helper.make_function("hidden", "f", [], ["c"], [node], opset))
    (tmp_path / "three.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="keeps weights in other files"):
        read_exported(tmp_path / "three.onnx")
    (tmp_path / "x.pt2").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a \.pt2 file is not served"):
        found(tmp_path / "x.pt2")


def test_an_exported_model_explains_itself_as_the_network_does(tmp_path):
    from resnets.analysis.saliency import saliency

    one = bundle_of()
    view = noise(one.preprocessing, 1)[0]
    expected = saliency(one.model(), one.preprocessing.normalise(view), 3)
    for form in ("onnx", "openvino"):
        export.export(one, Wanted(form), tmp_path / NAMES[form], noisy(one))
        heat = found(tmp_path / NAMES[form]).start("auto").heat(view, 3)
        assert heat.method == "CAM"
        assert np.allclose(heat.values, expected.values, atol=1e-4)


def test_a_vgg_in_onnx_says_that_it_cannot(tmp_path):
    spec = VGG((1, 1, 1, 1, 1), True, 10, size=32, widths=(4, 4, 8, 8, 8), hidden=16)
    torch.manual_seed(0)
    tensors = dict(build(spec).state_dict())
    one = replace(bundle_of(size=32), network=spec, tensors=tensors)
    export.export(one, Wanted("onnx"), tmp_path / "vgg.onnx", noisy(one, 4))
    predictor = found(tmp_path / "vgg.onnx").start("auto")
    with pytest.raises(Unexplained, match="no feature map"):
        predictor.heat(noise(one.preprocessing, 1)[0], 0)


def test_a_served_folder_and_its_export_answer_alike(tmp_path):
    one = replace(bundle_of(), temperature=2.0)
    bundle.save(one, tmp_path / "bundle")
    export.export(one, Wanted("onnx"), tmp_path / "model.onnx", noisy(one))
    views = noise(one.preprocessing, 5)
    answers = [
        found(path).start(engine).probabilities(views)
        for path, engine in ((tmp_path / "bundle", "torch"), (tmp_path / "model.onnx", "auto"))
    ]
    assert np.allclose(*answers, atol=1e-5)
    with pytest.raises(UsageError, match="runs by onnxruntime:fp32"):
        found(tmp_path / "model.onnx").start("openvino")


def test_without_torch_and_without_us(tmp_path):
    one = bundle_of()
    export.export(one, Wanted("onnx"), tmp_path / "model.onnx", noisy(one))
    export.export(one, Wanted("onnx", input="pixels"), tmp_path / "pixels.onnx", noisy(one))
    view = noise(one.preprocessing, 1)[0]
    Image.fromarray(view).save(tmp_path / "picture.png")
    turned = Image.fromarray(view).transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # shown upright after a quarter turn clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    ours = "import sys, json; sys.modules['torch'] = None\nfrom pathlib import Path\nimport numpy as np\n" \
        "from resnets.deploy.predictor import found\nfrom PIL import Image\n" \
        "view = np.asarray(Image.open(sys.argv[2]))[None]\n" \
        "print(json.dumps(found(Path(sys.argv[1])).start('auto').probabilities(view)[0].tolist()))"  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-c", ours, "model.onnx", "picture.png"], cwd=tmp_path, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    probabilities = np.array(json.loads(answer.stdout))
    shutil.copy(EXAMPLES / "onnx_alone.py", tmp_path)
    blocked = "import sys, runpy; sys.modules['torch'] = sys.modules['resnets'] = None; sys.argv.pop(0)\n" \
        "runpy.run_path(sys.argv[0], run_name='__main__')"  # fmt: skip
    alone = subprocess.run(
        [sys.executable, "-c", blocked, "onnx_alone.py", "pixels.onnx", "picture.png"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    upright = subprocess.run(
        [sys.executable, "-c", blocked, "onnx_alone.py", "pixels.onnx", "turned.png"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert upright.stdout == alone.stdout, "EXIF counts"
    name, share = alone.stdout.splitlines()[0].split()
    assert int(name) == probabilities.argmax()
    assert float(share) == pytest.approx(probabilities.max(), abs=0.02)
    code = (EXAMPLES / "onnx_alone.py").read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10


def test_comparing_by_hand():
    reference = np.array([[1.0, -4.0], [2.0, 0.0]], np.float32)
    found = compare(reference, np.array([[1.0, -4.0], [0.0, 1.0]], np.float32))
    assert (found.largest, found.agreement, found.images) == (0.5, 0.5, 2)
    assert compare(reference, np.array([[1.0, -4.0], [0.0, 1.0]], np.float32), 1.0).largest == 2
    assert compare(reference, reference).largest == 0
    lost = compare(reference, np.full((2, 2), np.nan, np.float32))
    assert lost.largest == float("inf")
    with pytest.raises(NumericError):
        refuse("it", "int8", lost)


def test_equal_answers_are_asked_for_where_there_are_enough_images():
    reference = np.eye(100, 10, dtype=np.float32) + np.arange(10, dtype=np.float32) * 1e-3
    found = reference.copy()
    found[:4] = found[:4, ::-1] * 0.6
    assert compare(reference, found).agreement < 0.97
    far = compare(reference, found)
    with pytest.raises(NumericError, match="answers like PyTorch on 9"):
        refuse("it", "int8", type(far)(0.1, far.agreement, 100))
    refuse("it", "int8", type(far)(0.1, far.agreement, 99))
    refuse("it", "int8", type(far)(0.1, 0.97, 100))
