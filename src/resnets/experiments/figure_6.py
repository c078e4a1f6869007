"""He2015 figure 6: plain nets get worse with depth, residual nets better; 110 layers against 1202."""

from .experiment import Experiment
from .figure_1 import plain
from .table_6 import EXPERIMENT as TABLE_6

_RESIDUAL = tuple(row for row in TABLE_6.rows if row.network and "stochastic" not in row.network)
EXPERIMENT = Experiment(
    "figure-6",
    "Plain and residual nets on CIFAR-10 (he2015 figure 6)",
    ("he2015.F6_plain", *TABLE_6.sources[:3]),
    data="cifar10",
    recipe="cifar-2015",
    rows=(*map(plain, (20, 32, 44, 56, 110)), *_RESIDUAL),
    draws="curves",
    notes=("Plain numbers are read off the figure by a third party; the paper prints none but 'above 60 %' for 110.",),
)
