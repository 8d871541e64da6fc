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
from keras_ncsn.samplers.consistent_annealed_sampling import (
    ConsistentAnnealedSampling as ConsistentAnnealedSampling,
)
from keras_ncsn.samplers.ddpm import DDPM as DDPM
from keras_ncsn.samplers.dpm_solver import DPMSolver as DPMSolver
from keras_ncsn.samplers.euler import Euler as Euler
from keras_ncsn.samplers.flow import FlowSampler
from keras_ncsn.samplers.heun import Heun as Heun
from keras_ncsn.samplers.langevin import Langevin as Langevin
from keras_ncsn.samplers.predictor_corrector import (
    PredictorCorrector as PredictorCorrector,
)
from keras_ncsn.samplers.sampler import Sampler as Sampler
from keras_ncsn.text import one_line

NAMES = {
    kind.name: kind
    for kind in sorted(
        {*Sampler.__subclasses__(), *FlowSampler.__subclasses__()}
        - {FlowSampler},
        key=lambda kind: kind.name,
    )
}


def make(name: str, settings: dict[str, Any] | None = None) -> Sampler:
    """Returns a sampler, given its name and settings.

    Args:
        name: String, one of `NAMES`, such as `"annealed_langevin"`.
        settings: Dictionary of settings that differ from the sampler's
            defaults. Defaults to `None`.

    Returns:
        A `Sampler`. Raises a `ValueError` for an unknown sampler or setting,
        and for an invalid value.

    Example:

    >>> make("annealed_langevin", {"steps_per_level": 5})
    AnnealedLangevin(steps_per_level=5, step_size=2e-05, denoise=False)
    """
    check_choice("sampler", name, NAMES)
    settings = settings or {}
    known = [field.name for field in dataclasses.fields(NAMES[name])]
    for setting, value in settings.items():
        if setting not in known:
            raise ValueError(
                f"The sampler {name} has {_list(known)}. "
                f"Received: {one_line(setting)}={one_line(repr(value))}"
            )
    return NAMES[name](**settings)


def _list(settings):
    return f"the settings {', '.join(settings)}" if settings else "no settings"
