"""Pooling that brings in the surroundings of each pixel."""

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.residual_unit import RefinementLayer

# The number of poolings in the chain.
NUM_LINKS = 2


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ChainedResidualPooling(RefinementLayer):
    """A chain of two 5 by 5 poolings, each followed by a convolution.

    The input and the results of both links are added up, so that each pixel
    sees its surroundings. With `num_levels` it is average pooling, which
    counts zeros outside the image; without, it is max pooling.

    Args:
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and omits the
            normalization.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        levels: Float tensor of shape `(batch,)`, see
            `InstanceNormalizationPlus`. Required if, and only if, `num_levels`
            is set.

    Returns:
        A tensor with the shape of `inputs`.

    Example:

    >>> pooling = ChainedResidualPooling()
    >>> tuple(pooling(ops.ones((1, 8, 8, 4))).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def build(self, input_shape: Shape) -> None:
        indices = range(NUM_LINKS)
        self.norms = [
            self._build_norm(f"norm{index}", input_shape) for index in indices
        ]
        self.convs = [
            self._build_convolution(
                f"conv{index}", input_shape, filters=input_shape[-1]
            )
            for index in indices
        ]

    def call(self, inputs: Tensor, levels: Tensor | None = None) -> Tensor:
        pool = _max_pool if self.num_levels is None else _average_pool
        x = ops.elu(ops.cast(inputs, self.compute_dtype))
        path = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            path = conv(pool(self._normalize(norm, path, levels)))
            x = x + path
        return x


def _average_pool(x):
    # Pads first, because "same" pooling divides by the number of pixels inside
    # the image. PyTorch, and so the authors' weights, always divide by 25.
    x = ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return ops.average_pool(x, 5, 1, "valid", data_format="channels_last")


def _max_pool(x):
    return ops.max_pool(x, 5, 1, "same", data_format="channels_last")
