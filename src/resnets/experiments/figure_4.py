"""He2015 figure 4: training and validation error of plain and residual nets of 18 and 34 layers on ImageNet."""

from dataclasses import replace

from .table_2 import EXPERIMENT as TABLE_2

EXPERIMENT = replace(
    TABLE_2,
    name="figure-4",
    title="Plain and residual nets of 18 and 34 layers on ImageNet (he2015 figure 4)",
    rows=tuple(replace(row, protocol="1-crop", published={}) for row in TABLE_2.rows),
    notes=("The curves of the paper are of center crops; it prints no number of them.",),
)
