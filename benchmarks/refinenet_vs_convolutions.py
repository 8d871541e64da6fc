"""Measures how much slower RefineNet is than its convolutions alone.

Compares the whole network that the paper uses for MNIST with its convolutions
in chains, without anything between them. Both run on the same backend in the
same process, in turn. Prints a Markdown table of ratios.

    KERAS_BACKEND=tensorflow python benchmarks/refinenet_vs_convolutions.py
"""

import argparse
import statistics
import time

import keras
import numpy as np

from keras_ncsn.networks.refinenet import RefineNet
from keras_ncsn.noise import geometric_sigmas

DTYPES = ("float32", "mixed_bfloat16")


def convolve(x, filters, dtype, count=1, **kwargs):
    kwargs = {"kernel_size": 3, "padding": "same"} | kwargs
    for _ in range(count):
        x = keras.layers.Conv2D(filters, dtype=dtype, **kwargs)(x)
    return x


def bare_convolutions(image_shape, width, dtype):
    """Returns the 75 convolutions of NCSN, with a chain for each shape."""
    height, width_in_pixels, channels = image_shape
    noisy, sigma = keras.Input(image_shape), keras.Input(())
    # At full size: the first stage, the block that halves the image, and most
    # of the last refine block.
    x = convolve(noisy, width, "float32")
    x = convolve(x, width, dtype, count=18)
    score = convolve(x, channels, "float32")
    shortcut = convolve(x, 2 * width, dtype, kernel_size=1, strides=2)
    x = convolve(x, 2 * width, dtype)
    # At half size: everything else, twice as wide up to the third fusion.
    x = keras.layers.Cropping2D(
        ((0, height // 2), (0, width_in_pixels // 2)), dtype=dtype
    )(x)
    x = convolve(x, 2 * width, dtype, count=32)
    x = convolve(x, 2 * width, dtype, count=5, dilation_rate=2)
    x = convolve(x, 2 * width, dtype, count=5, dilation_rate=4)
    fused = convolve(x, width, dtype)
    x = convolve(x, width, dtype)
    x = convolve(x, width, dtype, count=9)
    return keras.Model([noisy, sigma], [score, shortcut, fused, x])


def refinenet(image_shape, width, dtype):
    return RefineNet(
        image_shape, width=width, sigmas=geometric_sigmas(), dtype=dtype
    )


def runs(build, arguments, dtype):
    """Returns functions that run a model once, forward and in training."""
    shape = (arguments.size, arguments.size, arguments.channels)
    model = build(shape, arguments.width, dtype)
    model.compile(optimizer="sgd", loss="mse")
    rng = np.random.default_rng(0)
    noisy = rng.random((arguments.batch_size, *shape), dtype="float32")
    sigma = np.full(arguments.batch_size, 0.5, "float32")
    targets = [
        np.zeros((arguments.batch_size, *output.shape[1:]), "float32")
        for output in model.outputs
    ]
    if len(targets) == 1:
        targets = targets[0]
    return {
        "forward": lambda: model.predict_on_batch([noisy, sigma]),
        "training step": lambda: model.train_on_batch([noisy, sigma], targets),
    }


def median_seconds(functions, repetitions):
    """Times functions in turn, so that a busy machine slows all of them."""
    for function in functions:
        function()
        function()
    seconds = [[] for _ in functions]
    for _ in range(repetitions):
        for function, record in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return [statistics.median(record) for record in seconds]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--dtypes", nargs="+", default=DTYPES)
    parser.add_argument(
        "--passes", nargs="+", default=["forward", "training step"]
    )
    arguments = parser.parse_args()
    print(
        f"{keras.backend.backend()}, {arguments.batch_size} images of "
        f"{arguments.size}x{arguments.size}x{arguments.channels}, "
        f"width {arguments.width}, milliseconds an image\n"
    )
    print("| dtype | pass | RefineNet | convolutions alone | ratio |")
    print("|---|---|---|---|---|")
    for dtype in arguments.dtypes:
        whole = runs(refinenet, arguments, dtype)
        bare = runs(bare_convolutions, arguments, dtype)
        for name in arguments.passes:
            slow, fast = median_seconds(
                [whole[name], bare[name]], arguments.repetitions
            )
            per_image = 1000 / arguments.batch_size
            print(
                f"| {dtype} | {name} | {slow * per_image:.1f} "
                f"| {fast * per_image:.1f} | {slow / fast:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
