"""What all samplers have in common."""

import abc
import dataclasses
from typing import Any, ClassVar

# The most steps: tables and lists have an entry for each.
MAX_STEPS = 10**7


def setting(default: Any, help: str) -> Any:
    """Returns a field of a sampler, with what the command line says of it.

    Args:
        default: The default value.
        help: String, one sentence for `keras-ncsn generate --help`.

    Returns:
        A `dataclasses.field`.
    """
    return dataclasses.field(default=default, metadata={"help": help})


class Sampler(abc.ABC):
    """A way to draw images from a score function.

    A sampler is a frozen dataclass. Its fields, made by `setting`, are its
    settings: plain numbers that a preset can store. The constructor checks
    them. A new sampler is a new file with such a class, and a line in
    `samplers/__init__.py`.

    Attributes:
        name: String, what presets and the command line call the sampler.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def sample(
        self,
        score_fn,
        schedule,
        noise,
        known=None,
        on_progress=None,
        value_range=None,
    ):
        """Draws a batch.

        Args:
            score_fn: Function of x, a float32 tensor of shape `(batch, ...)`,
                and sigma, of shape `(batch,)`: the score of x + sigma * z.
            schedule: A `NoiseSchedule`.
            noise: A `NoiseStream`, or any object with its methods and `shape`.
            known: A `Known`, the pixels that are given. Defaults to `None`.
            on_progress: Function of the state, the number of steps taken and
                their total, called now and then. Defaults to `None`.
            value_range: Pair of floats, the range of the images, around which
                sampling starts. Defaults to `None`, around 0.

        Returns:
            A float32 tensor of shape `noise.shape`.
        """

    @abc.abstractmethod
    def num_evaluations(self, schedule) -> int:
        """Returns how often `sample` calls the score function.

        Args:
            schedule: A `NoiseSchedule`.

        Returns:
            Integer, the number of function evaluations (NFE) an image.
        """

    def settings(self) -> dict[str, Any]:
        """Returns the settings by name.

        Returns:
            A dictionary that makes an equal sampler.
        """
        return dataclasses.asdict(self)  # type: ignore[call-overload]
