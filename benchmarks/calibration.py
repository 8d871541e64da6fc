"""Measures whether methods of posterior sampling draw from the posterior.

The images come from priors whose scores and posteriors are known in closed
form, so only the methods and the samplers are measured, not a network.

    python benchmarks/calibration.py --passes 140
"""

import click
import numpy as np
from exact_priors import (
    Mixture,
    correlated,
    matrix_of,
    score_function_of_each,
)
from keras import ops

from keras_ncsn import operators, posterior, samplers
from keras_ncsn.noise import NoiseSchedule

SCHEDULE = NoiseSchedule.geometric(20.0, 0.01, 35)
LEVELS = 0.5, 0.8, 0.95
# Of the smallest noise level squared: the largest that is still stable.
LANGEVIN_STEP = 3e-5


class Noise:
    """A `NoiseStream` for many images, from one generator."""

    def __init__(self, seed, shape):
        self.shape = shape
        self.rng = np.random.default_rng(seed)

    def normal(self, num_steps=None):
        leading = () if num_steps is None else (num_steps,)
        return self.rng.standard_normal(leading + self.shape, "float32")

    def uniform(self):
        return self.rng.random(self.shape, "float32")


def make_priors():
    """Returns priors by name: normal ones, and mixtures of unequal weights."""
    normal = {
        size: Mixture.normal(
            np.zeros((size,) if size < 48 else (4, 4, 3)), correlated(size)
        )
        for size in (2, 8, 48)
    }
    priors = {f"normal, {size}": prior for size, prior in normal.items()}
    priors["normal, 64"] = Mixture.normal(np.zeros(64), correlated(64))
    for size in (2, 8):
        centre = np.ones(size) / np.sqrt(size)
        priors[f"mixture, {size}"] = Mixture(
            np.array([0.5, 0.3, 0.2]),
            np.array([-1.5 * centre, 0 * centre, 1.5 * centre]),
            np.stack([correlated(size, 0.5, 0.1, seed) for seed in range(3)]),
        )
    return priors


