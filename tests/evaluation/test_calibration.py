"""Calibration against scikit-learn, literal sums and searches."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss

from resnets.evaluation.calibration import HIGHEST, calibration, fit_temperature, reject_threshold
from resnets.evaluation.evaluate import Evaluation
from resnets.evaluation.metrics import Counts
from resnets.evaluation.protocol import PROTOCOLS
from resnets.evaluation.scoring import Scores
from resnets.files import write_json

NAN, INF = float("nan"), float("inf")


def drawn(images=3000, classes=6, temperature=2.5, seed=0):
    """Scores whose softmax / TEMPERATURE is the truth: labels are drawn from it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(images, classes)) * 1.5
    powers = np.exp(truth)
    chances = powers / powers.sum(1, keepdims=True)
    labels = (chances.cumsum(1) > rng.random((images, 1))).argmax(1)
    return torch.from_numpy(truth * temperature).float(), torch.from_numpy(labels)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.7])  # scikit-learn cuts probabilities off at 2e-16
def test_loss_is_scikit_learns(temperature):
    scores, labels = drawn()
    expected = log_loss(labels, (scores.double() / temperature).softmax(1).numpy(), labels=range(6))
    assert calibration(scores, labels, temperature).loss == pytest.approx(expected, rel=1e-9)


def test_bins_by_hand():
    """Probabilities 0.2 (a bound: the lower bin), 0.5, 0.52 and 1.0 in bins of a fifteenth."""
    chances = torch.tensor([[0.2] * 5, [0.5, 0.3, 0.1, 0.1, 0], [0.52, 0.48, 0, 0, 0], [0, 0, 0, 0, 1.0]]).double()
    found = calibration(chances.log(), torch.tensor([0, 1, 0, 4]))
    filled = {i: row for i, row in enumerate(found.bins) if row["images"]}
    assert list(filled) == [2, 7, 14]
    assert filled[2] == {"low": 0.133333, "high": 0.2, "images": 1, "confidence": 0.2, "accuracy": 1.0}
    assert filled[7] == {"low": 0.466667, "high": 0.533333, "images": 2, "confidence": 0.51, "accuracy": 0.5}
    assert filled[14] == {"low": 0.933333, "high": 1.0, "images": 1, "confidence": 1.0, "accuracy": 1.0}
    assert found.bins[0] == {"low": 0.0, "high": 0.066667, "images": 0, "confidence": None, "accuracy": None}
    assert found.ece == pytest.approx(100 * (0.8 + 2 * 0.01) / 4)


def literal_error(scores, labels, bins=15):
    chances = scores.double().softmax(1).numpy()
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(chances)) if b / bins < chances[i].max() <= (b + 1) / bins]
        if inside:
            accuracy = np.mean([chances[i].argmax() == labels[i] for i in inside])
            total += len(inside) / len(chances) * abs(accuracy - np.mean([chances[i].max() for i in inside]))
    return 100 * total


def test_calibration_error_is_the_papers():
    for seed in range(3):
        scores, labels = drawn(500, seed=seed)
        found = calibration(scores, labels)
        assert found.ece == pytest.approx(literal_error(scores, labels), abs=1e-5)
        assert sum(row["images"] for row in found.bins) == 500


def test_the_temperature_is_found_again():
    for temperature in (0.5, 1.0, 2.5, 7.0):
        scores, labels = drawn(20000, temperature=temperature)
        fitted = fit_temperature(scores, labels)
        assert fitted == pytest.approx(temperature, rel=0.04)
        grid = np.exp(np.linspace(math.log(fitted) - 0.1, math.log(fitted) + 0.1, 41))
        losses = [calibration(scores, labels, t).loss for t in grid]
        assert np.argmin(losses) == 20  # the fitted one, in the middle
        before, after = calibration(scores, labels), calibration(scores, labels, fitted)
        assert after.ece < 1
        assert temperature == 1 or after.ece < before.ece
        assert after.loss <= before.loss
        assert fit_temperature(scores, labels) == fitted == fit_temperature(scores.numpy(), labels.numpy())


def test_only_differences_of_scores_matter():
    scores, labels = drawn(400)
    assert fit_temperature(scores + 100, labels) == pytest.approx(fit_temperature(scores, labels), rel=1e-4)
    assert fit_temperature(scores.log_softmax(1), labels) == pytest.approx(fit_temperature(scores, labels), rel=1e-4)


