"""Why noise? Four pictures in two dimensions.

The score is the gradient of the log density. It points to regions of high
density. Langevin dynamics follows the score and adds a little noise at each
step: after enough steps, any starting point becomes a sample. With a learned
score, two things go wrong (Song and Ermon, 2019, Section 3):

1. Where there is no data, there is nothing to learn from. The score is wrong
   there, but sampling often starts there.
2. The score does not tell how much of the data a mode holds. Around one mode
   it is the same, however large the other mode is. How Langevin dynamics
   divides the points among the modes depends on where they start, even if the
   score is exact.

Noise solves both problems. Large noise spreads the data over the whole plane,
so that the score is learned everywhere, and merges the modes into one.
Annealing then reduces the noise level by level, and the points stay where the
data is.

The data is the paper's mixture, one fifth at (-5, -5) and four fifths at
(5, 5). The pictures are the paper's Figures 2 and 3, and a film. They need
matplotlib (`pip install matplotlib`) and take about a minute:

    python examples/why_noise_2d.py pictures
"""

import pathlib

import click
import keras
import numpy as np
from keras import ops
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import keras_ncsn
from keras_ncsn.samplers.noise_stream import NoiseStream

MEANS = np.array([[-5, -5], [5, 5]], "float32")
WEIGHTS = np.array([0.2, 0.8])
LADDER = keras_ncsn.NoiseSchedule.geometric(20.0, 0.3, num_levels=20)
SIGMA_MAX, SIGMA_MIN = LADDER.sigma_max, LADDER.sigma_min
# A schedule has at least two levels. These two are almost equal.
ONE_LEVEL = keras_ncsn.NoiseSchedule([1.001 * SIGMA_MIN, SIGMA_MIN])
# Langevin steps of 0.1 sigma**2, small compared with the noise at each level.
STEP_SIZE = 0.1 * SIGMA_MIN**2
STEPS_PER_LEVEL = 50
BATCH_SIZE = 512


def main(output, steps=2000, num_samples=1280, seed=0):
    """Draws the pictures into the folder `output`.

    Returns the share of samples at (-5, -5) for each way to sample.
    """
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    draw_scores(output / "scores.png")

    keras.utils.set_random_seed(seed)
    alone = train(ONE_LEVEL, steps)
    ladder = train(LADDER, steps)
    draw_errors(output / "errors.png", alone, ladder)

    trajectory = ladder.generate(
        num_samples,
        seed,
        batch_size=num_samples,
        return_trajectory=True,
        steps_per_level=STEPS_PER_LEVEL,
        step_size=STEP_SIZE,
    )
    samples = {
        "data": sample_mixture(num_samples, seed),
        "Langevin, exact score": run_langevin(true_score, num_samples, seed),
        "Langevin, network": run_langevin(
            as_function(alone), num_samples, seed
        ),
        "annealed Langevin, network": trajectory[:, -1],
    }
    draw_samples(output / "samples.png", samples)
    draw_film(output / "annealing.gif", trajectory)

    parts = {name: part_at_first(points) for name, points in samples.items()}
    print(f"{'part at (-5, -5), truth':>26}: {WEIGHTS[0]:.2f}")
    for name, part in parts.items():
        print(f"{name:>26}: {part:.2f}")
    return parts


def sample_mixture(num_points, seed):
    rng = np.random.default_rng(seed)
    modes = rng.choice(len(WEIGHTS), size=num_points, p=WEIGHTS)
    return MEANS[modes] + rng.standard_normal((num_points, 2), "float32")


def log_density(x, sigma):
    """Returns the log density at noise level sigma, in total and per mode."""
    variance = 1.0 + ops.square(sigma)[:, None]
    squares = ops.sum(ops.square(ops.subtract(x[:, None], MEANS)), axis=-1)
    log_weights = ops.log(ops.convert_to_tensor(WEIGHTS, "float32"))
    each = log_weights - squares / (2.0 * variance) - ops.log(variance)
    return ops.logsumexp(each, axis=-1), each


def true_score(x, sigma):
    _, each = log_density(x, sigma)
    mean = ops.matmul(ops.softmax(each), MEANS)
    return (mean - x) / (1.0 + ops.square(sigma)[:, None])


def train(schedule, steps):
    """Returns a model that knows the noise levels of a schedule."""
    # Mean and spread of the mixture's coordinates.
    network = keras_ncsn.networks.MLP(data_mean=3.0, data_std=4.1)
    model = keras_ncsn.NCSNModel(network, schedule, value_range=None)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate))
    points = sample_mixture(steps * BATCH_SIZE, seed=1)
    model.fit(points, batch_size=BATCH_SIZE, verbose=0)
    return model


def as_function(model):
    return lambda x, sigma: model([x, sigma])


