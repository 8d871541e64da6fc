"""Inpainting along the probability flow, with noise added back at each step."""

import itertools
import math

import lazy_loader

from keras_ncsn.samplers.score_function import flow_slope

keras = lazy_loader.load("keras")

# How many times its level the noise is raised to before each step.
RAISE = 2.0


def inpaint_along_flow(score_fn, sigmas, x, noise, known, report):
    """Completes images of which some pixels are known.

    The flow decides early what it draws, while noise still hides the known
    pixels, and never reconsiders. So each step first raises the noise to twice
    its level, puts the known pixels into the denoised image, and comes down
    from there with fresh noise, as DDPM does. A step takes one evaluation.

    Args:
        score_fn: A `ScoreFunction`.
        sigmas: List of floats, the noise levels, largest first.
        x: Float32 tensor of shape `(batch, ...)`, noise of the first level.
        noise: As in `Sampler.sample`.
        known: A `Known`.
        report: Function of the state, the number of steps taken and their
            total.

    Returns:
        A float32 tensor shaped like `x`.

    Reference:

    - [Ho et al., 2020](https://arxiv.org/abs/2006.11239), the step down;
      [Lugmayr et al., 2022](https://arxiv.org/abs/2201.09865), RePaint, which
      adds noise back too.
    """
    ops = keras.ops
    given = ops.convert_to_tensor(known.images, "float32")
    is_known = ops.convert_to_tensor(known.known_mask)

    def normal():
        return ops.convert_to_tensor(noise.normal())

    for index, (sigma, next_sigma) in enumerate(itertools.pairwise(sigmas)):
        # The network does not know what lies above the first level.
        raised = min(RAISE * sigma, sigmas[0])
        x = x + math.sqrt(raised**2 - sigma**2) * normal()
        clean = x - raised * score_fn.run(flow_slope, x, raised)
        clean = ops.where(is_known, given, clean)
        # A draw of the image at the next level, given it now and clean.
        kept = (next_sigma / raised) ** 2
        x = clean + kept * (x - clean)
        x = x + next_sigma * math.sqrt(1.0 - kept) * normal()
        report(x, index + 1, len(sigmas))
    x = x - sigmas[-1] * score_fn.run(flow_slope, x, sigmas[-1])
    report(x, len(sigmas), len(sigmas))
    return x
