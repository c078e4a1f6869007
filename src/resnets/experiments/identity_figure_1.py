"""He2016 figure 1: training curves of 1001 layers, original and pre-activation units, on CIFAR-10."""

from dataclasses import replace

from .identity_table_3 import EXPERIMENT as TABLE_3

EXPERIMENT = replace(
    TABLE_3,
    name="identity-figure-1",
    title="1001 layers, original and pre-activation units, CIFAR-10 (he2016 figure 1)",
    rows=tuple(row for row in TABLE_3.rows if "CIFAR-10 ResNet-1001" in row.label),
    seeds=1,
)
