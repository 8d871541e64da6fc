"""A model's own samplers and their settings."""

import pytest

from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers import AnnealedLangevin, Heun
from keras_ncsn.samplers.settings import checked_samplers, chosen_sampler

OF_MODEL = {"heun": {"num_steps": 5}}


@pytest.mark.parametrize(
    ("sampler", "changes", "expected"),
    [
        (None, {}, AnnealedLangevin()),
        (None, {"step_size": 1e-6}, AnnealedLangevin(step_size=1e-6)),
        ("heun", {}, Heun(num_steps=5)),
        ("heun", {"churn": 2.0}, Heun(num_steps=5, churn=2.0)),
        ("heun", {"num_steps": 7}, Heun(num_steps=7)),
    ],
)
def test_settings_override_those_of_the_model(sampler, changes, expected):
    chosen = chosen_sampler(sampler, changes, "annealed_langevin", OF_MODEL)
    assert chosen == expected


def test_a_sampler_is_used_unchanged(make_model):
    heun = Heun(churn=1.0)
    assert chosen_sampler(heun, {}, "annealed_langevin", OF_MODEL) is heun
    with pytest.raises(ValueError, match=r"other settings.*num_steps.*Heun\("):
        make_model().generate(1, sampler=heun, num_steps=3)


@pytest.mark.parametrize("default", ["heun", "langevin"])
def test_settings_of_each_sampler_must_fit_the_schedule(default):
    settings = {"langevin": {"sigma": 7.0}}
    with pytest.raises(ValueError, match=r"within the schedule.*sigma=7\.0"):
        checked_samplers(default, settings, NoiseSchedule.geometric())
