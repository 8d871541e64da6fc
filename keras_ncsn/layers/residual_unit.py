"""The residual blocks of a refine block, and the base of all its layers.

With `num_levels` a layer is that of NCSN, with conditional normalization
before each convolution. Without, it is that of NCSNv2, without normalization.
"""

from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.convolution import convolution
from keras_ncsn.layers.normalization import LevelLayer


class RefinementLayer(LevelLayer):
    """A layer of convolutions, with normalization if `num_levels` is set.

    Args:
        num_levels: As in `LevelLayer`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.
    """

    def _build_norm(self, name, input_shape, activation=None):
        if self.num_levels is None:
            return None
        norm = self._new_norm(name, activation)
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
class ResidualConvUnit(RefinementLayer):
    """Residual blocks, each of two ELUs and two 3 by 3 convolutions.

    Args:
        num_blocks: Integer, the number of residual blocks. Defaults to `2`.
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

    >>> unit = ResidualConvUnit(num_blocks=1)
    >>> tuple(unit(ops.ones((1, 8, 8, 4))).shape)
    (1, 8, 8, 4)

    Reference:

    - [Lin et al., 2017](https://arxiv.org/abs/1611.06612), Section 3.2.
    """

    def __init__(
        self,
        num_blocks: int = 2,
        num_levels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_levels=num_levels, **kwargs)
        self.num_blocks = num_blocks

    def build(self, input_shape: Shape) -> None:
        indices = range(2 * self.num_blocks)
        self.norms = [
            self._build_norm(f"norm{index}", input_shape, "elu")
            for index in indices
        ]
        self.convs = [
            self._build_convolution(
                f"conv{index}", input_shape, filters=input_shape[-1]
            )
            for index in indices
        ]

    def call(self, inputs: Tensor, levels: Tensor | None = None) -> Tensor:
        x = ops.cast(inputs, self.compute_dtype)
        for index, (norm, conv) in enumerate(
            zip(self.norms, self.convs, strict=True)
        ):
            if index % 2 == 0:
                residual = x
            x = ops.elu(x) if norm is None else norm(x, levels=levels)
            x = conv(x)
            if index % 2 == 1:
                x = x + residual
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_blocks": self.num_blocks}
