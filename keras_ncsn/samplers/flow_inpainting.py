"""Inpainting along the probability flow, with noise added back at each step."""

import itertools
import math
from collections.abc import Sequence

import lazy_loader

from keras_ncsn.annotations import Tensor
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.monitor import Monitor
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.score_function import (
    ScoreFunction,
    flow_slope,
)

keras = lazy_loader.load("keras")

# Each step first raises the noise level by this factor.
RAISE = 2.0


def inpaint_along_flow(
    score_fn: ScoreFunction,
    sigmas: Sequence[float],
    x: Tensor,
    noise: NoiseStream,
    known: Known,
    monitor: Monitor,
) -> Tensor:
    """Completes images of which some pixels are known.

    The flow settles what it draws early, while noise still hides the known
    pixels, and it never corrects itself. Therefore each step first doubles the
    noise level, then puts the known pixels into the denoised image, and then
    lowers the noise level with fresh noise, as DDPM does. A step takes one
    evaluation.

    Args:
        score_fn: A `ScoreFunction`.
        sigmas: List of floats, the noise levels, largest first.
        x: Float32 tensor of shape `(batch, ...)`, noise at the first level.
        noise: As in `Sampler.sample`.
        known: A `Known`.
        monitor: A `Monitor` of as many steps as there are levels.

    Returns:
        A float32 tensor shaped like `x`.

    Reference:

    - [Ho et al., 2020](https://arxiv.org/abs/2006.11239), the step to
      lower noise;
      [Lugmayr et al., 2022](https://arxiv.org/abs/2201.09865), RePaint, which
      also adds noise back.
    """
    ops = keras.ops
    given = ops.convert_to_tensor(known.images, "float32")
    is_known = ops.convert_to_tensor(known.known_mask)

    def normal():
        return ops.convert_to_tensor(noise.normal())

    for sigma, next_sigma in itertools.pairwise(sigmas):
        # The network has not learned levels above the first.
        raised = min(RAISE * sigma, sigmas[0])
        x = x + math.sqrt(raised**2 - sigma**2) * normal()
        clean = x - raised * score_fn.run(flow_slope, x, raised)
        clean = ops.where(is_known, given, clean)
        # Draws the image at the next level, given the image at the current
        # level and the clean image.
        kept = (next_sigma / raised) ** 2
        x = clean + kept * (x - clean)
        x = x + next_sigma * math.sqrt(1.0 - kept) * normal()
        monitor.step(x, raised)
    x = x - sigmas[-1] * score_fn.run(flow_slope, x, sigmas[-1])
    monitor.step(x, sigmas[-1])
    return monitor.finish(x)
