"""The C4 design against hand values: strides, regions, anchors, frozen BN, targets, losses."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets.detection.backbones import C4, Pool, VGGShared, body, early
from resnets.detection.proposals import Anchors
from resnets.detection.rcnn import DetectorNetwork
from resnets.detection.recipe import Regions, alternating, pyramid, recipe
from resnets.errors import UsageError
from resnets.families import network
from resnets.models import build
from resnets.models.layers import BatchNorm
from resnets.spec import Detector

SMALL = Regions((200, 100), (50, 20), smallest=2.0, anchors=32, regions=16)
SPEC = Detector(network("slim_resnet18"), 3, anchors=(32, 64), bn="live")


def detector(**changes):
    torch.manual_seed(0)
    return DetectorNetwork(replace(SPEC, **changes), SMALL)


def target(boxes, labels):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def test_resnet_101_shares_91_convolutions():
    """He2015 appendix A: conv1 to conv4_x, 91 convolutions of ResNet-101, without the projections."""
    with torch.device("meta"):
        made = build(network("resnet101_v1"))
        shared = C4(made)
    convs = [
        name for module in shared.shared() for name, each in module.named_modules()
        if isinstance(each, nn.Conv2d) and "downsample" not in name
    ]  # fmt: skip
    assert len(convs) == 91
    assert (shared.stride, shared.side, shared.out_channels, shared.region_channels) == (16, 14, 1024, 2048)


@pytest.mark.parametrize("name", ["resnet50_v1", "preresnet50", "slim_plain18"])
def test_c4_maps(name):
    """The shared map has stride 16; a 14×14 region leaves the last stage as 7×7; both together are the network."""
    torch.manual_seed(0)
    made = build(network(name)).eval()
    image = torch.randn(1, 3, 64, 96)
    whole = made.forward_features(image)
    shared = C4(made)
    found = shared(image)["0"]
    assert found.shape[2:] == (4, 6)
    assert shared.region_map(torch.randn(2, shared.out_channels, 14, 14)).shape[2:] == (7, 7)
    assert torch.equal(shared.region_map(found), whole)


def test_vgg_shares_its_convolutions():
    """VGG-16: stride 16 without the last pooling, 7×7 regions through two hidden layers of 4096."""
    with torch.device("meta"):
        shared = VGGShared(build(network("vgg16")))
        assert shared(torch.empty(1, 3, 64, 64))["0"].shape == (1, 512, 4, 4)
        assert shared.region(shared.region_map(torch.empty(5, 512, 7, 7))).shape == (5, 4096)
    assert (shared.stride, shared.side) == (16, 7)


@pytest.mark.parametrize(
    ("name", "frozen", "names"),
    [("resnet50_v1", "none", set()), ("resnet50_v1", "stem", {"conv1", "bn1"}),
     ("resnet50_v1", "stem+stage1", {"conv1", "bn1", "layer1"}), ("vgg16", "stem", {"0", "2"}),
     ("vgg16", "stem+stage1", {"0", "2", "5", "7"})],
)  # fmt: skip
def test_first_layers_that_stay_as_they_are(name, frozen, names):
    """detectron2's FREEZE_AT 2; the first two stages of VGG-16 (py-faster-rcnn)."""
    with torch.device("meta"):
        shared = (VGGShared if name == "vgg16" else C4)(build(network(name)))
    for module in early(shared, frozen):
        module.requires_grad_(False)
    still = {n for n, p in shared.network.named_parameters() if not p.requires_grad}
    assert {n.removeprefix("features.").split(".")[0] for n in still} == names


