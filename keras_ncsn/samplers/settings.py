"""A model's samplers: its own, and its settings of each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_ncsn import samplers
from keras_ncsn.samplers.sampler import Sampler, check_duration
from keras_ncsn.text import one_line

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule


def checked_samplers(
    sampler: Sampler | str,
    sampler_settings: dict[str, dict[str, Any]] | None,
    schedule: "NoiseSchedule",
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Returns a model's sampler settings as plain values, for presets.

    Args:
        sampler: The default sampler, a `Sampler` or its name.
        sampler_settings: Dictionary from names of samplers to settings, or
            `None`.
        schedule: A `NoiseSchedule`.

    Returns:
        The name of the default sampler, and the dictionary of settings. Raises
        a `ValueError` for invalid ones.
    """
    settings = dict(sampler_settings or {})
    if isinstance(sampler, Sampler):
        settings[sampler.name] = sampler.settings()
        sampler = sampler.name
    for name, of_sampler in settings.items():
        if not isinstance(of_sampler, Mapping):
            raise ValueError(
                "`sampler_settings` must map names of samplers to dictionaries "
                f"of settings. Received: {name}={one_line(repr(of_sampler))}"
            )
    default = samplers.make(sampler, settings.get(str(sampler)))
    stored = [samplers.make(name, settings[name]) for name in settings]
    for each in (*stored, default):
        check_duration(each, schedule)
        each.check_schedule(schedule)
    return sampler, settings


def chosen_sampler(
    sampler: Sampler | str | None,
    changes: dict[str, Any],
    default: str,
    sampler_settings: dict[str, dict[str, Any]],
) -> Sampler:
    """Returns the sampler that the arguments of `generate` describe.

    Args:
        sampler: A `Sampler`, which is used unchanged; or a name, which is used
            with the model's settings of that sampler; or `None`, the model's
            own sampler.
        changes: Dictionary of settings that override the model's.
        default: String, the name of the model's own sampler.
        sampler_settings: As in `checked_samplers`, the model's.

    Returns:
        A `Sampler`. Raises a `ValueError` for a `Sampler` with `changes`, and
        for invalid settings.

    Example:

    >>> of_model = {"annealed_langevin": {"steps_per_level": 5}}
    >>> chosen_sampler(None, {"denoise": True}, "annealed_langevin", of_model)
    AnnealedLangevin(steps_per_level=5, step_size=2e-05, denoise=True)
    """
    if isinstance(sampler, Sampler):
        if changes:
            raise ValueError(
                "A `Sampler` must be passed without other settings. Received: "
                f"{changes} and {sampler}. Put them into the sampler, or pass "
                f"sampler={sampler.name!r}."
            )
        return sampler
    name = default if sampler is None else sampler
    return samplers.make(name, sampler_settings.get(str(name), {}) | changes)
