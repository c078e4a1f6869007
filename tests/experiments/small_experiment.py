"""Two small rows, and a machine on which a multiply-add takes a nanosecond."""

from resnets.experiments.experiment import Experiment, Row

NANOSECOND = 1e-9


def speed(recipe):
    return NANOSECOND


SMALL = Experiment(
    "small", "Two rows", ("he2015.T6",), "digits", "quick",
    (Row("a", "cifar_resnet8", {"top1": 50.0}), Row("b", "cifar_plain8"), Row("printed", published={"top1": 3.0})),
    draws="curves",
)  # fmt: skip
