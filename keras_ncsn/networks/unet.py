"""A U-Net on continuous noise levels, as the field uses since NCSN++."""

import math
import random
from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import layers

from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import (
    check_above_zero,
    check_count,
    check_finite,
    check_rate,
)
from keras_ncsn.layers.attention import PixelAttention
from keras_ncsn.layers.group_normalization import ModulatedGroupNormalization
from keras_ncsn.networks.condition_inputs import (
    add_condition,
    checked_num_rows,
    make_inputs,
)
from keras_ncsn.networks.preconditioning import (
    NormalizeNoisy,
    RawToScore,
    SigmaFeatures,
)
from keras_ncsn.networks.score_network import ScoreNetwork
from keras_ncsn.networks.sizes import check_unet_sizes


@keras.saving.register_keras_serializable(package="keras_ncsn")
class UNet(ScoreNetwork):
    """A U-Net that estimates the score at any noise level.

    Residual blocks with group normalization lead down to coarse feature maps
    and back up, with skip connections across. The noise level scales and
    shifts the normalized features of each block. Inputs and output are
    preconditioned, so that the blocks see unit variance at every level.

    Noisy images, noise levels, statistics and the last convolution are float32
    whatever the dtype policy.

    Args:
        image_shape: Tuple `(height, width, channels)`. Height and width must
            be divisible by `patch_size`, and by 2 for each stage after the
            first.
        widths: Sequence of integers, the number of channels of each stage,
            finest first. Each further stage halves height and width. Defaults
            to `(32, 64, 64)`.
        patch_size: Integer. The first convolution turns each patch of
            `patch_size` by `patch_size` pixels into one pixel of the features,
            and the last one turns it back. With values above 1 the network is
            much faster for the same widths. Defaults to `1`.
        num_blocks: Integer, the number of residual blocks per stage on the way
            down. On the way up each stage has one more. Defaults to `2`.
        attention_stages: Sequence of integers, the stages (0 is the finest)
            in which attention between pixels follows each block. Defaults to
            `None`, the coarsest stage.
        num_heads: Integer, the number of heads of the attention, a divisor of
            the widths of its stages. Defaults to `1`.
        dropout: Float in [0, 1), the rate of the dropout in each block.
            Defaults to `0.0`.
        data_mean: Float, the mean of the pixels of the data, in the range in
            which noise is added: [-1, 1] if variance preserving. Defaults to
            `0.5`.
        data_std: Float above 0, their standard deviation. Defaults to `0.5`.
        variance_preserving: Boolean, whether the noisy images are scaled by
            1 / sqrt(1 + sigma**2). Defaults to `False`.
        num_classes: Integer, the number of classes of a network that takes
            labels. Defaults to `None`, no labels.
        condition_size: Integer, the length of the vectors of a network that
            takes vectors as conditions, with elements of about unit size.
            Defaults to `None`, no vectors.
        dtype: Dtype policy of all layers. Defaults to the global one.
        **kwargs: Base model arguments, such as `name`.

    Call arguments:
        inputs: List of the noisy images, a float32 tensor of shape
            `(batch, height, width, channels)`; their noise levels, a float32
            tensor of shape `(batch,)`, above 0; and, if the network takes
            them, integer labels of shape `(batch,)`, where `num_classes`
            means "none", or float32 vectors of shape
            `(batch, condition_size)`, where NaN means "none".

    Returns:
        The score, a float32 tensor shaped like the images.

    Example:

    >>> from keras import ops
    >>> network = UNet((8, 8, 1), widths=(8, 8), num_blocks=1)
    >>> tuple(network([ops.ones((2, 8, 8, 1)), ops.ones(2)]).shape)
    (2, 8, 8, 1)

    Reference:

    - [Ho et al., 2020](https://arxiv.org/abs/2006.11239), the blocks;
      [Song et al., 2021](https://arxiv.org/abs/2011.13456), Appendix H;
      [Karras et al., 2022](https://arxiv.org/abs/2206.00364), preconditioning.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        widths: Sequence[int] = (32, 64, 64),
        patch_size: int = 1,
        num_blocks: int = 2,
        attention_stages: Sequence[int] | None = None,
        num_heads: int = 1,
        dropout: float = 0.0,
        data_mean: float = 0.5,
        data_std: float = 0.5,
        variance_preserving: bool = False,
        num_classes: int | None = None,
        condition_size: int | None = None,
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs: Any,
    ) -> None:
        num_rows = checked_num_rows(num_classes, condition_size)
        check_unet_sizes(
            image_shape, widths, patch_size, num_blocks, num_rows or 0
        )
        check_rate(dropout=dropout)
        check_finite(data_mean=data_mean)
        check_above_zero(data_std=data_std)
        if attention_stages is None:
            attention_stages = (len(widths) - 1,)
        _check_attention(attention_stages, num_heads, len(widths))
        inputs = make_inputs(image_shape, num_classes, condition_size)
        noisy, sigma = inputs[:2]
        block = _Blocks(attention_stages, num_heads, dropout, dtype)

        normalized = NormalizeNoisy(data_mean, data_std, variance_preserving)(
            noisy, sigma
        )
        block.embed(inputs, num_rows, widths[0], units=4 * widths[0])

        # The kernel covers a patch and its neighbours, whatever its size.
        patches = {"kernel_size": 3 * patch_size, "strides": patch_size}
        x = _convolution(widths[0], dtype, name="first", **patches)(normalized)
        skips = [x]
        for stage, width in enumerate(widths):
            skips += block.down(skips[-1], width, stage, num_blocks)
        x = block(skips[-1], widths[-1], len(widths) - 1, name="middle")
        for stage in reversed(range(len(widths))):
            x = block.up(x, skips, widths, stage, num_blocks + 1)

        x = _activate(x, dtype, name="last")
        # With strides of 1 both layers are the same, except that the kernels
        # are mirrored.
        last = layers.Conv2DTranspose if patch_size > 1 else layers.Conv2D
        raw = last(
            image_shape[-1],
            padding="same",
            data_format="channels_last",
            kernel_initializer="zeros",
            dtype="float32",
            name="last_convolution",
            **patches,
        )(x)
        score = RawToScore(data_std, variance_preserving)(
            raw, normalized, sigma
        )

        arguments = {
            "image_shape": tuple(image_shape),
            "widths": tuple(widths),
            "patch_size": patch_size,
            "num_blocks": num_blocks,
            "attention_stages": tuple(attention_stages),
            "num_heads": num_heads,
            "dropout": dropout,
            "data_mean": data_mean,
            "data_std": data_std,
            "variance_preserving": variance_preserving,
            "num_classes": num_classes,
            "condition_size": condition_size,
        }
        super().__init__(inputs, score, arguments, dtype, **kwargs)
        self.variance_preserving = variance_preserving
        self.num_classes = num_classes

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> Self:
        # Old presets may list stages that do not exist, which had no effect.
        number = len(config["widths"])
        stages = config.get("attention_stages")
        if stages is not None:
            stages = [stage for stage in stages if 0 <= stage < number]
        return cls(**(config | {"attention_stages": stages}))


class _Blocks:
    """Builds the residual blocks of one network, which share an embedding."""

    def __init__(
        self,
        attention_stages: Sequence[int],
        num_heads: int,
        dropout: float,
        dtype: str | keras.DTypePolicy | None,
    ) -> None:
        self.attention_stages = attention_stages
        self.num_heads = num_heads
        self.dropout = dropout
        self.dtype = dtype
        self.embedding: Tensor = None

    def embed(
        self,
        inputs: Sequence[Tensor],
        num_rows: int | None,
        features: int,
        units: int,
    ) -> None:
        """Embeds the noise level and the condition, for all blocks."""
        x = SigmaFeatures(features, name="sigma_features")(inputs[1])
        x = layers.Dense(units, "silu", dtype=self.dtype, name="embed_0")(x)
        x = add_condition(x, inputs, num_rows, self.dtype)
        x = layers.Dense(units, "silu", dtype=self.dtype, name="embed_1")(x)
        self.embedding = x

    def __call__(self, x: Tensor, width: int, stage: int, name: str) -> Tensor:
        x = self._residual(x, width, name)
        if stage in self.attention_stages:
            x = self._attention(x, f"{name}_attention")
        return x

    def down(
        self, x: Tensor, width: int, stage: int, num_blocks: int
    ) -> list[Tensor]:
        """Returns the output of each layer of a stage, for the way up."""
        outputs = []
        if stage > 0:
            x = _convolution(width, self.dtype, strides=2, name=f"down{stage}")(
                x
            )
            outputs.append(x)
        for index in range(num_blocks):
            x = self(x, width, stage, name=f"down{stage}_{index}")
            outputs.append(x)
        return outputs

    def up(
        self,
        x: Tensor,
        skips: list[Tensor],
        widths: Sequence[int],
        stage: int,
        num_blocks: int,
    ) -> Tensor:
        """Returns the input of the next finer stage; pops from `skips`."""
        for index in range(num_blocks):
            x = layers.Concatenate(dtype=self.dtype)([x, skips.pop()])
            x = self(x, widths[stage], stage, name=f"up{stage}_{index}")
        if stage > 0:
            x = layers.UpSampling2D(
                2, data_format="channels_last", dtype=self.dtype
            )(x)
            x = _convolution(widths[stage - 1], self.dtype, name=f"up{stage}")(
                x
            )
        return x

    def _residual(self, x, width, name):
        shortcut = x
        x = _activate(x, self.dtype, name=f"{name}_0")
        x = _convolution(width, self.dtype, name=f"{name}_0")(x)
        modulation = layers.Dense(
            2 * width, dtype=self.dtype, name=f"{name}_modulation"
        )(self.embedding)
        x = _activate(x, self.dtype, modulation, name=f"{name}_1")
        if self.dropout:
            # Without a seed PyTorch would draw from its global state, which a
            # checkpoint does not hold, so a resumed run would differ.
            seed = random.getrandbits(31)
            x = layers.Dropout(self.dropout, seed=seed, dtype=self.dtype)(x)
        x = _convolution(
            width, self.dtype, kernel_initializer="zeros", name=f"{name}_1"
        )(x)
        if shortcut.shape[-1] != width:
            shortcut = _convolution(
                width, self.dtype, kernel_size=1, name=f"{name}_shortcut"
            )(shortcut)
        return layers.Add(dtype=self.dtype)([shortcut, x])

    def _attention(self, x, name):
        normalized = ModulatedGroupNormalization(
            _groups(x.shape[-1]), dtype=self.dtype, name=f"{name}_norm"
        )(x)
        attended = PixelAttention(self.num_heads, dtype=self.dtype, name=name)(
            normalized
        )
        return layers.Add(dtype=self.dtype)([x, attended])


def _activate(x, dtype, modulation=None, *, name):
    return ModulatedGroupNormalization(
        _groups(x.shape[-1]), "silu", dtype=dtype, name=f"{name}_norm"
    )(x, modulation)


def _convolution(width, dtype, kernel_size=3, *, name, **kwargs):
    return layers.Conv2D(
        width,
        kernel_size,
        padding="same",
        data_format="channels_last",
        dtype=dtype,
        name=f"{name}_convolution",
        **kwargs,
    )


def _groups(channels):
    # At least four channels per group, at most 32 groups, as in NCSN++.
    return math.gcd(channels, max(1, min(32, channels // 4)))


def _check_attention(stages, num_heads, num_stages):
    check_count(num_heads=num_heads)
    if not set(stages) <= set(range(num_stages)):
        raise ValueError(
            "`attention_stages` must be stages of the network, from 0 to "
            f"{num_stages - 1}. Received: attention_stages={tuple(stages)}, "
            f"and {num_stages} `widths`"
        )
