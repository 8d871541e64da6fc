"""The presets that come with the package."""

import functools
import json
import pathlib
import re
import shlex
import tomllib

import keras
import numpy as np
import pytest
import yaml
from keras import ops
from PIL import Image

import keras_ncsn
from keras_ncsn import cli
from keras_ncsn.presets import format, sources
from keras_ncsn.presets.terms import LICENSE
from keras_ncsn.sampling import guided_score_function


@pytest.fixture(scope="module")
def load():
    """Loads each preset once: nothing changes it."""
    return functools.cache(keras_ncsn.NCSNModel.from_preset)


@pytest.mark.parametrize("name", sorted(sources.zoo()))
def test_each_preset_of_the_zoo_fits_its_metadata(load, name):
    metadata = keras_ncsn.NCSNModel.presets[name]
    if "sha256" in metadata:
        model = load(name)
    else:
        # The weights have shapes, and no values: they would be 120 MB.
        with keras.StatelessScope(initialize_variables=False):
            model = keras_ncsn.NCSNModel.from_preset(name, load_weights=False)
        # Nor does a later scope of Keras give them any.
        keras.utils.clear_session()
    assert model.network.count_params() == metadata["parameter_count"]
    of_guide = model.guide and model.guide.count_params()
    assert of_guide == metadata.get("guide_parameter_count")
    assert (pathlib.Path(sources.zoo()[name]) / "README.md").is_file()


@pytest.mark.parametrize("name", sorted(sources.zoo()))
def test_each_card_agrees_with_the_metadata(name):
    folder = sources.zoo()[name]
    metadata = format.read_metadata(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    for fact in LICENSE:
        assert front.get(fact) == metadata.get(fact)
    assert front["datasets"] == [metadata["data"]]
    facts = {"parameter_count", "guide_parameter_count"} & metadata.keys()
    metrics = metadata.get("metrics", {})
    assert set(front.get("metrics", [])) == set(metrics)
    for fact in [f"{metadata[fact]:,}" for fact in facts]:
        assert fact in text
    for value in metrics.values():
        assert f"| {value}" in text
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder / picture).is_file()
    commands = re.findall(r"^    (keras-ncsn .*)$", text, re.MULTILINE)
    assert any("keras-ncsn train" in command for command in commands)
    for command in commands:
        _, verb, *arguments = shlex.split(command, comments=True)
        cli.cli.get_command(None, verb).make_context(verb, arguments)
    # Where it was trained is nobody's business.
    assert not re.search("/(tmp|home|root|work)/", json.dumps(metadata) + text)


def test_the_wheel_states_the_terms_of_its_weights():
    project = pathlib.Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    known = keras_ncsn.NCSNModel.presets
    named = {
        name: known[name]["license_name"]
        for name in known
        if "sha256" in known[name] and "license_name" in known[name]
    }
    assert "celeba" in named
    for name, terms in named.items():
        assert f"LicenseRef-{terms}" in project["license"]
        text = (sources.zoo()[name] / "LICENSE").read_text(encoding="utf-8")
        assert known[name]["license_link"] in text


def test_the_zoo_fits_into_a_wheel():
    sizes = {
        path: path.stat().st_size
        for folder in sources.zoo().values()
        for path in folder.iterdir()
    }
    assert max(sizes.values()) < 64 * 2**20
    assert sum(sizes.values()) < 90 * 2**20


@pytest.mark.parametrize("name", ["ncsn_celeba", "ncsn_cifar10"])
@pytest.mark.parametrize("revision", [None, "main"])
def test_presets_that_are_not_trained_yet_are_named(name, revision):
    assert sources.whereabouts(sources.zoo()[name]) == "not published"
    with pytest.raises(ValueError, match=f"not published yet.*{name}"):
        keras_ncsn.NCSNModel.from_preset(name, revision=revision)


def test_ncsn_mnist_denoises_digits(load, untraced):
    """Sampling is too long for a test, one look at the noise is not."""
    with Image.open(sources.zoo()["mnist"] / "samples.png") as picture:
        # Tiles of 28 pixels, two apart.
        digits = np.asarray(picture.convert("L"))[:28, :58, None] / 255
    digits = np.stack([digits[:, :28], digits[:, 30:]]).astype("float32")
    model = load("ncsn_mnist")
    sigma = np.float32(model.schedule.sigmas[2])
    noise = np.random.default_rng(0).standard_normal(digits.shape, "float32")
    noisy, levels = digits + sigma * noise, np.full(len(digits), sigma)
    with untraced():
        clean = model.denoise(noisy, levels)
    # A zero network errs by 0.36, the darkest guess by the digits' own 0.31.
    assert np.sqrt(np.mean(np.square(clean - digits))) < 0.09


@pytest.mark.parametrize(
    "name",
    [
        *("mnist", "ncsn_mnist"),
        pytest.param("cifar10", marks=pytest.mark.slow),
        pytest.param("celeba", marks=pytest.mark.slow),
    ],
)
def test_scores_are_the_same_on_each_backend(load, name):
    """Against scores that TensorFlow computed, stored in tests/data."""
    model = load(name)
    path = pathlib.Path(__file__).parent / "data" / f"{name}_scores.npz"
    with np.load(path) as stored:
        stored = dict(stored)
    noisy, sigma = stored["noisy"], stored["sigma"]
    received = {"score": model.score(noisy, sigma)}
    if model.guide:
        guided = guided_score_function(model, model.guide, model.guide.weight)
        guided = guided(ops.array(noisy), ops.array(sigma))
        received["guided"] = ops.convert_to_numpy(guided)
        assert np.abs(stored["guided"] - stored["score"]).max() > 0.1
    assert stored.keys() - {"noisy", "sigma"} == received.keys()
    for kind, score in received.items():
        largest = np.abs(stored[kind]).max(axis=(1, 2, 3), keepdims=True)
        assert np.all(np.abs(score - stored[kind]) < 1e-4 * largest)


def test_mnist_draws_digits(load):
    """Ink as on paper: mostly black, with strokes of white."""
    model = load("mnist")
    images = model.generate(16, seed=0, num_steps=8)
    # Real digits: mean 0.13, spread 0.31; 0.8 of the pixels black.
    assert images.mean() == pytest.approx(0.13, abs=0.03)
    assert images.std() == pytest.approx(0.31, abs=0.04)
    assert (images < 0.1).mean() == pytest.approx(0.8, abs=0.06)
