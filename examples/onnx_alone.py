"""What a model says with ONNX Runtime alone, without torch and without resnets.

resnets export runs/latest model.onnx --input pixels; python onnx_alone.py model.onnx picture.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
names = json.loads(session.get_modelmeta().custom_metadata_map["names"])
pixels = np.asarray(ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB"))
(probabilities,) = session.run(None, {"pixels": pixels[None]})
for label in probabilities[0].argsort()[:-4:-1]:
    print(f"{names[str(label)]}  {probabilities[0, label]:.3f}")
