"""Train, keep and use a model in three lines; the same as `resnets train digits` and `resnets predict`."""

import resnets

result = resnets.train("digits", epochs=2, out="runs/example-digits")
print(result)
print(resnets.load(result.run).classes)
