"""RefineNet, the score network of NCSN and NCSNv2."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ncsn import layers
from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.layers.convolution import convolution
from keras_ncsn.networks.score_network import ScoreNetwork
from keras_ncsn.networks.sizes import (
    check_refinenet_shape,
    check_refinenet_sizes,
)
from keras_ncsn.noise import check_sigmas, expand_like


@keras.saving.register_keras_serializable(package="keras_ncsn")
class RefineNet(ScoreNetwork):
    """The score network of NCSN and NCSNv2, an exact reimplementation.

    The encoder has four stages. The second halves the image; the convolutions
    of the third and fourth are dilated by 2 and 4. The decoder has four refine
    blocks, which join each stage with the result of the deeper ones.

    With `sigmas` it is NCSN: every normalization learns one set of weights for
    each noise level. Between two levels of the ladder, these weights are
    interpolated linearly in log(sigma). A noise level outside the ladder is
    clipped to its nearest end. Without `sigmas` it is NCSNv2: the output is
    divided by the noise level, and any noise level is allowed.

    The network maps images from [0, 1] to [-1, 1] itself. With a mixed
    precision `dtype` the first and the last convolution stay in float32: half
    precision would round away the noise of the small levels.

    Args:
        image_shape: Tuple of integers, `(height, width, channels)`, without
            the batch. Height and width must be even.
        width: Integer, at least 2, the number of channels of the first stage;
            the others have twice as many. NCSN uses 64 for MNIST and 128
            otherwise. Defaults to `128`.
        sigmas: Sequence of floats, the noise levels, largest first. Defaults
            to `None`, which builds an NCSNv2.
        blocks_per_stage: Integer, the number of residual blocks in a stage of
            the encoder. Defaults to `2`.
        dtype: Dtype policy of all layers. Defaults to the global one.
        **kwargs: Base model arguments, such as `name`.

    Call arguments:
        inputs: List of two float tensors: noisy images of shape
            `(batch, height, width, channels)` and their noise levels, sigma,
            of shape `(batch,)`.

    Returns:
        The score, a float32 tensor of shape
        `(batch, height, width, channels)`.

    Example:

    >>> network = RefineNet((8, 8, 1), width=4, sigmas=[1.0, 0.1, 0.01])
    >>> score = network([ops.ones((2, 8, 8, 1)), ops.array([0.5, 0.01])])
    >>> tuple(score.shape)
    (2, 8, 8, 1)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Appendix A.
    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Appendix B.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        width: int = 128,
        sigmas: Sequence[float] | np.ndarray | None = None,
        blocks_per_stage: int = 2,
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs: Any,
    ) -> None:
        image_shape = check_refinenet_shape(image_shape)
        if sigmas is not None:
            sigmas = check_sigmas(sigmas).tolist()
        check_refinenet_sizes(
            image_shape[-1],
            width,
            None if sigmas is None else len(sigmas),
            blocks_per_stage,
        )
        dtype = keras.dtype_policies.get(dtype)

        noisy = keras.Input(image_shape, dtype="float32", name="noisy")
        sigma = keras.Input((), dtype="float32", name="sigma")
        x = keras.layers.Rescaling(
            2.0, offset=-1.0, dtype="float32", name="to_symmetric"
        )(noisy)
        x = convolution(
            width, 3, image_shape[-1], dtype="float32", name="begin_conv"
        )(x)
        # Keyword arguments of every layer that may depend on the noise level.
        num_levels: int | None = None
        conditions: dict[str, Tensor] = {}
        if sigmas is not None:
            num_levels = len(sigmas)
            position = LadderPosition(sigmas, dtype="float32", name="position")
            conditions["levels"] = position(sigma)

        stages = []
        for stage, arguments in enumerate(_STAGES, start=1):
            for block in range(blocks_per_stage):
                x = layers.ResidualBlock(
                    width if stage == 1 else 2 * width,
                    num_levels=num_levels,
                    dtype=dtype,
                    name=f"res{stage}_{block}",
                    **_block_arguments(arguments, block),
                )(x, **conditions)
            stages.append(x)

        x = None
        for index, stage in enumerate(reversed(stages), start=1):
            x = layers.RefineBlock(
                2 * width if index <= 2 else width,
                num_output_blocks=3 if index == 4 else 1,
                num_levels=num_levels,
                dtype=dtype,
                name=f"refine{index}",
            )([stage] if x is None else [stage, x], **conditions)

        x = layers.InstanceNormalizationPlus(
            num_levels=num_levels,
            activation="elu",
            dtype="float32",
            name="normalizer",
        )(x, **conditions)
        score = convolution(
            image_shape[-1], 3, width, dtype="float32", name="end_conv"
        )(x)
        if sigmas is None:
            score = DivideBySigma(dtype="float32", name="score")(score, sigma)

        arguments = {
            "image_shape": list(image_shape),
            "width": width,
            "sigmas": sigmas,
            "blocks_per_stage": blocks_per_stage,
        }
        super().__init__([noisy, sigma], score, arguments, dtype, **kwargs)
        self.image_shape = image_shape
        self.sigmas = sigmas
        self.variance_preserving = False
        self.blocks_per_stage = blocks_per_stage


