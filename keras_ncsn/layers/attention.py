"""Self-attention between the pixels of a feature map."""

from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_ncsn")
class PixelAttention(keras.layers.Layer):
    """Self-attention: each output pixel depends on all input pixels.

    The softmax is float32 whatever the dtype policy. The cost grows with the
    square of the number of pixels: use it on coarse feature maps.

    Args:
        num_heads: Integer, the number of heads, a divisor of the number of
            channels. Defaults to `1`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.

    Returns:
        A tensor with the shape of `inputs`. It is zero for a new layer, so
        that a residual connection starts as the identity.

    Example:

    >>> tuple(PixelAttention(num_heads=2)(ops.ones((1, 4, 4, 8))).shape)
    (1, 4, 4, 8)

    Reference:

    - [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762);
      [Ho et al., 2020](https://arxiv.org/abs/2006.11239), Appendix B.
    """

    def __init__(self, num_heads: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, inputs_shape: Shape) -> None:
        channels = inputs_shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the number of channels. Received: "
                f"num_heads={self.num_heads}, channels={channels}"
            )
        self.project = keras.layers.Dense(
            3 * channels, dtype=self.dtype_policy, name="project"
        )
        self.merge = keras.layers.Dense(
            channels,
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="merge",
        )
        self.project.build(inputs_shape)
        self.merge.build(inputs_shape)

    def call(self, inputs: Tensor) -> Tensor:
        height, width, channels = inputs.shape[1:]
        pixels, size = height * width, channels // self.num_heads
        heads = ops.reshape(
            self.project(inputs), (-1, pixels, 3, self.num_heads, size)
        )
        query, key, value = ops.unstack(
            ops.transpose(heads, (2, 0, 3, 1, 4)), 3, axis=0
        )
        logits = ops.matmul(query, ops.swapaxes(key, -1, -2))
        logits = ops.cast(logits, "float32") * size**-0.5
        weights = ops.cast(ops.softmax(logits, axis=-1), value.dtype)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.merge(ops.reshape(attended, (-1, height, width, channels)))

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_heads": self.num_heads}
