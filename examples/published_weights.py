"""Weights of others: a torchvision state dict in our network, the same logits, another number of classes."""

import torch
import torchvision

import resnets

theirs = torchvision.models.resnet18(weights=None).eval()  # or your own .pth file: load_weights(model, "file.pth")
ours = resnets.create_model("resnet18").eval()
resnets.load_weights(ours, theirs.state_dict(), origin="torchvision")
image = torch.randn(1, 3, 64, 64)
with torch.inference_mode():
    print("largest difference of the logits:", (ours(image) - theirs(image)).abs().max().item())

pets = resnets.create_model("resnet18", num_classes=37)
print(resnets.load_weights(pets, theirs.state_dict(), origin="torchvision").notes)
