"""Adds up feature maps of several sizes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.residual_unit import RefinementLayer


@keras.saving.register_keras_serializable(package="keras_ncsn")
class MultiResolutionFusion(RefinementLayer):
    """The sum of feature maps, each convolved and resized to the first.

    Resizing is bilinear and keeps the centres of the corner pixels in place
    (`align_corners` in PyTorch), which Keras' own resizing does not.

    Args:
        filters: Integer, the number of output channels.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and omits the
            normalization.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: List of float tensors of shape
            `(batch, height, width, channels)`. The first one has the height
            and width of the output.
        levels: Float tensor of shape `(batch,)`, see
            `InstanceNormalizationPlus`. Required if, and only if, `num_levels`
            is set.

    Returns:
        A tensor of shape `(batch, height, width, filters)`.

    Example:

    >>> fusion = MultiResolutionFusion(4)
    >>> sharp, coarse = ops.ones((1, 8, 8, 4)), ops.ones((1, 4, 4, 6))
    >>> tuple(fusion([sharp, coarse]).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def __init__(
        self, filters: int, num_levels: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_levels=num_levels, **kwargs)
        self.filters = filters

    def build(self, input_shape: Sequence[Shape]) -> None:
        self.norms = [
            self._build_norm(f"norm{index}", shape)
            for index, shape in enumerate(input_shape)
        ]
        self.convs = [
            self._build_convolution(
                f"conv{index}", shape, self.filters, use_bias=True
            )
            for index, shape in enumerate(input_shape)
        ]

    def call(
        self, inputs: Sequence[Tensor], levels: Tensor | None = None
    ) -> Tensor:
        height, width = inputs[0].shape[1:3]
        outputs = None
        for x, norm, conv in zip(inputs, self.norms, self.convs, strict=True):
            x = ops.cast(x, self.compute_dtype)
            x = conv(self._normalize(norm, x, levels))
            x = _resize(x, height, width)
            outputs = x if outputs is None else outputs + x
        return outputs

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (*input_shape[0][:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


def _resize(x, height, width):
    old_height, old_width, channels = x.shape[1:]
    if (old_height, old_width) == (height, width):
        return x
    rows = ops.cast(_interpolation(old_height, height), x.dtype)
    columns = ops.cast(_interpolation(old_width, width), x.dtype)
    # These shapes let both products work without a transpose.
    x = ops.reshape(x, (-1, old_height, old_width * channels))
    x = ops.matmul(rows, x)
    x = ops.reshape(x, (-1, height, old_width, channels))
    return ops.matmul(columns, x)


def _interpolation(old_size, new_size):
    """Returns the matrix of linear interpolation; the ends stay in place."""
    position = np.linspace(0, old_size - 1, new_size)[:, None]
    distance = np.abs(position - np.arange(old_size))
    return np.maximum(1 - distance, 0).astype("float32")
