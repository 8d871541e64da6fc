"""Steps that go down the ladder: each ends at a noise level of its own."""

from collections.abc import Callable

import lazy_loader
import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor
from keras_ncsn.samplers.calls import calls, padded
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.score_function import ScoreFunction, fill_levels

keras = lazy_loader.load("keras")


def descend(
    score_fn: ScoreFunction,
    loop: Callable[..., Tensor],
    x: Tensor,
    table: np.ndarray,
    noise: NoiseStream,
    known: Known | None,
    monitor: Monitor,
) -> Tensor:
    """Takes the steps of a table, some at a time in a compiled loop.

    Known pixels are overwritten by their noisy values before the first step
    and after each step. Their noise is drawn once per noise level.

    Args:
        score_fn: A `ScoreFunction`.
        loop: Function that takes some steps. Its arguments are those of
            `ladder_steps`.
        x: Float32 array of shape `(batch, ...)`, noise at the first level.
        table: Float array of shape `(steps, columns)`, a row for each step.
            The first column is the noise level at which the score is
            evaluated, and the second the level at which the step ends. The
            others are for `loop`.
        noise: As in `Sampler.sample`.
        known: As in `Sampler.sample`.
        monitor: A `Monitor` of as many steps as there are rows.

    Returns:
        A float32 tensor shaped like `x`.
    """
    known = known or Known.nothing(noise)
    level = table[0, 0]
    target, mask = known.perturb(level, noise)
    x = np.where(mask, target, x)
    for steps in calls(len(table)):
        rows = table[steps]
        targets = []
        for end in rows[:, 1]:
            if end != level:
                level = end
                target, mask = known.perturb(level, noise)
            targets.append(target)
        fresh = noise.normal(len(rows))
        arrays = [
            padded(array, len(table))
            for array in (fresh, rows, np.stack(targets))
        ]
        x = score_fn.run(loop, x, len(rows), *arrays, mask)
        monitor.step(x, rows[-1, 0], len(rows), first=rows[0, 0])
    return x


def ladder_steps(
    score_fn: ScoreFn,
    x: Tensor,
    num_steps: Tensor,
    noise: Tensor,
    table: Tensor,
    targets: Tensor,
    known_mask: Tensor,
) -> Tensor:
    """Returns x after steps x + drift * score + spread * noise.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        num_steps: Integer tensor, the number of steps.
        noise: Float32 tensor of shape `(steps, batch, ...)`, standard normal.
        table: Float32 tensor of shape `(steps, 4)`. A row holds the noise
            level, the level at which the step ends, the drift and the spread.
        targets: Float32 tensor of shape `(steps, ...)`, the known pixels with
            the noise of the level at which the step ends.
        known_mask: Boolean tensor, `True` where a pixel is known.

    Returns:
        A tensor shaped like `x`.
    """
    ops = keras.ops

    def step(index, x):
        sigma, drift, spread = (table[index, column] for column in (0, 2, 3))
        x = x + drift * score_fn(x, fill_levels(x, sigma))
        x = x + spread * noise[index]
        return ops.where(known_mask, targets[index], x)

    return ops.fori_loop(0, num_steps, step, x)


def next_levels(sigmas: np.ndarray) -> np.ndarray:
    """Returns the level at which the step from each noise level ends.

    Args:
        sigmas: Float array of shape `(num_levels,)`, largest first.

    Returns:
        A float array of that shape, which ends with 0.

    Example:

    >>> next_levels(np.array([1.0, 0.5])).tolist()
    [0.5, 0.0]
    """
    return np.append(sigmas[1:], 0.0)
