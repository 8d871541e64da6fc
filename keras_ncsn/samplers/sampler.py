"""What all samplers have in common."""

import abc
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream

if TYPE_CHECKING:
    # It imports Keras.
    from keras_ncsn.noise import NoiseSchedule

# Receives the state, the number of steps taken and their total.
Progress: TypeAlias = Callable[[Tensor, int, int], object]

# The most steps: tables and lists have an entry for each.
MAX_STEPS = 10**7
# The limit for a model's own settings, which may come from a stranger's preset.
# The paper's sampler needs a thousand evaluations.
MAX_EVALUATIONS = 10**6


def setting(default: Any, help: str, **marks: Any) -> Any:
    """Returns a field of a sampler, with its help on the command line.

    Args:
        default: The default value.
        help: String, one sentence for `keras-ncsn generate --help`.
        **marks: Further metadata of the field, such as `choices`.

    Returns:
        A `dataclasses.field`.
    """
    return dataclasses.field(default=default, metadata={"help": help, **marks})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler(abc.ABC):
    """A way to draw images from a score function.

    A sampler is a frozen dataclass. Its fields are its settings: plain values
    that a preset can store, each made by `setting`. The constructor checks
    them. To add a sampler, write such a class in a new file, and import it in
    `samplers/__init__.py`.

    Attributes:
        name: String, the sampler's name in presets and on the command line.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def sample(
        self,
        score_fn: ScoreFn,
        schedule: "NoiseSchedule",
        noise: NoiseStream,
        known: Known | None = None,
        on_progress: Progress | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Tensor:
        """Draws a batch.

        Args:
            score_fn: Function that returns the score of noisy images
                image + sigma * z. Its arguments are these images, a float32
                tensor of shape `(batch, ...)`, and sigma, of shape `(batch,)`.
            schedule: A `NoiseSchedule`.
            noise: A `NoiseStream`, or any object with its methods and `shape`.
            known: A `Known`, the pixels that are given. Defaults to `None`.
            on_progress: Function that is called every few steps with the
                state, the number of steps taken and their total. Defaults to
                `None`.
            value_range: Pair of floats, the range of the images, in which
                sampling starts. Defaults to `None`: it starts around 0.

        Returns:
            A float32 tensor of shape `noise.shape`. Raises a
            `FloatingPointError` if sampling diverges.
        """

    @abc.abstractmethod
    def num_evaluations(self, schedule: "NoiseSchedule") -> int:
        """Returns how often `sample` calls the score function.

        Args:
            schedule: A `NoiseSchedule`.

        Returns:
            Integer, the number of function evaluations (NFE) per image.
        """

    def check_schedule(self, schedule: "NoiseSchedule") -> None:  # noqa: B027
        """Raises a `ValueError` unless the settings fit a schedule.

        The settings of most samplers fit any.

        Args:
            schedule: A `NoiseSchedule`.
        """

    def settings(self) -> dict[str, Any]:
        """Returns the settings by name.

        Returns:
            A dictionary. The constructor makes an equal sampler from it.
        """
        return dataclasses.asdict(self)


def check_duration(sampler: Sampler, schedule: Any) -> None:
    """Raises a `ValueError` if a model may not have a sampler as its own.

    Args:
        sampler: A `Sampler`.
        schedule: A `NoiseSchedule`, or a recipe with its `num_levels`.
    """
    count = sampler.num_evaluations(schedule)
    if count > MAX_EVALUATIONS:
        raise ValueError(
            "The sampler of a model must evaluate the network at most "
            f"{MAX_EVALUATIONS:,} times, because `generate` would take days. "
            f"Received: {count:,} evaluations by {sampler}, with "
            f"{schedule.num_levels:,} noise levels. To take so many steps, "
            "pass their number to `generate`."
        )
