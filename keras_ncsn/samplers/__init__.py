"""Samplers: frozen dataclasses that draw images from a score function.

`sampler.sample(score_fn, schedule, noise)` draws a batch. A sampler needs no
model.
"""

import dataclasses
from typing import Any

from keras_ncsn.checks import check_choice
from keras_ncsn.samplers.annealed_langevin import (
    AnnealedLangevin as AnnealedLangevin,
)
from keras_ncsn.samplers.heun import Heun as Heun
from keras_ncsn.samplers.langevin import Langevin as Langevin
from keras_ncsn.samplers.sampler import Sampler as Sampler
from keras_ncsn.text import one_line

NAMES = {
    kind.name: kind
    for kind in sorted(Sampler.__subclasses__(), key=lambda kind: kind.name)
}


def make(name: str, settings: dict[str, Any] | None = None) -> Sampler:
    """Returns a sampler, given its name and settings.

    Args:
        name: String, `"annealed_langevin"`, `"heun"` or `"langevin"`.
        settings: Dictionary of settings that differ from the sampler's
            defaults. Defaults to `None`.

    Returns:
        A `Sampler`. Raises a `ValueError` for an unknown sampler or setting,
        and for an invalid value.

    Example:

    >>> make("heun", {"num_steps": 12})
    Heun(num_steps=12, churn=0.0, churn_range=(0.05, 50.0))
    """
    check_choice("sampler", name, NAMES)
    settings = settings or {}
    known = [field.name for field in dataclasses.fields(NAMES[name])]
    for setting, value in settings.items():
        if setting not in known:
            raise ValueError(
                f"The sampler {name} has the settings {', '.join(known)}. "
                f"Received: {one_line(setting)}={one_line(repr(value))}"
            )
    return NAMES[name](**settings)
