# SPDX-License-Identifier: Apache-2.0
"""A network of PyTorch, trained there, onto PCM devices: export it, then infer with its arrays.

Needs `pip install torch` (not part of the set-up). `phasecore map digits.onnx` shows where its
layers are on the chip; `rtl=2` runs the first two images in RTL, too.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import phasecore

torch.manual_seed(1)
digits = load_digits()
images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(512, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for _ in range(8):
    for part in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
model.eval()
torch.onnx.export(model, (images[:1],), "digits.onnx", input_names=["image"], dynamo=False)

devices = sys.argv[1:] or ["ideal", "pcm_inference"]
for profile in devices:
    result = phasecore.infer(
        "digits.onnx", images[1500:].numpy(), labels[1500:].numpy(),
        calibration=images[:200].numpy(), profile=profile, devices=4,
    )  # fmt: skip
    cores = result.config.noc.width * result.config.noc.height - 1
    print(
        f"{profile:<14} {result.accuracy_model:.1%} of {result.images},"
        f" in floating point {result.accuracy_float:.1%}"
    )
print(f"on a chip of {cores} cores")