def test_degenerate_cases():
    scores, labels = drawn(50)
    right = scores.argmax(1)
    assert fit_temperature(scores[:1], labels[:1]) == 1
    assert fit_temperature(scores[:0], labels[:0]) == 1
    assert fit_temperature(scores, right) == 1  # no answer is wrong: there is no minimum
    assert fit_temperature(torch.zeros(9, 3), torch.zeros(9, dtype=torch.int64)) == 1
    assert fit_temperature(torch.zeros(9, 1), torch.zeros(9, dtype=torch.int64)) == 1
    assert fit_temperature(scores, scores.argmin(1)) == HIGHEST  # worse than knowing nothing
    broken = torch.cat([scores, torch.tensor([[NAN] * 6, [INF, 0, 0, 0, 0, 0], [-INF, 0, 0, 0, 0, 0]])])
    more = torch.cat([labels, torch.tensor([0, 1, 2])])
    assert fit_temperature(broken, more) == fit_temperature(scores, labels)
    extreme = torch.tensor([[1e4, 0.0], [1e4, 0.0], [0.0, 1e4]])
    assert fit_temperature(extreme, torch.tensor([0, 1, 1])) == HIGHEST
    sharp = torch.tensor([[1.0, 0.0]] * 99 + [[0.0, 1e-3]])
    assert 0.05 <= fit_temperature(sharp, torch.zeros(100, dtype=torch.int64)) <= HIGHEST


def test_no_number_is_no_confidence():
    scores = torch.tensor([[NAN, NAN], [INF, 0.0], [0.0, 3.0]])
    found = calibration(scores, torch.tensor([1, 0, 1]))
    assert [row["images"] for row in found.bins] == [2, *[0] * 13, 1]
    assert (found.bins[0]["confidence"], found.bins[0]["accuracy"]) == (0, 0.5)
    assert math.isnan(found.loss)


def test_balanced_accuracy_is_scikit_learns():
    scores, labels = drawn(500)
    labels[labels == 3] = 2  # one class has no image
    counts = Counts.of(scores, labels)
    guessed = scores.argmax(1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(labels, guessed)
    assert counts.balanced_accuracy == pytest.approx(100 * expected, abs=1e-5)
    assert Counts.empty(3).balanced_accuracy == 0
    worst = counts.worst_class(tuple("abcdef"))
    rows = [row for row in counts.per_class(tuple("abcdef")) if row["images"]]
    assert worst in rows
    assert worst["recall"] == min(row["recall"] for row in rows)
    assert Counts.empty(3).worst_class(("a", "b", "c")) is None
    tie = Counts.of(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 1, 0]))
    assert tie.worst_class(("a", "b"))["class"] == "a"


def test_counts_of_all_are_counts_of_parts():
    scores, labels = drawn(9000, 7)
    whole, parts = Counts.of(scores, labels), Counts.empty(7)
    parts.add(scores, labels)
    assert np.array_equal(whole.confusion, parts.confusion)
    assert whole.top5_hits == parts.top5_hits


def test_the_keys_of_an_evaluation(tmp_path):
    scores, labels = drawn(200)
    found = Evaluation(tuple("abcdef"), Scores(torch.arange(200), labels, scores), PROTOCOLS["10-crop"], 2.0)
    facts = found.as_dict()
    assert set(facts) == {
        "images", "mistakes", "top1_error", "top5_error", "balanced_accuracy", "loss", "worst_class", "per_class",
        "calibration", "protocol_fields", "bad_files",
    }  # fmt: skip
    assert set(facts["worst_class"]) == {"class", "images", "mistakes", "recall", "precision"}
    assert facts["protocol_fields"]["corners"] == "image"
    section = facts["calibration"]
    assert (section["temperature"], len(section["bins"]), len(section["bins_calibrated"])) == (2.0, 15, 15)
    assert section["ece"] == calibration(scores, labels).ece
    assert section["ece_calibrated"] == calibration(scores, labels, 2.0).ece
    assert section["loss_calibrated"] < facts["loss"]
    write_json(tmp_path / "result.json", facts)


def test_95_of_100_answers_reach_the_threshold():
    chances = torch.linspace(0.5, 0.995, 100).double()
    scores = torch.stack([chances, 1 - chances], 1).log()
    threshold = reject_threshold(scores, 1.0)
    assert (chances >= threshold).sum() == 95
    assert threshold == pytest.approx(np.quantile(chances, 0.05))
    cooler = reject_threshold(scores, 0.5)
    assert cooler > threshold, "of calibrated probabilities"
    assert reject_threshold(scores[:99], 1.0) == 0, "too few to tell"
    scores[0] = NAN
    assert reject_threshold(scores, 1.0) == 0
