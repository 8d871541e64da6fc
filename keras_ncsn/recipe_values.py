"""What values a recipe may have, whoever chose them: options, code or a file.

`recipes` has the recipes; whether values fit one another and the images,
`building` knows.
"""

import math
from numbers import Integral, Real

from keras_ncsn.text import one_line


def check_values(settings):
    """Raises a `ValueError` for a value that no recipe has.

    Args:
        settings: Dictionary of values by name; other names than those of
            recipes are let pass.

    Example:

    >>> check_values({"steps": 100, "random_flip": "no"})
    Traceback (most recent call last):
    ...
    ValueError: `random_flip` must be True or False. Received: ...
    """
    for name, value in settings.items():
        if name not in _KINDS or (value is None and name in _OPTIONAL):
            continue
        is_one, words = _KINDS[name]
        if not is_one(value):
            raise ValueError(
                f"`{name}` must be {words}. Received: {name}="
                f"{one_line(repr(value))}"
            )


def _integer(least, most):
    def is_one(value):
        return _is_integer(value) and least <= value <= most

    return is_one, f"an integer from {least} to {most:,}"


def _number(least=-math.inf, below=math.inf, open_=False):
    def is_one(value):
        return (
            _is_number(value)
            and (least < value if open_ else least <= value)
            and value < below
        )

    words = "a finite number"
    if least > -math.inf:
        words += f" {'above' if open_ else 'of at least'} {least}"
    return is_one, words + (f" and below {below}" if below < math.inf else "")


def _choice(*choices):
    def is_one(value):
        return isinstance(value, str) and value in choices

    return is_one, f"one of {', '.join(choices)}"


def _integers(most):
    def is_one(value):
        return (
            isinstance(value, (list, tuple))
            and len(value) <= most
            and all(map(_is_integer, value))
            and all(abs(x) <= 2**16 for x in value)
        )

    return is_one, f"a list of at most {most} integers"


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value):
    # What 32 bits cannot hold is no number to compute with.
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and -1e30 < value < 1e30
    )


_FLAG = (lambda value: isinstance(value, bool)), "True or False"
_SIZE = _integer(1, 2**16)
_ABOVE_ZERO = _number(0, open_=True)

# A test and its words, by name. The most of an integer is what 32 bits hold, in
# which optimizers count, and less where a table has as many rows.
_KINDS = {
    "network": _choice("unet", "ncsn", "ncsnv2"),
    "image_size": _SIZE,
    "width": _SIZE,
    "width_multipliers": _integers(16),
    "patch_size": _SIZE,
    "num_blocks": _integer(1, 1000),
    "attention_stages": _integers(16),
    "num_heads": _SIZE,
    "dropout": _number(0, below=1),
    "sigma_max": _ABOVE_ZERO,
    "sigma_min": _ABOVE_ZERO,
    "num_levels": _integer(2, 10**6),
    "sigma_distribution": _choice("ladder", "log_uniform", "log_normal"),
    "log_sigma_mean": _number(),
    "log_sigma_std": _ABOVE_ZERO,
    "weighting": _choice("ncsn", "edm"),
    "dequantize": _FLAG,
    "random_flip": _FLAG,
    "batch_size": _integer(1, 2**31 - 1),
    "steps": _integer(1, 2**31 - 1),
    "learning_rate": _ABOVE_ZERO,
    "adam_epsilon": _ABOVE_ZERO,
    "warmup_steps": _integer(0, 2**31 - 1),
    "decay": _choice("cosine", "none"),
    "weight_decay": _number(0),
    "clip_norm": _number(0),
    "ema_momentum": _number(0, below=1),
    "dtype": _choice(
        "float32",
        "float16",
        "bfloat16",
        "float64",
        "mixed_float16",
        "mixed_bfloat16",
    ),
    "sampler": _choice("annealed_langevin", "langevin", "heun"),
    "num_steps": _integer(2, 10**7),
    "churn": _number(0),
    "steps_per_level": _integer(1, 10**7),
    "step_size": _ABOVE_ZERO,
    "denoise": _FLAG,
}

# `None`: none, or what the images or the preset have.
_OPTIONAL = {
    "image_size",
    "weight_decay",
    "clip_norm",
    "ema_momentum",
    "dtype",
    "sigma_distribution",
    "log_sigma_mean",
    "log_sigma_std",
}
