"""A network is a value: vary a published one with `dataclasses.replace`, look at it, train it."""

from dataclasses import replace

import resnets
from resnets.analysis.complexity import complexity
from resnets.spec import PRE_ACTIVATION

base = resnets.network("cifar_resnet20")
mine = replace(base, unit=replace(base.unit, order=PRE_ACTIVATION, merge="shortcut-gate", gate_bias=-4.0))
for name, value in (("cifar_resnet20", base), ("mine", mine)):
    counts = complexity(value)
    print(f"{name:<16}{value.layers} layers  {counts.parameters:,} parameters  {counts.multiply_adds:,} multiply-adds")

print(resnets.train("digits", network=mine, epochs=1, out="runs/example-own"))
