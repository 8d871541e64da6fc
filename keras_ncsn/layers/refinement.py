"""The refine blocks of the decoder, from RefineNet."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.fusion import MultiResolutionFusion
from keras_ncsn.layers.pooling import ChainedResidualPooling
from keras_ncsn.layers.residual_unit import RefinementLayer, ResidualConvUnit


@keras.saving.register_keras_serializable(package="keras_ncsn")
class RefineBlock(RefinementLayer):
    """Joins feature maps of the encoder and decoder, and refines the result.

    Args:
        filters: Integer, the number of output channels. A single input must
            have as many.
        num_output_blocks: Integer, the number of residual blocks at the end.
            Defaults to `1`.
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

    >>> block = RefineBlock(4)
    >>> encoded = keras.ops.ones((1, 8, 8, 4))
    >>> decoded = keras.ops.ones((1, 4, 4, 6))
    >>> tuple(block([encoded, decoded]).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def __init__(
        self,
        filters: int,
        num_output_blocks: int = 1,
        num_levels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_levels=num_levels, **kwargs)
        self.filters = filters
        self.num_output_blocks = num_output_blocks

    def build(self, input_shape: Sequence[Shape]) -> None:
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

    def call(
        self, inputs: Sequence[Tensor], levels: Tensor | None = None
    ) -> Tensor:
        images = [
            adapter(x, levels=levels)
            for adapter, x in zip(self.adapters, inputs, strict=True)
        ]
        x = images[0]
        if self.fusion is not None:
            x = self.fusion(images, levels=levels)
        x = self.pooling(x, levels=levels)
        return self.output_unit(x, levels=levels)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return (*input_shape[0][:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_output_blocks": self.num_output_blocks,
        }
