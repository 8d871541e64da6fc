"""Samples in batches, with a progress bar, from one sampler call each."""

import numpy as np
from keras import ops

from keras_ncsn.progress import make_bar
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream

# A run that takes longer gets a progress bar.
SECONDS_BEFORE_PROGRESS = 2.0


def sample_in_batches(
    sampler,
    shape,
    seed,
    batch_size,
    known=None,
    keep_frames=False,
    verbose="auto",
):
    """Returns samples, drawn in batches of equal size.

    Args:
        sampler: Function of a `NoiseStream`, a `Known` or `None`, and a
            function to report progress to, that returns a batch of images.
        shape: Tuple `(num_images, ...)`, the shape of the result.
        seed: Integer, at least 0.
        batch_size: Integer, the largest batch.
        known: A `Known` of `num_images` images. Defaults to `None`.
        keep_frames: Boolean, whether to keep the states on the way. Defaults
            to `False`.
        verbose: 0 (silent), 1 (a progress bar on long runs) or `"auto"` (one
            where standard error is a terminal). Defaults to `"auto"`.

    Returns:
        A float32 array of the given shape, or, with `keep_frames`, of shape
        `(num_images, frames, ...)`.
    """
    num_images = shape[0]
    num_batches = -(-num_images // batch_size)
    # Batches of one size, the last one filled up, so that one compiled loop
    # serves them all.
    size = -(-num_images // num_batches)
    bar = make_bar(
        None,
        verbose,
        desc="Sampling",
        unit=" steps",
        delay=SECONDS_BEFORE_PROGRESS,
    )
    results = []
    with bar:
        for first in range(0, num_images, size):
            noise = NoiseStream(seed, first, (size, *shape[1:]))
            frames = []

            def report(x, done, total, before=first // size, frames=frames):
                if keep_frames:
                    frames.append(ops.convert_to_numpy(x))
                bar.total = num_batches * total
                bar.update(before * total + done - bar.n)

            batch = known and _slice(known, first, size)
            images = ops.convert_to_numpy(sampler(noise, batch, report))
            if keep_frames:
                frames[-1] = images
                images = np.stack(frames, axis=1)
            results.append(images)
    return np.concatenate(results)[:num_images]


def _slice(known, first, size):
    # Filled up by repeating the last image, as the batch itself is.
    rows = np.minimum(np.arange(first, first + size), len(known.images) - 1)
    mask = known.known_mask
    return Known(known.images[rows], mask[rows] if len(mask) > 1 else mask)
