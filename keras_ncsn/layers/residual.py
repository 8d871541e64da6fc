"""The residual blocks of the encoder."""

from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.convolution import convolution
from keras_ncsn.layers.normalization import LevelLayer


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ResidualBlock(LevelLayer):
    """Two normalized convolutions, added to a shortcut.

    NCSN halves the feature map only once, so that the score keeps its fine
    detail. Later stages widen their view by dilation instead.

    Args:
        filters: Integer, the number of output channels.
        downsample: Boolean, whether to halve height and width by averaging 2
            by 2 pixels. Both must then be even. Defaults to `False`.
        dilation_rate: Integer, the spacing of the pixels that a convolution
            sees. Must be `1` with `downsample`. Defaults to `1`.
        convolve_shortcut: Boolean, whether the shortcut is a convolution even
            if a copy would have the right shape. Defaults to `False`.
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        levels: Float tensor of shape `(batch,)`, see
            `InstanceNormalizationPlus`. Required if, and only if, `num_levels`
            is set.

    Returns:
        A tensor of shape `(batch, height, width, filters)`, or with
        `downsample` `(batch, height / 2, width / 2, filters)`.

    Example:

    >>> block = ResidualBlock(8, downsample=True)
    >>> tuple(block(ops.ones((1, 8, 8, 4))).shape)
    (1, 4, 4, 8)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Appendix A.
    """

    def __init__(
        self,
        filters: int,
        downsample: bool = False,
        dilation_rate: int = 1,
        convolve_shortcut: bool = False,
        num_levels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_levels=num_levels, **kwargs)
        if downsample and dilation_rate != 1:
            raise ValueError(
                "`dilation_rate` must be 1 in a block that halves the image. "
                f"Received: dilation_rate={dilation_rate}, downsample=True"
            )
        self.filters = filters
        self.downsample = downsample
        self.dilation_rate = dilation_rate
        self.convolve_shortcut = convolve_shortcut

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if self.downsample and (
            (input_shape[1] or 0) % 2 or (input_shape[2] or 0) % 2
        ):
            raise ValueError(
                "`inputs` must have an even height and width to be halved. "
                f"Received: inputs.shape={tuple(input_shape)}"
            )
        arguments = {
            "input_channels": channels,
            "dilation_rate": self.dilation_rate,
            "dtype": self.dtype_policy,
        }
        self.norm1 = self._new_norm("norm1", "elu")
        self.conv1 = convolution(channels, 3, name="conv1", **arguments)
        self.norm2 = self._new_norm("norm2", "elu")
        self.conv2 = convolution(self.filters, 3, name="conv2", **arguments)
        self.shortcut = None
        if self.downsample:
            self.shortcut = convolution(
                self.filters, 1, name="shortcut", **arguments
            )
        elif self.convolve_shortcut or channels != self.filters:
            self.shortcut = convolution(
                self.filters, 3, name="shortcut", **arguments
            )
        parts = self.norm1, self.conv1, self.norm2, self.conv2, self.shortcut
        for layer in parts:
            if layer is not None:
                layer.build(input_shape)

    def call(self, inputs: Tensor, levels: Tensor | None = None) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        x = self.conv1(self.norm1(inputs, levels=levels))
        x = self.conv2(self.norm2(x, levels=levels))
        if self.downsample:
            x = _mean_pool(x)
            # Averaging commutes with a 1 by 1 convolution. Before it, averaging
            # saves three quarters of the convolution's work.
            inputs = _mean_pool(inputs)
        if self.shortcut is not None:
            inputs = self.shortcut(inputs)
        return inputs + x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width = input_shape[1], input_shape[2]
        if self.downsample:
            height, width = height and height // 2, width and width // 2
        return (input_shape[0], height, width, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "downsample": self.downsample,
            "dilation_rate": self.dilation_rate,
            "convolve_shortcut": self.convolve_shortcut,
        }


def _mean_pool(x):
    return ops.average_pool(x, 2, 2, "valid", data_format="channels_last")
