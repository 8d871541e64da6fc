"""Convolutions with PyTorch's default initial weights."""

import math
from typing import Any

import keras


def convolution(
    filters: int, kernel_size: int, input_channels: int, **kwargs: Any
) -> keras.layers.Conv2D:
    """Returns an unbuilt same-padded convolution, initialised as in PyTorch.

    Kernel and bias are uniform within +-1 / sqrt(fan_in), so the kernel is
    smaller than with Keras' default. The learning rates of NCSN and NCSNv2
    were chosen for these initial weights.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, the height and width of the kernel.
        input_channels: Integer, the number of input channels. The range of
            the initial bias depends on it.
        **kwargs: More arguments of `keras.layers.Conv2D`.

    Returns:
        A `keras.layers.Conv2D`.

    Example:

    >>> layer = convolution(8, 3, input_channels=4)
    >>> layer.build((None, 32, 32, 4))
    >>> tuple(layer.kernel.shape)
    (3, 3, 4, 8)
    """
    bound = 1.0 / math.sqrt(kernel_size**2 * input_channels)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        data_format="channels_last",
        kernel_initializer=keras.initializers.VarianceScaling(
            scale=1 / 3, mode="fan_in", distribution="uniform"
        ),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        **kwargs,
    )