@keras.saving.register_keras_serializable(package="keras_ncsn")
class LadderPosition(keras.layers.Layer):
    """The position of a noise level on the ladder, a float.

    The position of a level of the ladder is exactly its index. Between two
    levels the position is linear in log(sigma). Levels outside the ladder have
    the position of the nearest end.

    Args:
        sigmas: Sequence of floats, the noise levels, largest first.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        sigma: Float tensor of shape `(batch,)`.

    Returns:
        A tensor with the shape of `sigma`, in `[0, len(sigmas) - 1]`.

    Example:

    >>> layer = LadderPosition([1.0, 0.1, 0.01])
    >>> positions = layer(ops.array([1.0, 0.1, 0.05]))
    >>> [round(float(position), 2) for position in positions]
    [0.0, 1.0, 1.3]
    """

    def __init__(
        self, sigmas: Sequence[float] | np.ndarray, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sigmas = [float(sigma) for sigma in sigmas]

    def call(self, sigma: Tensor) -> Tensor:
        log_sigmas = np.log(np.asarray(self.sigmas, dtype="float64"))
        starts, steps = log_sigmas[:-1], -np.diff(log_sigmas)
        log_sigma = ops.log(sigma)[:, None]
        starts = ops.convert_to_tensor(starts, dtype=log_sigma.dtype)
        steps = ops.convert_to_tensor(steps, dtype=log_sigma.dtype)
        climbed = ops.clip((starts - log_sigma) / steps, 0.0, 1.0)
        position = ops.sum(climbed, axis=-1)
        # Rounding of the logarithm moves levels of the ladder off their index.
        nearest = ops.round(position)
        return ops.where(ops.abs(position - nearest) < 1e-4, nearest, position)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sigmas": list(self.sigmas)}


@keras.saving.register_keras_serializable(package="keras_ncsn")
class DivideBySigma(keras.layers.Layer):
    """Divides each image by its noise level, as NCSNv2 does with its scores.

    Args:
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`.
        sigma: Float tensor of shape `(batch,)`.

    Returns:
        A tensor with the shape of `images`.

    Example:

    >>> images = DivideBySigma()(ops.ones((1, 2, 2, 1)), ops.array([0.5]))
    >>> float(images[0, 0, 0, 0])
    2.0
    """

    def call(self, images: Tensor, sigma: Tensor) -> Tensor:
        return images / expand_like(sigma, images)

    def compute_output_shape(
        self, images_shape: Shape, sigma_shape: Shape
    ) -> Shape:
        return images_shape


# The arguments of the residual blocks of each stage of the encoder.
_STAGES: tuple[dict[str, Any], ...] = (
    {},
    {"downsample": True},
    {"dilation_rate": 2, "convolve_shortcut": True},
    {"dilation_rate": 4, "convolve_shortcut": True},
)


def _block_arguments(stage_arguments, block):
    # Only the first block of a stage halves the image or convolves a shortcut.
    if block == 0:
        return stage_arguments
    return {"dilation_rate": stage_arguments.get("dilation_rate", 1)}
