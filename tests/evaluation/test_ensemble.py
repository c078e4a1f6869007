"""Ensembles of models that see pictures differently, the search over subsets, and the cache of scores."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.preprocessing import Preprocessing
from resnets.data.sources import Arrays, Files
from resnets.errors import DataError
from resnets.evaluation.ensemble import Member, ScoreCache, search, together, weights_hash
from resnets.evaluation.metrics import Counts
from resnets.evaluation.protocol import PROTOCOLS, protocol
from resnets.evaluation.scoring import Scores, merged, scored
from resnets.evaluation.views import view_batches
from resnets.files import read_verified
from resnets.models import create_model

RULE = PROTOCOLS["1-crop"]


def member(seed=0, name="cifar_resnet20", **seeing):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Member(create_model(name).eval(), replace(Preprocessing(32, crop_pct=1.0), **seeing))


def scores_of(member, source, rule, batch_size=128, shard=(0, 1)):
    batches = view_batches(source, member.preprocessing, rule, batch_size, 0, shard)
    return scored([member.model], batches, member.model.spec.classes, rule, member.preprocessing.size)


@pytest.fixture
def source():
    return Arrays(np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), np.arange(9) % 4)


def some(indices, seed, classes=7, bad=()):
    scores = torch.randn(len(indices), classes, generator=torch.Generator().manual_seed(seed)) * 3
    numbers = torch.tensor(indices)
    return Scores(numbers, numbers % classes, scores, bad)


def test_models_of_different_sizes_together(source):
    members = [member(0), member(1, size=24, fit="squash"), member(2, "cifar_plain20", mean=(0.5, 0.5, 0.5))]
    each = [scores_of(m, source, RULE, 4) for m in members]
    found = together(each)
    mean = np.mean([s.scores.double().softmax(1).numpy() for s in each], 0)
    assert np.allclose(found.scores.softmax(1), mean, atol=1e-6)
    assert found.indices.tolist() == list(range(9))
    assert torch.equal(together(each[:1]).scores, each[0].scores)
    logits = together(each, "logits")
    assert torch.allclose(logits.scores, torch.stack([s.scores for s in each]).mean(0))
    parts = [scores_of(members[0], source, RULE, 4, shard=(rank, 5)) for rank in range(5)]  # more shards than batches
    assert [len(part) for part in parts] == [4, 4, 1, 0, 0]
    assert torch.equal(merged(parts).scores, each[0].scores)


def test_what_one_model_cannot_read_is_left_out_for_all():
    one, two = some([0, 1, 3, 4], 0, bad=(("2.jpg", "torn"),)), some([0, 2, 3, 4], 1, bad=(("1.jpg", "too long"),))
    found = together([one, two])
    assert found.indices.tolist() == [0, 3, 4]
    assert found.bad == (("1.jpg", "too long"), ("2.jpg", "torn"))
    expected = (one.scores[[0, 2, 3]].softmax(1) + two.scores[[0, 2, 3]].softmax(1)) / 2
    assert torch.allclose(found.scores.softmax(1), expected, atol=1e-6)
    with pytest.raises(DataError, match="number of classes"):
        together([one, some([0, 1], 0, classes=8)])
    with pytest.raises(DataError, match="other labels"):
        together([one, replace(one, labels=one.labels.flip(0))])


def test_every_subset_by_brute_force():
    members = [some(list(range(60)), seed) for seed in range(5)]
    for size in (1, 2, 3, 5):
        found = search(members, size)
        assert sorted(s.members for s in found) == list(combinations(range(5), size))
        for subset in found:
            mean = torch.stack([members[i].scores.double().softmax(1) for i in subset.members]).mean(0)
            counts = Counts.of(mean.log(), members[0].labels)
            assert (subset.top1_mistakes, subset.images) == (counts.mistakes, 60)
            assert subset.top5_mistakes == 60 - counts.top5_hits
        order = [(s.top5_mistakes, s.top1_mistakes, s.members) for s in found]
        assert order == sorted(order)


def test_the_cache_gives_back_what_was_kept(tmp_path, source):
    cache, one = ScoreCache(tmp_path), member()
    key = cache.key(one, source, RULE)
    assert cache.read(key) is None
    scores = replace(scores_of(one, source, RULE), bad=(("\udcff.jpg", "torn"),))
    scores.scores[0, 0] = float("nan")
    cache.write(key, scores)
    kept = cache.read(key)
    assert kept.bad == scores.bad
    assert torch.equal(kept.scores.nan_to_num(7), scores.scores.nan_to_num(7))
    assert torch.equal(kept.labels, scores.labels)
    assert torch.equal(kept.indices, scores.indices)
    cache.write(key, scores)
    (folder,) = tmp_path.iterdir()
    assert read_verified(folder)[0]["facts"]["key"]["protocol"]["crops"] == "own"


def test_whatever_changes_the_scores_changes_the_key(tmp_path, source):
    cache, one = ScoreCache(tmp_path), member()
    other_weights = member()
    other_weights.model.layer3[0].bn1.running_mean[3] += 1e-6
    keys = [
        cache.key(one, source, RULE),
        cache.key(one, source, PROTOCOLS["dense"]),
        cache.key(one, source, protocol("dense", dense="i")),
        cache.key(other_weights, source, RULE),
        cache.key(member(name="cifar_plain20"), source, RULE),
        cache.key(member(std=(0.2, 0.2, 0.3)), source, RULE),
        cache.key(one, source.subset(np.arange(8)), RULE),
        cache.key(one, source.relabel(np.zeros(9, np.int64)), RULE),
    ]
    assert len({str(key) for key in keys}) == len(keys)
    assert keys[0] == cache.key(member(), source, RULE)
    assert weights_hash(one.model.state_dict()) == weights_hash(member().model.state_dict())


def test_the_order_of_files_is_part_of_the_key(tmp_path):
    """A fingerprint of files does not depend on their order, scores by index do."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    size, cache = (tmp_path / "a.png").stat().st_size, ScoreCache(tmp_path)
    one = Files(tmp_path, ("a.png", "b.png"), (size, size), np.zeros(2, np.int64))
    other = one.subset(np.array([1, 0]))
    assert one.fingerprint() == other.fingerprint()
    assert cache.key(member(), one, RULE) != cache.key(member(), other, RULE)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest"])
def test_a_damaged_entry_is_none(tmp_path, source, damage):
    cache, one = ScoreCache(tmp_path), member()
    key = cache.key(one, source, RULE)
    scores = scores_of(one, source, RULE)
    cache.write(key, scores)
    (path,) = tmp_path.glob("*/scores.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    match damage:
        case "flip":
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[:-9])
        case "gone":
            path.unlink()
        case "manifest":
            (path.parent / "MANIFEST.json").write_text("{}")
    assert cache.read(key) is None
    cache.write(key, scores)
    assert torch.equal(cache.read(key).scores, scores.scores)
