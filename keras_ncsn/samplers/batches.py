"""Samples drawn batch by batch, with a progress bar."""

from collections.abc import Callable

import numpy as np
from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend import full_batch
from keras_ncsn.progress import make_bar
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.sampler import Progress

# Sampling that takes longer shows a progress bar.
SECONDS_BEFORE_PROGRESS = 2.0


def sample_in_batches(
    sampler: Callable[[NoiseStream, np.ndarray, Progress], Tensor],
    shape: tuple[int, ...],
    seed: int,
    batch_size: int,
    keep_frames: bool = False,
    verbose: int | str = "auto",
    desc: str = "Sampling",
) -> np.ndarray:
    """Returns samples, drawn in batches of equal size.

    Args:
        sampler: Function that returns a batch of images. Its arguments are a
            `NoiseStream`, an integer array with the indices of these images,
            and a function that it calls to report progress, as `on_progress`
            of `Sampler.sample`.
        shape: Tuple `(num_images, ...)`, the shape of the result.
        seed: Integer, at least 0.
        batch_size: Integer, the largest batch.
        keep_frames: Boolean, whether to return the intermediate states too.
            Defaults to `False`.
        verbose: 0 (silent), 1 (a progress bar on long runs) or `"auto"` (a
            bar only in a terminal or a notebook). Defaults to `"auto"`.
        desc: String, what the progress bar says. Defaults to `"Sampling"`.

    Returns:
        What `sampler` returns, for all images: a float32 array of the given
        shape, or, with `keep_frames`, of shape
        `(num_images, frames, ...)`.
    """
    num_images = shape[0]
    num_batches = -(-num_images // batch_size)
    # All batches have one size, so that one compiled loop serves them all. The
    # last batch is padded.
    size = full_batch(-(-num_images // num_batches))
    bar = make_bar(
        None,
        verbose,
        desc=desc,
        unit=" steps",
        delay=SECONDS_BEFORE_PROGRESS,
    )
    results = []
    with bar:
        for first in range(0, num_images, size):
            noise = NoiseStream(seed, first, (size, *shape[1:]))
            frames: list[np.ndarray] = []

            def report(x, done, total, before=first // size, frames=frames):
                if keep_frames:
                    frames.append(ops.convert_to_numpy(x))
                bar.total = num_batches * total
                bar.update(before * total + done - bar.n)

            # The last image pads the last batch.
            rows = np.minimum(np.arange(first, first + size), num_images - 1)
            images = ops.convert_to_numpy(sampler(noise, rows, report))
            if keep_frames:
                frames[-1] = images
                images = np.stack(frames, axis=1)
            results.append(images)
    return np.concatenate(results)[:num_images]
