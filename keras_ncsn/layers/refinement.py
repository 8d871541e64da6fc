"""The refine blocks of the decoder, from RefineNet.

With `num_levels` a layer is NCSN's: conditional normalization before each
convolution, average pooling. Without, it is NCSNv2's: no normalization, max
pooling.
"""

import keras
import numpy as np
from keras import ops

from keras_ncsn.layers.convolution import convolution
from keras_ncsn.layers.normalization import LevelLayer


class _RefinementLayer(LevelLayer):
    def _build_norm(self, name, input_shape):
        if self.num_levels is None:
            return None
        norm = self._new_norm(name)
        norm.build(input_shape)
        return norm

    def _build_convolution(self, name, input_shape, filters, use_bias=False):
        conv = convolution(
            filters,
            3,
            input_channels=input_shape[-1],
            use_bias=use_bias,
            dtype=self.dtype_policy,
            name=name,
        )
        conv.build(input_shape)
        return conv

    def _normalize(self, norm, x, levels):
        return x if norm is None else norm(x, levels=levels)


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ResidualConvUnit(_RefinementLayer):
    """Blocks of ELU and 3 by 3 convolutions, each added to its input.

    Args:
        num_blocks: Integer, the number of residual blocks. Defaults to `2`.
        num_stages: Integer, the number of convolutions in a block. Defaults to
            `2`.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and leaves out
            the normalization.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        levels: Float tensor of shape `(batch,)`, see
            `InstanceNormalizationPlus`. Required if, and only if, `num_levels`
            is set.

    Returns:
        A tensor with the shape of `inputs`.

    Example:

    >>> unit = ResidualConvUnit(num_blocks=1)
    >>> tuple(unit(ops.ones((1, 8, 8, 4))).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def __init__(self, num_blocks=2, num_stages=2, num_levels=None, **kwargs):
        super().__init__(num_levels=num_levels, **kwargs)
        self.num_blocks = num_blocks
        self.num_stages = num_stages

    def build(self, input_shape):
        indices = range(self.num_blocks * self.num_stages)
        self.norms = [
            self._build_norm(f"norm{index}", input_shape) for index in indices
        ]
        self.convs = [
            self._build_convolution(
                f"conv{index}", input_shape, filters=input_shape[-1]
            )
            for index in indices
        ]

    def call(self, inputs, levels=None):
        x = ops.cast(inputs, self.compute_dtype)
        for index, (norm, conv) in enumerate(
            zip(self.norms, self.convs, strict=True)
        ):
            if index % self.num_stages == 0:
                residual = x
            x = conv(ops.elu(self._normalize(norm, x, levels)))
            if (index + 1) % self.num_stages == 0:
                x = x + residual
        return x

    def get_config(self):
        return {
            **super().get_config(),
            "num_blocks": self.num_blocks,
            "num_stages": self.num_stages,
        }


@keras.saving.register_keras_serializable(package="keras_ncsn")
class MultiResolutionFusion(_RefinementLayer):
    """The sum of images of several sizes, each convolved and enlarged.

    Enlarging is bilinear, and keeps the centres of the corner pixels where
    they are (`align_corners` in PyTorch). Keras' own resizing does not.

    Args:
        filters: Integer, the number of output channels.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and leaves out
            the normalization.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: List of float tensors of shape
            `(batch, height, width, channels)`. The first has the size of the
            output.
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

    def __init__(self, filters, num_levels=None, **kwargs):
        super().__init__(num_levels=num_levels, **kwargs)
        self.filters = filters

    def build(self, input_shape):
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

    def call(self, inputs, levels=None):
        height, width = inputs[0].shape[1:3]
        outputs = None
        for x, norm, conv in zip(inputs, self.norms, self.convs, strict=True):
            x = ops.cast(x, self.compute_dtype)
            x = conv(self._normalize(norm, x, levels))
            x = _resize(x, height, width)
            outputs = x if outputs is None else outputs + x
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ChainedResidualPooling(_RefinementLayer):
    """A chain of 5 by 5 pooling and convolution; every link is added up.

    It brings in the surroundings of a pixel. Pooling is average pooling with
    `num_levels`, where zeros outside the image count, and max pooling without.

    Args:
        num_stages: Integer, the length of the chain. Defaults to `2`.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and leaves out
            the normalization.
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

    def __init__(self, num_stages=2, num_levels=None, **kwargs):
        super().__init__(num_levels=num_levels, **kwargs)
        self.num_stages = num_stages

    def build(self, input_shape):
        indices = range(self.num_stages)
        self.norms = [
            self._build_norm(f"norm{index}", input_shape) for index in indices
        ]
        self.convs = [
            self._build_convolution(
                f"conv{index}", input_shape, filters=input_shape[-1]
            )
            for index in indices
        ]

    def call(self, inputs, levels=None):
        pool = _max_pool if self.num_levels is None else _average_pool
        x = ops.elu(ops.cast(inputs, self.compute_dtype))
        path = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            path = conv(pool(self._normalize(norm, path, levels)))
            x = x + path
        return x

    def get_config(self):
        return {**super().get_config(), "num_stages": self.num_stages}


@keras.saving.register_keras_serializable(package="keras_ncsn")
class RefineBlock(_RefinementLayer):
    """Joins the decoder's image with an encoder's, and refines the result.

    Args:
        filters: Integer, the number of output channels. With one input, its
            number of channels.
        num_output_blocks: Integer, the number of residual blocks at the end.
            Defaults to `1`.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level and leaves out
            the normalization.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: List of float tensors of shape
            `(batch, height, width, channels)`. The first has the size of the
            output.
        levels: Float tensor of shape `(batch,)`, see
            `InstanceNormalizationPlus`. Required if, and only if, `num_levels`
            is set.

    Returns:
        A tensor of shape `(batch, height, width, filters)`.

    Example:

    >>> block = RefineBlock(4)
    >>> encoded, decoded = ops.ones((1, 8, 8, 4)), ops.ones((1, 4, 4, 6))
    >>> tuple(block([encoded, decoded]).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def __init__(self, filters, num_output_blocks=1, num_levels=None, **kwargs):
        super().__init__(num_levels=num_levels, **kwargs)
        self.filters = filters
        self.num_output_blocks = num_output_blocks

    def build(self, input_shape):
        output_shape = self.compute_output_shape(input_shape)
        if len(input_shape) == 1 and input_shape[0][-1] != self.filters:
            raise ValueError(
                "`filters` must be the number of channels of a single input. "
                f"Received: filters={self.filters}, "
                f"inputs[0].shape={tuple(input_shape[0])}"
            )
        arguments = {
            "num_levels": self.num_levels,
            "dtype": self.dtype_policy,
        }
        self.adapters = [
            ResidualConvUnit(name=f"adapter{index}", **arguments)
            for index in range(len(input_shape))
        ]
        for adapter, shape in zip(self.adapters, input_shape, strict=True):
            adapter.build(shape)
        self.fusion = None
        if len(input_shape) > 1:
            self.fusion = MultiResolutionFusion(
                self.filters, name="fusion", **arguments
            )
            self.fusion.build(input_shape)
        self.pooling = ChainedResidualPooling(name="pooling", **arguments)
        self.pooling.build(output_shape)
        self.output_unit = ResidualConvUnit(
            num_blocks=self.num_output_blocks, name="output_unit", **arguments
        )
        self.output_unit.build(output_shape)

    def call(self, inputs, levels=None):
        images = [
            adapter(x, levels=levels)
            for adapter, x in zip(self.adapters, inputs, strict=True)
        ]
        x = images[0]
        if self.fusion is not None:
            x = self.fusion(images, levels=levels)
        x = self.pooling(x, levels=levels)
        return self.output_unit(x, levels=levels)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_output_blocks": self.num_output_blocks,
        }


def _average_pool(x):
    # Padded by hand: "same" pooling divides by the pixels inside the image,
    # PyTorch and the authors' weights by 25.
    x = ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return ops.average_pool(x, 5, 1, "valid", data_format="channels_last")


def _max_pool(x):
    return ops.max_pool(x, 5, 1, "same", data_format="channels_last")


def _resize(x, height, width):
    batch_height_width = x.shape[:3]
    _, old_height, old_width = batch_height_width
    if (old_height, old_width) == (height, width):
        return x
    channels = x.shape[-1]
    rows = ops.cast(_interpolation(old_height, height), x.dtype)
    columns = ops.cast(_interpolation(old_width, width), x.dtype)
    # Shaped so that neither product has to transpose the image.
    x = ops.reshape(x, (-1, old_height, old_width * channels))
    x = ops.matmul(rows, x)
    x = ops.reshape(x, (-1, height, old_width, channels))
    return ops.matmul(columns, x)


def _interpolation(old_size, new_size):
    """Returns the matrix of linear interpolation, ends kept in place."""
    position = np.linspace(0, old_size - 1, new_size)[:, None]
    distance = np.abs(position - np.arange(old_size))
    return np.maximum(1 - distance, 0).astype("float32")
