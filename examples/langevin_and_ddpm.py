"""Draws with one network by annealed Langevin dynamics and by DDPM.

With a thousand noise levels and one step at each, annealed Langevin dynamics
(Song and Ermon, 2019) and DDPM (Ho et al., 2020) do almost the same. To first
order, a step of DDPM is one Langevin step and one step along the probability
flow. The flow follows the noise as it shrinks; Langevin dynamics alone lags
behind it, and relies on small changes from level to level.

    python examples/langevin_and_ddpm.py digits.png

The noise levels are DDPM's own, as far as the network knows them: 850 of them
for `mnist`. Left of the white column are images by annealed Langevin dynamics,
right of it by DDPM. Both draw digits.
"""

import click
import numpy as np

import keras_ncsn
from keras_ncsn.images import save_grid, to_unit_range
from keras_ncsn.noise import variance_preserving_sigmas
from keras_ncsn.samplers import DDPM, AnnealedLangevin

# Langevin steps of 0.2 * sigma**2, as in NCSN.
SHARE = 0.2


def main(output, preset="mnist", num_levels=1000, num_rows=4, seed=0):
    """Writes the picture `output` and returns the images of each sampler."""
    model = keras_ncsn.NCSNModel.from_preset(preset)
    model.schedule = ladder = ddpm_ladder(model, num_levels)
    langevin = AnnealedLangevin(
        steps_per_level=1, step_size=SHARE * ladder.sigma_min**2, denoise=True
    )
    images = {}
    for sampler in (langevin, DDPM()):
        images[sampler.name] = to_unit_range(
            model.generate(num_rows**2, seed=seed, sampler=sampler),
            model.value_range,
        )
        evaluations = sampler.num_evaluations(ladder)
        print(f"{sampler.name}: {evaluations} evaluations")
    pictures = side_by_side(*images.values(), num_rows)
    save_grid(pictures, output, columns=2 * num_rows + 1)
    return images


def ddpm_ladder(model, num_levels):
    """Returns DDPM's noise levels, as far as they lie within a schedule."""
    schedule = model.schedule
    sigmas = variance_preserving_sigmas(num_levels=num_levels)
    if not schedule.variance_preserving:
        # DDPM's are relative to images in [-1, 1].
        low, high = model.value_range
        sigmas = sigmas * (high - low) / 2
    known = (sigmas <= schedule.sigma_max) & (sigmas >= schedule.sigma_min)
    return keras_ncsn.NoiseSchedule(sigmas[known], schedule.variance_preserving)


def side_by_side(left, right, num_rows):
    """Returns rows of images with a white one in the middle."""
    shape = left.shape[1:]
    rows = [x.reshape(num_rows, num_rows, *shape) for x in (left, right)]
    white = np.ones((num_rows, 1, *shape), "float32")
    rows = np.concatenate([rows[0], white, rows[1]], axis=1)
    return rows.reshape(-1, *shape)


@click.command(help=__doc__)
@click.argument("output", type=click.Path(dir_okay=False))
@click.option(
    "--preset", default="mnist", show_default=True, help="Name or folder."
)
@click.option("--num-levels", default=1000, show_default=True)
@click.option("--num-rows", default=4, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
