"""Samples in batches, with a progress bar, from one sampler call each."""

import sys
import time

import numpy as np
from keras import ops

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
    progress = _Progress(num_batches, verbose)
    results = []
    for first in range(0, num_images, size):
        noise = NoiseStream(seed, first, (size, *shape[1:]))
        frames = []

        def report(x, done, total, frames=frames):
            if keep_frames:
                frames.append(ops.convert_to_numpy(x))
            progress.update(done / total)

        batch = known and _slice(known, first, size)
        images = ops.convert_to_numpy(sampler(noise, batch, report))
        progress.next_batch()
        if keep_frames:
            frames[-1] = images
            images = np.stack(frames, axis=1)
        results.append(images)
    progress.close()
    return np.concatenate(results)[:num_images]


def _slice(known, first, size):
    # Filled up by repeating the last image, as the batch itself is.
    rows = np.minimum(np.arange(first, first + size), len(known.images) - 1)
    mask = known.known_mask
    return Known(known.images[rows], mask[rows] if len(mask) > 1 else mask)


class _Progress:
    """A bar on standard error, once a run turns out to be long."""

    def __init__(self, num_batches, verbose):
        self.num_batches = num_batches
        self.batch = 0
        # A log file is no place for a bar, unless asked for.
        wanted = sys.stderr.isatty() if verbose == "auto" else verbose
        self.verbose = bool(wanted)
        self.start = time.monotonic()
        self.shown = None

    def update(self, fraction):
        elapsed = time.monotonic() - self.start
        if not self.verbose or elapsed < SECONDS_BEFORE_PROGRESS:
            return
        fraction = (self.batch + fraction) / self.num_batches
        percent = int(100 * fraction)
        if percent != self.shown:
            self.shown = percent
            left = elapsed / fraction - elapsed
            bar = "=" * (percent // 4)
            sys.stderr.write(
                f"\rSampling [{bar:<25}] {percent:3d}%, {left:.0f} s left "
            )
            sys.stderr.flush()

    def next_batch(self):
        self.batch += 1

    def close(self):
        if self.shown is not None:
            elapsed = time.monotonic() - self.start
            sys.stderr.write(
                f"\rSampling [{'=' * 25}] 100%, {elapsed:.0f} s in all\n"
            )
