"""What a model says of a picture: a path, the bytes of a file, a PIL image or uint8 pixels all do."""

import numpy as np

import resnets

result = resnets.train("digits", epochs=1, network="cifar_resnet8", out="runs/example-predict")
model = resnets.load(result.run)
picture = np.zeros((8, 8), np.uint8)
picture[1:7, 4] = 255  # a stroke, much like a 1
for prediction in model.predict(picture, top=3):
    print(f"{prediction.name}  {prediction.probability:.3f}")
