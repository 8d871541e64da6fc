"""Samplers: frozen dataclasses that draw images from a score function.

They know no model. `sampler.sample(score_fn, schedule, noise)` draws a batch.
"""

from typing import Any

from keras_ncsn.checks import check_choice
from keras_ncsn.samplers.annealed_langevin import (
    AnnealedLangevin as AnnealedLangevin,
)
from keras_ncsn.samplers.heun import Heun as Heun
from keras_ncsn.samplers.langevin import Langevin as Langevin
from keras_ncsn.samplers.sampler import Sampler as Sampler

NAMES = {
    kind.name: kind
    for kind in sorted(Sampler.__subclasses__(), key=lambda kind: kind.name)
}


def make(name: str, settings: dict[str, Any] | None = None) -> Sampler:
    """Returns the sampler of a name, as presets and the command line have it.

    Args:
        name: String, `"annealed_langevin"`, `"heun"` or `"langevin"`.
        settings: Dictionary of its settings. Defaults to `None`, its own
            defaults.

    Returns:
        A `Sampler`. A `ValueError` names an unknown sampler or setting, or a
        wrong value.

    Example:

    >>> make("heun", {"num_steps": 12})
    Heun(num_steps=12, churn=0.0, churn_range=(0.05, 50.0))
    """
    check_choice("sampler", name, NAMES)
    settings = settings or {}
    known = NAMES[name].__dataclass_fields__  # type: ignore[attr-defined]
    for setting, value in settings.items():
        if setting not in known:
            raise ValueError(
                f"The sampler {name} has the settings {', '.join(known)}. "
                f"Received: {setting}={value!r}"
            )
    return NAMES[name](**settings)