def run_langevin(score_fn, num_samples, seed):
    """Runs plain Langevin dynamics from random points of the square."""
    sampler = keras_ncsn.samplers.Langevin(
        num_steps=STEPS_PER_LEVEL * LADDER.num_levels, step_size=STEP_SIZE
    )
    points = sampler.sample(
        score_fn,
        ONE_LEVEL,
        NoiseStream(seed, first=0, shape=(num_samples, 2)),
        value_range=(-8.0, 8.0),
    )
    return ops.convert_to_numpy(points)


def part_at_first(points):
    return float(np.mean(points.sum(axis=-1) < 0))


def draw_scores(path):
    figure, axes = new_figure(1, 3)
    for axis, sigma in zip(axes[0], (0.0, 3.0, SIGMA_MAX), strict=True):
        axis.set_title(f"score at $\\sigma$ = {sigma:g}")
        show_density(axis, sigma)
        show_arrows(axis, on_square(true_score, sigma, 17))
    figure.savefig(path)


def draw_errors(path, alone, ladder):
    figure, axes = new_figure(3, 3)
    rows = [
        ("trained at this level alone", alone, SIGMA_MIN),
        ("trained at all levels", ladder, 3.0),
        ("trained at all levels", ladder, SIGMA_MAX),
    ]
    for (left, middle, right), (name, model, sigma) in zip(
        axes, rows, strict=True
    ):
        left.set_title(f"true score at $\\sigma$ = {sigma:.2g}")
        show_density(left, sigma)
        show_arrows(left, on_square(true_score, sigma, 17))
        middle.set_title(f"network, {name}")
        show_density(middle, sigma)
        show_arrows(middle, on_square(as_function(model), sigma, 17))
        right.set_title("error / typical score")
        truth = on_square(true_score, sigma, 101)
        error = on_square(as_function(model), sigma, 101) - truth
        typical = np.sqrt(np.mean(np.sum(truth**2, axis=-1)))
        picture = right.imshow(
            np.linalg.norm(error, axis=-1) / typical,
            origin="lower",
            extent=(-8, 8, -8, 8),
            cmap="magma",
            vmin=0,
            vmax=1,
        )
        figure.colorbar(picture, ax=right, shrink=0.8)
    figure.savefig(path)


def draw_samples(path, samples):
    figure, axes = new_figure(1, len(samples))
    for axis, (name, points) in zip(axes[0], samples.items(), strict=True):
        axis.set_title(f"{name}\n{part_at_first(points):.0%} at (-5, -5)")
        axis.scatter(*points.T, s=5, alpha=0.5, linewidths=0)
    figure.savefig(path)


def draw_film(path, trajectory):
    figure, axes = new_figure(1, 1)
    axis = axes[0, 0]
    axis.set(xlim=(-20, 20), ylim=(-20, 20))
    canvas = FigureCanvasAgg(figure)
    dots = axis.scatter([], [], s=4, alpha=0.5, linewidths=0)
    states = np.moveaxis(trajectory, 1, 0)
    sigmas = np.repeat(LADDER.sigmas, len(states) // LADDER.num_levels)
    frames = []
    for points, sigma in zip(states, sigmas, strict=True):
        axis.set_title(f"annealed Langevin, $\\sigma$ = {sigma:.2f}")
        dots.set_offsets(points)
        canvas.draw()
        frames.append(np.array(canvas.buffer_rgba())[..., :3])
    frames = keras_ncsn.images.to_floats(frames)
    keras_ncsn.images.save_gif(frames, path, seconds=8.0)


def new_figure(rows, columns):
    figure = Figure(figsize=(4 * columns, 4.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xlim=(-8, 8), ylim=(-8, 8), aspect="equal")
    return figure, axes


def on_square(function, sigma, num_points):
    """Returns the values of a score or density function on a grid."""
    coordinates = np.linspace(-8, 8, num_points, dtype="float32")
    points = np.stack(np.meshgrid(coordinates, coordinates), axis=-1)
    points = ops.convert_to_tensor(points.reshape(-1, 2))
    values = function(points, ops.full((len(points),), sigma))
    values = ops.convert_to_numpy(values)
    return values.reshape(num_points, num_points, *values.shape[1:])


def show_density(axis, sigma):
    density = np.exp(on_square(lambda x, s: log_density(x, s)[0], sigma, 101))
    axis.imshow(
        density, origin="lower", extent=(-8, 8, -8, 8), cmap="Oranges", vmin=0
    )


def show_arrows(axis, vectors):
    coordinates = np.linspace(-8, 8, len(vectors))
    axis.quiver(coordinates, coordinates, *np.moveaxis(vectors, -1, 0))


@click.command(help=__doc__)
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option("--steps", default=2000, show_default=True, help="Of training.")
@click.option("--num-samples", default=1280, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