def test_anchors_are_py_faster_rcnns():
    """The nine anchors that py-faster-rcnn prints, its inclusive ends made half-open."""
    inclusive = torch.tensor([
        [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
        [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
        [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
    ])  # fmt: skip
    found = Anchors((128, 256, 512), 16).cell_anchors[0]
    assert torch.equal(found, inclusive.float() + torch.tensor([0.0, 0, 1, 1]))


def test_roi_align_is_shifted_by_half_a_pixel():
    """On a map whose value is its column, a region's mean is its middle in map pixels, less the half of the shift."""
    columns = torch.arange(8.0).expand(1, 1, 8, 8)
    found = Pool(2, 16, "align")({"0": columns}, [torch.tensor([[32.0, 32, 96, 96]])], [(128, 128)])
    assert torch.allclose(found[0, 0], torch.tensor([[2.5, 4.5]] * 2))


def test_roi_pool_rounds():
    """RoIPool takes the maximum over whole map pixels: from round(32 / 16) to round(88 / 16), both included."""
    values = torch.arange(64.0).view(1, 1, 8, 8)
    found = Pool(1, 16, "pool")({"0": values}, [torch.tensor([[32.0, 32, 88, 88]])], [(128, 128)])
    assert found.item() == values[0, 0, 6, 6]


def test_anchors_across_the_border_teach_nothing():
    """Labels of anchors that cross the border are −1; the box's best anchor inside teaches, however small its IoU."""
    made = detector()
    boxes = torch.tensor([[-24.0, 0, 8, 32], [0, 0, 32, 32], [64, 64, 96, 96]])
    made.rpn._shapes = [(96, 96)]
    labels, wanted = made.rpn.assign_targets_to_anchors([boxes], [target([[0, 0, 30, 30]], [1])])
    assert labels[0].tolist() == [-1, 1, 0]
    assert wanted[0][1].tolist() == [0, 0, 30, 30]
    made.rpn.inside_only = False
    assert made.rpn.assign_targets_to_anchors([boxes], [target([[0, 0, 30, 30]], [1])])[0][0].tolist() == [0, 1, 0]


def test_background_begins_where_the_recipe_says():
    """[0.1, 0.5) of Fast R-CNN: what hardly overlaps with a box teaches nothing; 0.5 itself is the class."""
    made = detector()
    made.heads.background_from = 0.1
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60]])
    _, labels = made.heads.assign_targets_to_proposals([boxes], [boxes[:1]], [torch.tensor([2])])
    assert labels[0].tolist() == [2, 2, 0, -1]


def test_region_loss_by_hand():
    """Cross-entropy, and smooth L1 that turns at 1 on targets in tenths and fifths, over the number of regions."""
    made = detector().train()
    box, truth = torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[4.0, 0, 24, 20]])
    delta = made.heads.box_coder.encode_single(truth, box)
    assert torch.allclose(delta, torch.tensor([[2.0, 0, 0, 0]]))  # 4 of 20 pixels, over 0.1
    made.heads.select_training_samples = lambda boxes, targets: (
        [box], [torch.tensor([0])], [torch.tensor([2])], [delta]
    )  # fmt: skip
    made.predicted = lambda seen: (torch.zeros(1, 4), torch.zeros(1, 16))
    made._regions = lambda *_: (None, None)
    losses = made._region_losses({}, [box], [(32, 32)], [target(truth.tolist(), [2])])
    assert losses["class"].item() == pytest.approx(torch.log(torch.tensor(4.0)).item())
    assert losses["box"].item() == pytest.approx(1.5)  # |2| − 0.5
    assert losses["wrong"].item() == 1


def test_frozen_bn_stays_frozen():
    """Mean, variance, scale and shift are the same after an update in training mode, and outputs are those of eval."""
    made = detector(bn="frozen")
    layers = [module for module in made.body.modules() if isinstance(module, BatchNorm)]
    for layer in layers:
        layer.running_var.uniform_(0.5, 2)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items() if ".bn" in name}
    made.train()
    image = torch.rand(3, 64, 64)
    tested = made.body(image[None])["0"]
    losses = made([image], [target([[8, 8, 40, 40]], [1])], (64,), 128)
    losses.pop("wrong")
    sum(losses.values()).backward()
    torch.optim.SGD([p for p in made.parameters() if p.requires_grad], 0.1, weight_decay=0.1).step()
    assert layers
    assert not any(layer.training for layer in layers)
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in before.items())
    made.load_state_dict(made.state_dict())
    assert not torch.equal(made.body(image[None])["0"], tested)  # the convolutions have learnt


PYRAMID = {"design": "FPN", "anchors": (16, 32, 64, 128, 256)}


