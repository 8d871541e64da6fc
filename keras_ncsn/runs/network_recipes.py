"""Recipes of runs that start from random weights, a class per family."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from keras_ncsn import samplers
from keras_ncsn.checks import check_ladder_ends
from keras_ncsn.networks.sizes import (
    check_refinenet_shape,
    check_refinenet_sizes,
    check_unet_sizes,
)
from keras_ncsn.runs.recipe import (
    DATA,
    NETWORK,
    NOISE,
    OPTIMISATION,
    SAMPLING,
    Recipe,
    setting,
)
from keras_ncsn.runs.recipe_values import (
    ABOVE_0,
    AT_LEAST_0,
    FLAG,
    RATE,
    ROWS,
    SIZE,
    choice,
    integer,
    integers,
)
from keras_ncsn.samplers import NAMES, AnnealedLangevin, Heun
from keras_ncsn.samplers.sampler import MAX_STEPS, check_duration


def _sampler_setting(sampler, name, default, kind, **marks):
    """Returns the field for a field of a sampler, with the sampler's help."""
    help = sampler.__dataclass_fields__[name].metadata["help"]
    help = f"{sampler.name}: {help}"
    return setting(default, help, SAMPLING, kind, sampler=sampler.name, **marks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Recipe):
    """What every recipe has that starts from random weights."""

    NETWORKS: ClassVar[tuple[str, ...]]

    dtype: str | None = "float32"
    sigma_distribution: str = "ladder"
    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.2
    dequantize: bool = setting(
        True, "Add noise of one grey level to images.", DATA, FLAG
    )
    network: str = setting(
        "ncsn", "Kind of network.", NETWORK, choice("unet", "ncsn", "ncsnv2")
    )
    width: int = setting(128, "Channels of the first stage.", NETWORK, SIZE)
    sigma_max: float = setting(1.0, "Largest noise level.", NOISE, ABOVE_0)
    sigma_min: float = setting(0.01, "Smallest noise level.", NOISE, ABOVE_0)
    num_levels: int = setting(
        10, "Noise levels of the ladder.", NOISE, integer(2, 10**6)
    )
    weighting: str = setting(
        "ncsn",
        "How the loss weighs noise levels.",
        NOISE,
        choice("ncsn", "edm"),
    )
    sampler: str = setting(
        "annealed_langevin",
        "Sampler of the preset.",
        SAMPLING,
        choice(*NAMES),
    )
    num_steps: int | None = _sampler_setting(
        Heun, "num_steps", None, integer(2, MAX_STEPS)
    )
    churn: float | None = _sampler_setting(
        Heun, "churn", None, AT_LEAST_0, added=True
    )
    steps_per_level: int = _sampler_setting(
        AnnealedLangevin, "steps_per_level", 100, ROWS
    )
    step_size: float = _sampler_setting(
        AnnealedLangevin, "step_size", 2e-5, ABOVE_0
    )
    denoise: bool = _sampler_setting(AnnealedLangevin, "denoise", False, FLAG)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network not in self.NETWORKS:
            raise ValueError(
                "`network` must be one that the recipe has settings for. "
                f"Received: network={self.network!r}, and the recipe is for "
                f"{' or '.join(self.NETWORKS)}. Choose another recipe."
            )
        check_ladder_ends(self.sigma_max, self.sigma_min)
        for name, settings in self.sampler_settings().items():
            check_duration(samplers.make(name, settings), self)

    def values(self) -> dict[str, Any]:
        """Returns the settings by name, in the order of `GROUPS`."""
        # The recipe lacks a sampler's setting whose value is `None`.
        of_samplers = self._samplers()
        return {
            name: value
            for name, value in super().values().items()
            if value is not None or name not in of_samplers
        }

    def sampler_settings(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of samplers, by name of the sampler."""
        settings: dict[str, dict[str, Any]] = {}
        samplers = self._samplers()
        for name, value in self.values().items():
            if name in samplers:
                settings.setdefault(samplers[name], {})[name] = value
        return settings

    def _samplers(self):
        """Returns the name of the sampler of each setting that has one."""
        return {
            field.name: field.metadata["sampler"]
            for field in dataclasses.fields(self)
            if "sampler" in field.metadata
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCSNRecipe(NetworkRecipe):
    """A recipe for `RefineNet`, the network of NCSN and NCSNv2.

    The defaults are the paper's. The recipe has settings of Heun's method only
    if it is the sampler. Their defaults are those of `Heun`.

    Example:

    >>> NCSNRecipe(sampler="heun").num_steps
    18

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Appendix B.
    """

    NETWORKS = ("ncsn", "ncsnv2")

    def __post_init__(self) -> None:
        if self.sampler == Heun.name:
            defaults = Heun().settings()
            for name, sampler in self._samplers().items():
                if sampler == Heun.name and getattr(self, name) is None:
                    object.__setattr__(self, name, defaults[name])
        super().__post_init__()
        num_levels = self.num_levels if self.network == "ncsn" else None
        check_refinenet_sizes(3, self.width, num_levels)
        if self.image_size is not None:
            check_refinenet_shape((self.image_size, self.image_size, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetRecipe(NetworkRecipe):
    """A recipe for `UNet`, after NCSN++ and EDM.

    Example:

    >>> UNetRecipe(width=32, width_multipliers=(1, 2)).widths
    [32, 64]

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364).
    """

    NETWORKS = ("unet",)

    warmup_steps: int = 2_000
    decay: str = "cosine"
    ema_momentum: float | None = 0.9995
    clip_norm: float | None = 1.0
    adam_epsilon: float = 1e-7
    sigma_distribution: str = "log_normal"
    network: str = "unet"
    sigma_max: float = 80.0
    num_levels: int = 100
    weighting: str = "edm"
    sampler: str = "heun"
    num_steps: int = 18
    churn: float = 0.0
    steps_per_level: int = 5
    step_size: float = 1.1e-5
    denoise: bool = True

    width_multipliers: tuple[int, ...] = setting(
        (1, 2, 2),
        "Channels of each stage of a U-Net, as multiples of the width: 1,2,2.",
        NETWORK,
        integers(16),
    )
    patch_size: int = setting(
        1,
        "Side of the square patches that a U-Net treats as one pixel.",
        NETWORK,
        SIZE,
        added=True,
    )
    num_blocks: int = setting(
        2, "Residual blocks of a stage.", NETWORK, integer(1, 1000)
    )
    attention_stages: tuple[int, ...] = setting(
        (1,),
        "Stages of a U-Net with attention; 0 is the finest: 1,2.",
        NETWORK,
        integers(16),
    )
    num_heads: int = setting(1, "Heads of the attention.", NETWORK, SIZE)
    dropout: float = setting(0.0, "Rate of dropout.", NETWORK, RATE)
    conditional: bool = setting(
        False,
        "Train a network that takes labels. DATA must have labels: an image "
        "set with classes, a folder for each class, or `labels` beside "
        "`images` in an .npz file.",
        DATA,
        FLAG,
        added=True,
    )
    condition_dropout: float = setting(
        0.1,
        "Share of images shown without their label, with --conditional.",
        OPTIMISATION,
        RATE,
        added=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.image_size
        shape = None if size is None else (size, size, 3)
        check_unet_sizes(shape, self.widths, self.patch_size, self.num_blocks)
        stages = list(self.attention_stages)
        if known_stages(self.width_multipliers, stages) != stages:
            raise ValueError(
                "`attention_stages` must be stages of the U-Net, from 0 to "
                f"{len(self.width_multipliers) - 1}, one for each of "
                f"`width_multipliers`. Received: attention_stages={stages}. "
                'Choose others, or none: --attention-stages "".'
            )

    @property
    def widths(self) -> list[int]:
        """List of integers, the channels of each stage."""
        return [self.width * factor for factor in self.width_multipliers]


def known_stages(
    width_multipliers: Sequence[int], attention_stages: Sequence[int]
) -> list[int]:
    """Returns the attention stages that the U-Net has.

    Args:
        width_multipliers: As in `UNetRecipe`.
        attention_stages: Sequence of integers.

    Returns:
        A list of integers.

    Example:

    >>> known_stages(width_multipliers=(1, 2), attention_stages=(1, 2))
    [1]
    """
    return [x for x in attention_stages if 0 <= x < len(width_multipliers)]
