"""Counts against scikit-learn and by hand, the loop around them, and the files they end in."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torch import nn

from resnets.data.batches import Batch
from resnets.data.sources import Arrays
from resnets.errors import DataError
from resnets.evaluation.evaluate import Evaluation, check_bad, usable
from resnets.evaluation.metrics import Counts, guesses, ranks
from resnets.evaluation.records import Answers, cell, csv_text, write
from resnets.evaluation.scoring import averaged, scored
from resnets.files import write_json

NAN, INF = float("nan"), float("inf")


def evaluate(models, batches, classes, max_bad=1.0):
    return Evaluation(classes, usable(scored(models, batches, len(classes)), max_bad))


def counted(scores, labels, classes=None):
    counts = Counts.empty(classes or scores.shape[1])
    counts.add(scores, labels)
    return counts


@pytest.mark.parametrize(
    ("scores", "places"),
    [
        ([3, 1, 2], [0, 2, 1]),
        ([1, 1, 1], [0, 1, 2]),  # equal scores: the lower class number first
        ([1, 2, 2], [2, 0, 1]),
        ([NAN, 1, 2], [2, 1, 0]),  # NaN stands last; as the right class's score, behind all
        ([NAN, NAN, 2], [2, 2, 0]),
        ([NAN, NAN, NAN], [2, 2, 2]),
        ([-INF, 0, INF], [2, 1, 0]),
        ([-INF, -INF, 0], [1, 2, 0]),
        ([INF, INF, 0], [0, 1, 2]),
        ([-INF, NAN, -INF], [0, 2, 1]),  # -inf is a number and stands before NaN
        ([INF, NAN, INF], [0, 2, 1]),
        ([0.0, -0.0], [0, 1]),
        ([5], [0]),
        ([-INF], [0]),
    ],
)
def test_ranks_by_hand(scores, places):
    table = torch.tensor([scores] * len(scores), dtype=torch.float32)
    assert ranks(table, torch.arange(len(scores))).tolist() == places
    counts = counted(table, torch.arange(len(scores)))
    assert np.diag(counts.confusion).tolist() == [int(place == 0) for place in places]
    assert counts.images == len(scores)
    if 0 in places:
        assert guesses(table).tolist() == [places.index(0)] * len(scores)


def test_a_right_class_without_a_number_is_no_hit_at_all():
    scores = torch.tensor([[NAN, 1, 2], [NAN, NAN, NAN], [0, NAN, 1]])
    counts = counted(scores, torch.tensor([0, 2, 2]))
    assert (counts.mistakes, counts.images, counts.top5_hits) == (2, 3, 1)
    assert counts.top5_error == pytest.approx(200 / 3, abs=1e-6)


def test_top_five_by_hand():
    scores = torch.arange(8.0).flip(0).repeat(8, 1)
    counts = counted(scores, torch.arange(8))
    assert (counts.top5_hits, counts.mistakes) == (5, 7)
    assert (counts.top1_error, counts.top5_error) == (87.5, 37.5)
    equal = counted(torch.zeros(8, 8), torch.arange(8))
    assert (equal.top5_hits, equal.mistakes) == (5, 7)
    assert counted(torch.randn(50, 4), torch.arange(50) % 4).top5_error == 0
    assert counted(torch.randn(9, 1), torch.zeros(9, dtype=torch.int64)).top1_error == 0


def test_nothing_counted():
    counts = Counts.empty(3)
    assert (counts.images, counts.mistakes, counts.top1_error, counts.top5_error) == (0, 0, 0, 0)
    assert [row["recall"] for row in counts.per_class(("a", "b", "c"))] == [None] * 3


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 80), st.integers(0, 10**6))
def test_counts_are_scikit_learns(classes, images, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(classes, dtype=np.float32), (images, 1)), axis=1)  # no ties: theirs differ
    labels = rng.integers(0, classes, images)
    counts = counted(torch.from_numpy(scores), torch.from_numpy(labels))
    predicted, every = scores.argmax(1), list(range(classes))
    assert np.array_equal(counts.confusion, oracle.confusion_matrix(labels, predicted, labels=every))
    assert counts.mistakes == images - oracle.accuracy_score(labels, predicted, normalize=False)
    assert counts.top1_error == pytest.approx(100 * (1 - oracle.accuracy_score(labels, predicted)), abs=1e-5)
    if classes > 5:
        hits = oracle.top_k_accuracy_score(labels, scores, k=5, labels=every, normalize=False)
        assert counts.top5_hits == hits
    rows = counts.per_class(tuple(map(str, every)))
    recall = oracle.recall_score(labels, predicted, labels=every, average=None, zero_division=np.nan)
    precision = oracle.precision_score(labels, predicted, labels=every, average=None, zero_division=np.nan)
    for row, r, p in zip(rows, recall, precision, strict=True):
        assert (NAN if row["recall"] is None else row["recall"]) == pytest.approx(100 * r, abs=1e-5, nan_ok=True)
        assert (NAN if row["precision"] is None else row["precision"]) == pytest.approx(100 * p, abs=1e-5, nan_ok=True)
        assert row["mistakes"] == ((labels == int(row["class"])) & (predicted != labels)).sum()


VALUES = st.sampled_from([0.0, 1.0, 2.0, -INF, INF, NAN])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1)), st.data())
def test_batches_do_not_matter_and_every_image_counts_once(rows, data):
    scores = torch.tensor(rows)
    labels = torch.tensor([data.draw(st.integers(0, scores.shape[1] - 1)) for _ in rows])
    size = data.draw(st.integers(1, len(rows)))
    whole, parts = counted(scores, labels), Counts.empty(scores.shape[1])
    for start in range(0, len(rows), size):
        parts.add(scores[start : start + size], labels[start : start + size])
    assert np.array_equal(whole.confusion, parts.confusion)
    assert whole.top5_hits == parts.top5_hits
    assert whole.confusion.sum(1).tolist() == np.bincount(labels, minlength=scores.shape[1]).tolist()
    places = ranks(scores, labels)
    assert whole.mistakes == int((places > 0).sum()) or scores.shape[1] == 1
    for row, label, place in zip(rows, labels.tolist(), places.tolist(), strict=True):
        numbers = sorted((i for i, s in enumerate(row) if s == s), key=lambda i: -row[i])  # stable
        assert place == (numbers.index(label) if label in numbers else len(row) - 1)


class Net(nn.Module):
    """Scores from a table; training mode adds one to class 0."""

    def __init__(self, seed):
        super().__init__()
        self.frozen, self.drop = nn.BatchNorm2d(1).eval(), nn.Dropout(0.9)
        self.table = torch.randn(40, 4, generator=torch.Generator().manual_seed(seed)) * 3

    def forward(self, images):
        return self.drop(self.table[images.flatten().long()])


LABELS = torch.arange(40) % 4
NAMES = ("a", "b", "c", "d")


def batches(size=7, bad=()):
    for indices in torch.arange(40).split(size):
        yield Batch(indices.float()[:, None, None, None], LABELS[indices], indices.numpy(), tuple(bad))


def modes(model):
    return [module.training for module in model.modules()]


def test_evaluate_counts_and_leaves_every_mode():
    model = Net(0)
    before = modes(model)
    assert before == [True, False, True]
    result = evaluate([model], batches(), NAMES)
    assert modes(model) == before
    assert np.array_equal(result.counts.confusion, counted(model.table, LABELS).confusion)
    assert result.loss == pytest.approx(nn.functional.cross_entropy(model.table, LABELS).item(), rel=1e-6)
    assert evaluate([model], batches(40), NAMES).as_dict() == result.as_dict()


@pytest.mark.parametrize("train", [True, False])
def test_what_watch_raises_ends_the_test_and_leaves_every_mode(train):
    model, seen = Net(0).train(train), []

    def watch(batch, scores):
        seen.append(modes(model))
        raise KeyboardInterrupt

    before = modes(model)
    with pytest.raises(KeyboardInterrupt):
        scored([model], batches(), len(NAMES), watch=watch)
    assert (seen, modes(model)) == ([[False] * 3], before)


def test_an_ensemble_averages_softmax():
    one, two = Net(1).eval(), Net(2).eval()
    images = next(batches(40)).images
    mean = (one.table.double().softmax(1) + two.table.double().softmax(1)) / 2
    answer = averaged([one(images), two(images)])
    assert torch.allclose(answer.double().exp(), mean, atol=1e-6)
    assert not torch.allclose(answer.softmax(1), ((one.table + two.table) / 2).softmax(1), atol=1e-2)
    assert torch.equal(averaged([one.table]), one.table)
    result = evaluate([one, two], batches(), NAMES)
    assert result.counts.mistakes == int((mean.argmax(1) != LABELS).sum())
    assert result.loss == pytest.approx(nn.functional.nll_loss(mean.log(), LABELS).item(), rel=1e-5)
    twice, once = evaluate([one, one], batches(), NAMES), evaluate([one], batches(), NAMES)
    assert np.array_equal(twice.counts.confusion, once.counts.confusion)
    assert twice.loss == pytest.approx(once.loss, rel=1e-6)


@pytest.mark.parametrize("members", [1, 2])
def test_every_answer_agrees_with_the_counts(members):
    answers = Answers(Arrays(np.zeros((40, 1, 1, 1), np.uint8), LABELS.numpy(), "test"), NAMES)
    models = [Net(seed) for seed in range(members)]
    models[0].table[3] = 1.0  # a tie
    result = evaluate(models, batches(), NAMES)
    answers.take(result.indices, result.labels, result.scores)
    assert [row[0] for row in answers.rows] == [f"test/{i}" for i in range(40)]
    assert sum(row[1] != row[2] for row in answers.rows) == result.counts.mistakes
    mean = torch.stack([model.table.softmax(1) for model in models]).mean(0)
    assert [float(row[3]) for row in answers.rows] == pytest.approx(mean.amax(1).tolist(), abs=2e-6)


def test_max_bad():
    bad = [("x.jpg", "truncated")]
    result = evaluate([Net(0)], batches(20, bad), NAMES, max_bad=2 / 42)
    assert (len(result.bad), result.counts.images) == (2, 40)
    assert result.as_dict()["bad_files"][0] == {"file": "x.jpg", "reason": "truncated"}
    with pytest.raises(DataError, match=r"^2 of 42 pictures .*max_bad 0.047 .*x.jpg: truncated$"):
        evaluate([Net(0)], batches(20, bad), NAMES, max_bad=0.047)
    check_bad([], 0, 0.0)
    with pytest.raises(DataError):
        check_bad(bad, 100, 0.0)


def test_no_picture_at_all_is_no_result():
    empty = Batch(torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.int64), np.zeros(0, np.int64), (("x", "gone"),))
    for given_batches in ([], [empty]):
        with pytest.raises(DataError, match="no picture to test on"):
            evaluate([Net(0)], given_batches, NAMES)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_json_holds_no_nan(tmp_path, value):
    model = Net(0)
    model.table[5] = value
    result = evaluate([model], batches(), NAMES)
    write_json(tmp_path / "result.json", result.as_dict())
    assert json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)["loss"] is None


HOSTILE = [
    "=1+1",
    "+1",
    "-rf",
    "@sum",
    "\t=1",
    "\r\n=1",
    "\x1b[31m",
    "\u202etxt",
    "\udcff",
    'a"b,c',
    "plain",
    "日本",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_cells(text):
    safe = cell(text)
    assert safe.isprintable()
    assert safe[:1] not in ("=", "+", "-", "@")
    assert safe.isprintable() == text.isprintable() or safe != text
    if text in ("plain", "日本", 'a"b,c', ""):
        assert safe == text
    assert (cell(None), cell(-3), cell(1.5)) == ("", -3, 1.5)


def test_written_files_are_safe_and_whole(tmp_path):
    names = tuple(HOSTILE[:4])
    answers = Answers(Arrays(np.zeros((40, 1, 1, 1), np.uint8), LABELS.numpy(), "=test"), names)
    result = evaluate([Net(0)], batches(), names)
    write(tmp_path, result, answers, {"model": "best"})
    tables = {}
    for path in sorted(tmp_path.glob("*.csv")):
        tables[path.name] = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
        assert all(value[:1] not in ("=", "+", "-", "@") for row in tables[path.name] for value in row)
    assert list(tables) == ["confusion.csv", "per_class.csv", "predictions.csv"]
    assert tables["confusion.csv"][0] == ["right class", *map(cell, names)]
    assert [[int(v) for v in row[1:]] for row in tables["confusion.csv"][1:]] == result.counts.confusion.tolist()
    assert len(tables["predictions.csv"]) == 41
    kept = json.loads((tmp_path / "result.json").read_text())
    assert kept == {"model": "best", **result.as_dict()}
    assert csv_text(["a", "=b"], [[1, None]]) == "a,'=b\n1,\n"