@pytest.mark.parametrize("changes", [{}, {"context": True}, {"masks": True}, PYRAMID, {"masks": True, **PYRAMID}])
def test_an_image_without_objects_gives_finite_losses(changes):
    """Together with one that has objects, and alone."""
    made = detector(**changes).train()
    empty, full = target([], []), target([[8, 8, 40, 40]], [3])
    if changes.get("masks"):
        empty["masks"], full["masks"] = (
            torch.zeros(0, 64, 64, dtype=torch.uint8),
            torch.ones(1, 64, 64, dtype=torch.uint8),
        )
    for images, targets in (([0, 1], [empty, full]), ([0, 1], [empty, empty])):
        losses = made([torch.rand(3, 64, 64 + 16 * i) for i in images], targets, (64,), 128)
        losses.pop("wrong")
        assert all(torch.isfinite(loss) for loss in losses.values()), losses
        sum(losses.values()).backward()


@pytest.mark.parametrize("changes", [{"context": True}, {"masks": True}])
def test_regions_pass_the_last_stage_once(changes):
    """Live BN sees all that an update makes of regions as one batch: with the whole picture, and for masks."""
    made = detector(**changes).train()
    there = target([[8, 8, 40, 40]], [3]) | {"masks": torch.ones(1, 64, 64, dtype=torch.uint8)}
    made([torch.rand(3, 64, 64)] * 2, [there] * 2, (64,), 128)
    counts = {int(layer.num_batches_tracked) for layer in made.body.modules() if isinstance(layer, BatchNorm)}
    assert counts == {1}


def test_a_new_start_has_an_rpn_of_he():
    """A deviation of 0.01 in a narrow network lets nothing through; the papers' recipes keep it."""
    for bn, deviation in (("live", (2 / (9 * 64)) ** 0.5), ("frozen", 0.01)):
        weight = detector(bn=bn).rpn.head.conv[0][0].weight
        assert weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_the_four_steps_of_alternating_training():
    """RPN, regions on its proposals, RPN on fixed layers, regions on fixed layers."""
    steps = alternating(recipe("voc-2015", network("vgg16"), "x"))
    assert [step.learns for step in steps] == ["rpn", "regions", "rpn", "regions"]
    assert [step.fixed for step in steps] == [False, False, True, True]
    assert [(step.weights, step.proposals) for step in steps] == [
        ("", ""), ("", "step-1"), ("step-2", ""), ("step-3", "step-3"),
    ]  # fmt: skip
    assert {step.regions.background_from for step in steps} == {0.1}
    assert [step.complete for step in steps] == [False, False, False, True]  # of step 2 RPN has learnt nothing


@pytest.mark.parametrize(
    ("name", "rpn", "regions"),
    [("voc-2015", (80_000, (60_000,), 1), (40_000, (30_000,), 2)),
     ("coco-2015", (320_000, (240_000,), 8), (320_000, (240_000,), 16))],
)  # fmt: skip
def test_the_steps_are_as_long_as_published(name, rpn, regions):
    """Faster R-CNN's 4-step training on VOC, he2015 appendix A on COCO; --updates scales them."""
    made = recipe(name, network("vgg16"), "x")
    assert [step.regions.regions for step in alternating(made)] == [64] * 4  # 128 of the two pictures of an update
    steps = [step.training for step in alternating(made)]
    assert [(t.updates, t.milestones, t.batch_size) for t in steps] == [rpn, regions, rpn, regions]
    assert made.training.weight_decay == 5e-4
    short = replace(made, training=replace(made.training, updates=made.training.updates // 100))
    assert [t.training.updates for t in alternating(short)[:2]] == [rpn[0] // 100, regions[0] // 100]


def test_a_pyramid_needs_a_residual_network_and_an_anchor_a_level():
    """One line says what to give instead."""
    made = pyramid(recipe("quick", network("slim_resnet18"), "x"))
    assert len(made.detector.anchors) == 5
    assert [body(replace(made.detector, network=network(name)), build(network(name))).map_channels
            for name in ("slim_resnet18", "resnet18")] == [64, 256]  # fmt: skip
    with pytest.raises(UsageError, match="--design c4"):
        pyramid(recipe("quick", network("vgg16"), "x"))
    with pytest.raises(UsageError, match="5 levels"):
        body(replace(SPEC, design="FPN"), build(SPEC.network))
