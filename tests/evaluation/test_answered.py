"""What counts as the answer of an image, whatever its scores are."""

import csv

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data.sources import Arrays
from resnets.evaluation.evaluate import Evaluation
from resnets.evaluation.metrics import Counts, answered, guesses, ranks
from resnets.evaluation.records import Answers, write
from resnets.evaluation.scoring import Scores

NAN, INF = float("nan"), float("inf")
VALUES = st.sampled_from([0.0, 1.0, 2.0, -INF, INF, NAN])


def test_by_hand():
    scores = torch.tensor([[NAN, NAN, NAN]] * 3 + [[NAN, 1, 2]] * 3 + [[-INF, -INF, NAN]] * 3)
    assert answered(scores, torch.arange(9) % 3).tolist() == [1, 0, 0, 2, 2, 2, 0, 0, 0]


def test_predictions_and_counts_agree_where_no_score_is_a_number(tmp_path):
    near = 2 - torch.tensor([2, 1]) * 2.0**-23  # equal after division by 1.9
    scores = torch.stack([torch.tensor([NAN, NAN]), torch.tensor([NAN, NAN]), torch.tensor([1.0, 0.0]), near])
    labels = torch.tensor([0, 1, 1, 1])
    evaluation = Evaluation(("a", "b"), Scores(torch.arange(4), labels, scores), temperature=1.9)
    source = Arrays(np.zeros((4, 1, 1, 1), np.uint8), labels.numpy())
    write(tmp_path, evaluation, Answers(source, ("a", "b")), {})
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["answer"] for row in rows] == ["b", "a", "a", "b"]
    assert sum(row["answer"] != row["right class"] for row in rows) == evaluation.counts.mistakes == 3
    assert evaluation.counts.confusion.tolist() == [[0, 1], [2, 1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1)), st.data())
def test_answers_are_right_where_the_counts_are(rows, data):
    scores = torch.tensor(rows)
    labels = torch.tensor([data.draw(st.integers(0, scores.shape[1] - 1)) for _ in rows])
    answers, counts = answered(scores, labels), Counts.of(scores, labels)
    assert torch.equal(answers == labels, ranks(scores, labels) == 0)
    table = np.zeros_like(counts.confusion)
    for right, answer in zip(labels.tolist(), answers.tolist(), strict=True):
        table[right, answer] += 1
    assert np.array_equal(table, counts.confusion)
    numbers = ~scores.isnan().all(1)
    assert torch.equal(answers[numbers], guesses(scores)[numbers])
