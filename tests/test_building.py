"""From recipes to models and optimizers."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from keras_ncsn import cli
from keras_ncsn.runs import building, recipes
from keras_ncsn.samplers import Heun


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_build_the_models_that_they_describe(name):
    printed = CliRunner().invoke(cli.cli, ["train", "--show-recipe", name])
    recipe = recipes.find(name)
    for setting, value in recipe.values().items():
        assert f"{setting}: {value}" in printed.output
    images = np.zeros((2, 16, 16, 3), "uint8")
    images[0] = 255
    small = {"width": 4, "num_levels": 3}
    if recipe.network == "unet":
        small |= {"num_blocks": 1}
    model = building.make_model(replace(recipe, **small), images, seed=0)
    assert model.schedule.sigma_max == recipe.sigma_max
    assert (model.ema_momentum or None) == recipe.ema_momentum
    optimizer = building.make_optimizer(recipe)
    rate = optimizer._learning_rate
    assert model.sampler_settings["annealed_langevin"] == {
        name: getattr(recipe, name)
        for name in ("steps_per_level", "step_size", "denoise")
    }
    peak = rate(max(recipe.warmup_steps, 1))
    assert float(peak) == pytest.approx(recipe.learning_rate, rel=1e-4)
    end = float(rate(recipe.steps))
    assert end == pytest.approx(
        0.0 if recipe.decay == "cosine" else recipe.learning_rate
    )


@pytest.mark.parametrize("sampler", ["heun", "langevin"])
def test_a_recipe_of_the_paper_may_have_another_sampler(sampler):
    settings = {"width": 4, "sampler": sampler}
    if sampler == "heun":
        settings["num_steps"] = 5
    recipe = recipes.find("ncsn-mnist", settings)
    images = np.zeros((1, 8, 8, 1), "uint8")
    model = building.make_model(recipe, images, seed=0)
    assert model.sampler == sampler
    if sampler == "langevin":
        assert "langevin" not in model.sampler_settings
    else:
        # By its own settings, which may be chosen.
        churn = Heun().churn
        usual = recipes.find("ncsn-mnist", {"sampler": "heun"})
        assert usual.num_steps == Heun().num_steps
        assert model.sampler_settings["heun"] == {
            "num_steps": 5,
            "churn": churn,
        }


def test_a_recipe_keeps_the_settings_of_a_sampler_that_it_does_not_use():
    settings = {"width": 4, "sampler": "annealed_langevin", "num_steps": 5}
    recipe = recipes.find("unet-mnist", settings)
    images = np.linspace(0, 1, 64).reshape(1, 8, 8, 1)
    model = building.make_model(recipe, images, seed=0)
    assert model.sampler == "annealed_langevin"
    assert model.sampler_settings["heun"] == {"num_steps": 5, "churn": 10.0}


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mean_and_standard_deviation_are_those_of_all_pixels(dtype):
    images = np.random.default_rng(0).random((1000, 8, 8, 3)) ** 2
    images = (images * 255).astype("uint8") if dtype == "uint8" else images
    pixels = images / (255 if dtype == "uint8" else 1)
    assert building.mean_and_spread(images) == (
        pytest.approx(pixels.mean(), abs=6e-5),
        pytest.approx(pixels.std(), abs=6e-5),
    )