def make_operators(image_shape, seed=0):
    """Returns operators by name that fit images of a shape."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(image_shape))
    matrix = rng.standard_normal((size // 2, size)) / np.sqrt(size)
    known = np.arange(image_shape[0]) % 2 == 0
    fitting = {
        "mask": operators.Mask(known.reshape(-1, *image_shape[1:-1], 1)),
        "compressed sensing": operators.Matrix(matrix),
    }
    if len(image_shape) == 1:
        fitting["mask"] = operators.Mask(known)
    if size == 2:
        return fitting
    kernel = np.array([0.25, 0.5, 0.25])
    some = rng.random(image_shape[:2]) < 0.5
    return fitting | {
        "super-resolution": operators.Downsample(2),
        "deblurring": operators.Blur(
            kernel if len(image_shape) == 1 else np.outer(kernel, kernel)
        ),
        "Fourier": operators.Fourier(some),
        **(
            {"colourisation": operators.Grayscale()}
            if image_shape[-1] == 3
            else {}
        ),
    }


def make_methods(passes, data_std):
    """Returns methods with samplers that take as many passes, by name.

    Args:
        passes: Integer, the passes through the network for each image.
        data_std: Float, the spread of the images, for PiGDM.
    """

    def heun(method):
        evaluations = passes // method.num_passes
        return method, samplers.Heun(num_steps=(evaluations + 1) // 2)

    steps = max(1, passes // SCHEDULE.num_levels)
    langevin = samplers.AnnealedLangevin(
        steps_per_level=steps, step_size=LANGEVIN_STEP, denoise=True
    )
    methods = {
        f"MMPS, {count} iterations": heun(posterior.MMPS(num_iterations=count))
        for count in (1, 2, 3, 5)
    }
    return methods | {
        "PiGDM": heun(posterior.PiGDM()),
        "PiGDM, the spread known": heun(posterior.PiGDM(data_std=data_std)),
        "DPS": heun(posterior.DPS()),
        "DPS, scale 0.1": heun(posterior.DPS(scale=0.1)),
        "Score-ALD": (posterior.ScoreALD(), langevin),
        "replacement": heun(posterior.Replacement()),
    }


def draw(prior, operator, noise_std, method, sampler, measured, count, seed):
    """Returns samples of each image, `(images, count, size)`."""
    score_fn = method.posterior(prior.score_function(), operator)
    repeated = np.repeat(measured, count, axis=0)
    noise = Noise(seed, (len(repeated), *prior.image_shape))
    samples = sampler.sample(
        score_fn.bind(noise_std, repeated), SCHEDULE, noise
    )
    return ops.convert_to_numpy(samples).reshape(len(measured), count, -1)


def draw_exactly(exact, sampler, count, seed):
    """Returns samples by the exact posterior scores, as `draw` does.

    They show the errors of the sampler, which are no errors of a method.
    """
    repeated = [one for one in exact for _ in range(count)]
    score_fn = score_function_of_each(repeated)
    noise = Noise(seed, (len(repeated), *exact[0].image_shape))
    samples = sampler.sample(score_fn, SCHEDULE, noise)
    return ops.convert_to_numpy(samples).reshape(len(exact), count, -1)


def described(sampler):
    """Returns the name of a sampler and its number of steps."""
    settings = sampler.settings()
    steps = settings.get("num_steps", settings.get("steps_per_level"))
    return f"{type(sampler).__name__}, {steps} steps"


def compare(images, samples, exact):
    """Returns how far samples are from exact posteriors, by name.

    Args:
        images: Array of shape `(images, size)`, which were measured.
        samples: Array of shape `(images, count, size)`.
        exact: List of a `Mixture` for each image.
    """
    count = samples.shape[1]
    means = np.stack([one.mean.ravel() for one in exact])
    values, axes = np.linalg.eigh(np.stack([one.covariance for one in exact]))
    # In the axes of each posterior, in which its covariance is 1.
    roots = np.sqrt(values)[:, None]
    white = (samples - means[:, None]) @ axes / roots
    truth = (images - means)[:, None] @ axes / roots
    of_images = white.var(axis=1, ddof=1)
    variances = of_images.mean(axis=0)
    spreads = np.sqrt(variances)
    # Too wide for one image and too narrow for another do not cancel here.
    # It includes what the spread of so few samples is off by chance.
    logs = np.log(np.maximum(of_images, 1e-12)) / 2
    # Without what the means of so few samples are off by chance.
    squares = np.square(white.mean(axis=1)).mean(axis=0) - variances / count
    # Along these axes, because the values of images hide narrow directions.
    ranks = (white < truth).sum(axis=1)
    places = (ranks + 0.5) / (count + 1)
    inside = [np.mean(np.abs(places - 0.5) < level / 2) for level in LEVELS]
    steps = np.arange(1, count + 1) / (count + 1)
    shares = [np.mean(places < step) for step in steps]
    return {
        "mean": np.sqrt(max(0.0, squares.mean())),
        "spread": np.sqrt(np.mean(np.square(spreads - 1))),
        "spread of an image": np.sqrt(np.mean(np.square(logs))),
        "worst": spreads[np.argmax(np.abs(spreads - 1))] - 1,
        "coverage": inside,
        "ranks": np.abs(shares - steps).max(),
    }


def measure(prior, operator, noise_std, methods, num_images, count, seed=0):
    """Yields the name and the result of each method, the exact ones first."""
    rng = np.random.default_rng(seed)
    images = prior.sample(num_images, rng).astype("float32")
    measured = ops.convert_to_numpy(operator(images))
    noise = rng.standard_normal(measured.shape, "float32")
    measured = operator.measured(measured + np.float32(noise_std) * noise)
    matrix = matrix_of(operator, prior.image_shape)
    exact = [
        prior.posterior(matrix, one.ravel().astype("float64"), noise_std)
        for one in measured
    ]
    samples = np.stack([one.sample(count, rng) for one in exact])
    samples = samples.reshape(num_images, count, -1)
    flat = images.reshape(num_images, -1)
    yield "exact posterior", compare(flat, samples, exact)
    for sampler in dict.fromkeys(sampler for _, sampler in methods.values()):
        samples = draw_exactly(exact, sampler, count, seed)
        name = f"exact posterior score, {described(sampler)}"
        yield name, compare(flat, samples, exact)
    for name, (method, sampler) in methods.items():
        if name == "replacement" and not isinstance(operator, operators.Mask):
            continue
        samples = draw(
            prior, operator, noise_std, method, sampler, measured, count, seed
        )
        yield name, compare(flat, samples, exact)


@click.command(help=__doc__)
@click.option("--passes", default=140, show_default=True)
@click.option("--num-images", default=300, show_default=True)
@click.option(
    "--num-samples",
    default=39,
    show_default=True,
    help="With one less than a multiple of 40, the coverage can be exact.",
)
@click.option("--noise-std", default=0.1, show_default=True)
@click.option("--prior", "wanted", multiple=True, help="Default: all.")
@click.option("--method", "chosen", multiple=True, help="Default: all.")
@click.option("--seed", default=0, show_default=True)
def main(passes, num_images, num_samples, noise_std, wanted, chosen, seed):
    click.echo(
        "| prior | operator | method | mean off by | spread off by | spread "
        "of an image off by | worst axis | 50 % | 80 % | 95 % | ranks |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, prior in make_priors().items():
        if wanted and name not in wanted:
            continue
        data_std = float(np.sqrt(np.diag(prior.covariance).mean()))
        methods = {
            method: pair
            for method, pair in make_methods(passes, data_std).items()
            if not chosen or method in chosen
        }
        for kind, operator in make_operators(prior.image_shape).items():
            results = measure(
                *(prior, operator, noise_std, methods),
                *(num_images, num_samples, seed),
            )
            for method, result in results:
                inside = " | ".join(
                    f"{100 * share:.1f}" for share in result["coverage"]
                )
                click.echo(
                    f"| {name} | {kind} | {method} | {result['mean']:.3f} | "
                    f"{result['spread']:.1%} | "
                    f"{result['spread of an image']:.1%} | "
                    f"{result['worst']:+.1%} | "
                    f"{inside} | {result['ranks']:.3f} |"
                )


if __name__ == "__main__":
    main()
