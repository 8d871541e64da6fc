"""Recipes: the settings of a run, each with its default."""

import dataclasses

import pytest

from keras_ncsn.runs import recipes, run_file
from keras_ncsn.runs.network_recipes import NCSNRecipe, UNetRecipe
from keras_ncsn.runs.recipe import GROUPS, Recipe


@pytest.mark.parametrize("recipe", [Recipe, NCSNRecipe, UNetRecipe])
def test_every_setting_has_a_sentence_and_a_group(recipe):
    for field in dataclasses.fields(recipe):
        assert field.metadata["help"].endswith((".", "1,2.", "1,2,2."))
        assert field.metadata["group"] in GROUPS
        # A default is a value that the setting may have.
        recipe(**{field.name: getattr(recipe(), field.name)})


def test_a_recipe_is_immutable():
    recipe = recipes.find("unet-mnist")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.steps = 1


def test_a_recipe_for_a_preset_has_no_settings_of_the_network():
    recipe = recipes.find_for_preset("unet-mnist", "mnist")
    assert type(recipe) is Recipe
    assert (recipe.steps, recipe.learning_rate) == (18_000, 2e-3)
    assert recipe.in_place_of_preset() == {}
    given = {"dtype": "float32", "log_sigma_std": 1.0}
    recipe = recipes.find_for_preset("unet-mnist", "mnist", given)
    assert recipe.in_place_of_preset() == given


def test_attention_is_only_in_existing_stages(tmp_path):
    narrow = {"width_multipliers": [1]}
    assert recipes.find("unet-mnist").attention_stages == (1,)
    assert recipes.find("unet-mnist", narrow).attention_stages == ()
    run = run_file.describe("mnist", "unet-mnist", narrow)
    # One that began before the stages were looked at.
    old = run["recipe"] | {"attention_stages": [1]}
    run_file.write(tmp_path, run | {"recipe": old})
    assert run_file.read(tmp_path)["recipe"] == run["recipe"]
    before = run_file.read(tmp_path)
    assert run_file.describe("mnist", before=before) == run
    wrong = {"attention_stages": [0, 2]}
    with pytest.raises(ValueError, match=r"from 0 to 1.*\[0, 2\].*--attention"):
        recipes.find("unet-mnist", wrong)
