# SPDX-License-Identifier: Apache-2.0
"""Train a perceptron on scikit-learn's digits in the golden model, and plot the learning curve.

usage: python examples/02_train_digits.py [PICTURE.png]
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import phasecore

result = phasecore.train("mlp-64-50-10", profile="pcm", epochs=3)
print(f"{result.images} images, {result.images_per_second:.0f} per second")
print(f"test accuracy {result.accuracy_model:.1%}, its float twin {result.accuracy_float:.1%}")

images = [point["images"] for point in result.curve]
figure, axes = plt.subplots()
axes.plot(images, [point["loss"] for point in result.curve])
axes.set(xlabel="images learnt", ylabel="loss", title=f"{result.network}, {result.profile} devices")
path = sys.argv[1] if len(sys.argv) > 1 else "digits.png"
figure.savefig(path)
print("written", path)
