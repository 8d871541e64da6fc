import json
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from contract import assert_equal, randomize
from keras import ops

from keras_ncsn import (
    Guide,
    NCSNModel,
    NoiseSchedule,
    runs,
)
from keras_ncsn.cli import cli
from keras_ncsn.networks import MLP
from keras_ncsn.presets import format
from keras_ncsn.runs import run_file
from keras_ncsn.sampling import guided_score_function

QUICK = {"sampler": "heun", "num_steps": 4, "verbose": 0}


def small_network(width=8, seed=0, **kwargs):
    """Returns one of points, which compiles in no time."""
    network = MLP(2, width=width, num_layers=1, **kwargs)
    randomize(network, seed)
    return network


def as_of_others(network):
    """Returns it as any Keras model, which may predict what it likes."""
    return keras.Model(network.inputs, network.outputs[0])


def small_model(network, **kwargs):
    return NCSNModel(network, value_range=None, sampler="heun", **kwargs)


def guided_model(weight=3.0, sigma_range=(0.1, 0.5), **kwargs):
    guide = Guide(small_network(4, seed=1), weight, sigma_range)
    return small_model(small_network(), guide=guide, **kwargs)


def scores(model, x, sigma):
    """Returns those of the network, of its guide, and of both together."""
    results = (
        model.score_function(x, sigma),
        NCSNModel(model.guide.network).score_function(x, sigma),
        guided_score_function(model, model.guide, model.guide.weight)(x, sigma),
    )
    return [ops.convert_to_numpy(result) for result in results]


def noisy_points(count):
    points = np.random.default_rng(0).standard_normal((count, 2), "f4")
    return ops.array(points)


def test_score_goes_beyond_the_better_network():
    model = guided_model(weight=3.0, sigma_range=(0.1, 0.5))
    sigma = ops.array([0.05, 0.1, 0.3, 0.5, 0.9])
    better, worse, guided = scores(model, noisy_points(5), sigma)
    expected = better.copy()
    expected[1:4] += 2.0 * (better - worse)[1:4]
    assert_equal(guided, expected, rtol=1e-6)


@pytest.mark.parametrize("prediction", ["score", "noise"])
def test_guide_has_the_prediction_of_the_network(prediction):
    schedule = NoiseSchedule.linear_beta()
    make = {"variance_preserving": True}
    network, worse = small_network(**make), small_network(4, seed=1, **make)
    if prediction == "noise":
        network, worse = as_of_others(network), as_of_others(worse)
    guide = Guide(worse, 2.0, (0.0, 1000.0))
    model = NCSNModel(network, schedule, prediction=prediction, guide=guide)
    worse = NCSNModel(guide.network, schedule, prediction=prediction)
    x, sigma = noisy_points(2), ops.array([0.1, 3.0])
    expected = 2.0 * model.score_function(x, sigma)
    expected = expected - worse.score_function(x, sigma)
    guided = guided_score_function(model, model.guide, 2.0)(x, sigma)
    assert_equal(guided, expected, rtol=1e-5)


def test_guided_samples_stay_away_from_what_the_guide_does_worse():
    """Of two Gaussians, the wider the guide's, the narrower the samples.

    With scores -x / (v + sigma^2) and -x / (g + sigma^2) the flow is solved
    by d ln x / d sigma = sigma (w / (v + sigma^2) - (w - 1) / (g + sigma^2)).
    """
    weight, variance, worse = 2.0, 0.04, 0.09

    def network(variance):
        mlp = MLP(1, width=4, data_std=variance**0.5)
        # Its raw output is 0: the score of a normal distribution.
        mlp.get_layer("last").set_weights([np.zeros((4, 1)), np.zeros(1)])
        return mlp

    guide = Guide(network(worse), weight, sigma_range=(0.0, 100.0))
    model = NCSNModel(
        network(variance),
        NoiseSchedule.geometric(20.0, 0.01),
        guide=guide,
        value_range=None,
        sampler="heun",
    )
    settings = {"seed": 0, "batch_size": 4000, "num_steps": 60, "verbose": 0}
    samples = model.generate(4000, **settings)
    spread = 20.0 * (
        (variance / (variance + 400.0)) ** (weight / 2)
        * (worse / (worse + 400.0)) ** ((1 - weight) / 2)
    )
    assert spread < 0.9 * variance**0.5
    assert samples.std() == pytest.approx(spread, rel=0.05)
    alone = model.generate(4000, guidance=1.0, **settings)
    assert alone.std() == pytest.approx(variance**0.5, rel=0.05)


def test_only_generate_is_guided():
    model = guided_model()
    alone = small_model(model.network)
    images = model.generate(2, seed=0, churn=1.0, **QUICK)
    assert images.dtype == np.float32
    images = model.generate(2, seed=0, **QUICK)
    unguided = alone.generate(2, seed=0, **QUICK)
    assert np.abs(images - unguided).max() > 0.01
    same = model.generate(2, seed=0, guidance=1.0, **QUICK)
    np.testing.assert_array_equal(same, unguided)
    more = model.generate(2, seed=0, guidance=5.0, **QUICK)
    assert np.abs(more - images).max() > 0.01
    np.testing.assert_array_equal(model.generate(2, seed=0, **QUICK), images)
    mask = np.array([[True, False]])
    np.testing.assert_array_equal(
        model.inpaint(images, mask, seed=0, **QUICK),
        alone.inpaint(images, mask, seed=0, **QUICK),
    )
    sigma = np.array([0.3, 0.3], "float32")
    np.testing.assert_array_equal(
        model.score(images, sigma), alone.score(images, sigma)
    )


def test_changes_of_a_guide_take_effect():
    model = guided_model()
    alone = model.generate(1, seed=0, guidance=1, **QUICK)
    guided = model.generate(1, seed=0, **QUICK)
    assert not np.array_equal(guided, alone)
    model.guide.sigma_range = [50.0, 60.0]
    assert_equal(model.generate(1, seed=0, **QUICK), alone, rtol=1e-6)
    with pytest.raises(ValueError, match="the smaller first"):
        model.guide.sigma_range = (60.0, 50.0)


@pytest.mark.parametrize("sampler", ["annealed_langevin", "langevin"])
def test_each_sampler_is_guided(sampler):
    model = guided_model(sigma_range=(0.0, 2.0))
    settings = {"seed": 0, "verbose": 0, "sampler": sampler}
    settings |= (
        {"steps_per_level": 1} if sampler != "langevin" else {"num_steps": 5}
    )
    images = model.generate(1, guidance=3.0, **settings)
    alone = model.generate(1, guidance=1.0, **settings)
    assert np.abs(images - alone).max() > 1e-6


def test_the_weight_of_a_guide_applies_to_the_sampler_of_its_model():
    settings = {"seed": 0, "verbose": 0, "sampler": "annealed_langevin"}
    settings |= {"steps_per_level": 1}
    model = guided_model(weight=3.0, sigma_range=(0.0, 2.0))
    images = model.generate(1, **settings)
    alone = model.generate(1, guidance=1.0, **settings)
    np.testing.assert_array_equal(images, alone)
    config = {"sampler": "annealed_langevin", "network": model.network}
    same = NCSNModel.from_config(
        model.get_config() | config | {"guide": model.guide}
    )
    images = same.generate(1, **settings)
    guided = model.generate(1, guidance=3.0, **settings)
    np.testing.assert_array_equal(images, guided)
    assert np.abs(images - alone).max() > 1e-6


def test_only_the_network_is_trained():
    model = guided_model(seed=0, ema_momentum=0.9)
    alone = NCSNModel(small_network(), seed=0, ema_momentum=0.9)
    alone.network.set_weights(model.network.get_weights())
    alone.reset_ema()
    guide = model.guide.get_weights()
    images = np.random.default_rng(0).random((16, 2), "float32")
    losses = []
    for each in (model, alone):
        each.compile(keras.optimizers.Adam(1e-3))
        losses.append(each.train_on_batch(images))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for before, after in zip(guide, model.guide.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(model.optimizer.variables) == len(alone.optimizer.variables)
    assert len(model.trainable_variables) == len(alone.trainable_variables)


def test_presets_and_keras_files_hold_network_and_guide(tmp_path):
    model = guided_model(weight=1.5, ema_momentum=0.9)
    images = model.generate(2, seed=0, **QUICK)
    model.save_to_preset(tmp_path / "preset")
    model.save(tmp_path / "model.keras")
    for copy in (
        NCSNModel.from_preset(tmp_path / "preset"),
        keras.models.load_model(tmp_path / "model.keras"),
    ):
        assert (copy.guide.weight, copy.guide.sigma_range) == (1.5, (0.1, 0.5))
        np.testing.assert_allclose(
            copy.generate(2, seed=0, **QUICK), images, atol=1e-5
        )
    config = json.loads((tmp_path / "preset" / "config.json").read_text())
    network = config["config"]["guide"]["config"]["network"]
    assert "dtype" not in network["config"]


def test_another_guide_replaces_that_of_the_preset(tmp_path):
    model = guided_model()
    model.save_to_preset(tmp_path / "guided")
    expected = model.network.get_weights()
    bare = NCSNModel.from_preset(tmp_path / "guided", guide=None)
    assert bare.guide is None
    assert len(bare.weights) == len(expected)
    other = Guide(small_network(4, seed=2), 2.0)
    before = other.network.get_weights()
    guided = NCSNModel.from_preset(
        tmp_path / "guided", guide=other, ema_momentum=0.5
    )
    assert guided.guide is other
    for copy in (bare.network, guided.network, guided.ema_network):
        assert all(map(np.array_equal, copy.get_weights(), expected))
    assert all(map(np.array_equal, other.network.get_weights(), before))


def test_a_preset_without_a_guide_accepts_one(tmp_path):
    network = small_network()
    NCSNModel(network).save_to_preset(tmp_path / "bare")
    guide = Guide(small_network(4, seed=2), 2.0)
    model = NCSNModel.from_preset(tmp_path / "bare", guide=guide)
    assert model.guide is guide
    weights = model.network.get_weights(), network.get_weights()
    assert all(map(np.array_equal, *weights))
    with pytest.raises(ValueError, match="`guide` must take the same images"):
        NCSNModel.from_preset(tmp_path / "bare", guide=Guide(MLP(3)))


def test_the_dtype_applies_to_network_and_guide(tmp_path):
    guided_model().save_to_preset(tmp_path / "preset")
    before = keras.config.dtype_policy()
    copy = NCSNModel.from_preset(tmp_path / "preset", dtype="mixed_bfloat16")
    assert keras.config.dtype_policy() is before
    for network in (copy.network, copy.guide.network):
        layer = network.get_layer("dense_0")
        assert layer.compute_dtype == "bfloat16"
    assert np.isfinite(copy.generate(1, seed=0, **QUICK)).all()


def test_a_guide_must_fit_prediction_and_schedule():
    plain = as_of_others(small_network())
    guide = Guide(small_network(4))
    with pytest.raises(ValueError, match="return the score.*'noise' for a MLP"):
        NCSNModel(plain, prediction="noise", value_range=None, guide=guide)
    preserving = NoiseSchedule.linear_beta()
    with pytest.raises(ValueError, match="agree on whether.*preserving=True"):
        NCSNModel(plain, preserving, value_range=None, guide=guide)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: small_network(), "must be a `Guide`"),
        (lambda: NCSNModel(small_network(4)), "must be a `Guide`"),
        (lambda: Guide(MLP(3, width=4)), "must take the same images"),
        (
            lambda: Guide(small_network(variance_preserving=True)),
            "must take the same images",
        ),
        (lambda: Guide(keras.Sequential()), "two inputs"),
        (lambda: Guide(small_network(), weight=0.5), "`weight`"),
        (lambda: Guide(small_network(), weight=float("nan")), "`weight`"),
        (lambda: Guide(small_network(), weight=float("inf")), "`weight`"),
        (lambda: Guide(small_network(), weight="2"), "`weight`"),
        (lambda: Guide(small_network(), sigma_range=0.5), "`sigma_range`"),
        (
            lambda: Guide(small_network(), sigma_range=(1.0, 0.5)),
            "`sigma_range`",
        ),
    ],
)
def test_wrong_guides_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        NCSNModel(small_network(), guide=make())


def test_a_network_does_not_guide_itself():
    network = small_network()
    with pytest.raises(ValueError, match="not the model's own"):
        NCSNModel(network, guide=Guide(network))


@pytest.mark.parametrize("guidance", [0.5, float("nan"), float("inf"), "2"])
def test_wrong_guidance_is_refused(guidance):
    with pytest.raises(ValueError, match="`guidance` must be at least 1"):
        guided_model().generate(1, guidance=guidance)


def test_guidance_needs_a_guide():
    model = small_model(small_network())
    with pytest.raises(ValueError, match="a model with a guide"):
        model.generate(1, guidance=2.0)
    alone = model.generate(1, seed=0, guidance=1, **QUICK)
    assert_equal(alone, model.generate(1, seed=0, **QUICK))


TERMS = {"license": "other", "license_name": "a", "license_link": "http://b"}


def write_presets(folder):
    for name, width in (("network", 8), ("guide", 4)):
        small_model(small_network(width)).save_to_preset(
            folder / name / "last",
            {
                "data": "mnist",
                "command": f"keras-ncsn train mnist OUTPUT --width {width}",
                "metrics": {"frechet": 1.0},
                **(TERMS if name == "guide" else {"license": "mit"}),
            },
        )
    return str(folder / "network" / "last"), str(folder / "guide" / "last")


def restate_license(preset, terms, folder):
    shutil.copytree(preset, folder)
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | terms))
    return folder


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_command_makes_a_guided_preset(tmp_path):
    paths = write_presets(tmp_path)
    made = tmp_path / "made"
    options = ("--weight", 1.5, "--weights-dtype", "float16")
    result = run("guide", *paths, made, *options)
    assert result.exit_code == 0, result.output
    model = NCSNModel.from_preset(made)
    assert (model.guide.weight, model.guide.sigma_range) == (1.5, (0.2, 3.0))
    for network, path in zip(
        (model.network, model.guide.network), paths, strict=True
    ):
        before = NCSNModel.from_preset(path).network.get_weights()
        for mine, other in zip(network.get_weights(), before, strict=True):
            np.testing.assert_array_equal(mine, other.astype("float16"))
    metadata = format.read_metadata(made)
    # What is made of data with terms of their own keeps them.
    assert {name: metadata[name] for name in TERMS} == TERMS
    other = restate_license(paths[0], {"license_name": "mine"}, tmp_path / "b")
    result = run("guide", other, paths[1], tmp_path / "c")
    assert "the same terms of licence" in str(result.exception)
    assert not (tmp_path / "c").exists()
    assert metadata["command"] == (
        "keras-ncsn train mnist NETWORK --width 8 && "
        "keras-ncsn train mnist GUIDE --width 4 && "
        "keras-ncsn guide NETWORK/last GUIDE/last OUTPUT --weight 1.5 "
        "--sigma-range 0.2 3 --weights-dtype float16"
    )
    assert "metrics" not in metadata
    assert metadata["data"] == "mnist"
    counts = [each.count_params() for each in (model.network, model.guide)]
    assert metadata["parameter_count"] == counts[0]
    assert metadata["guide_parameter_count"] == counts[1]
    # Of a guided one, no training run of the network is known.
    assert "in place of" not in result.output
    result = run("guide", made, paths[1], tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "in place of the guide that the preset had" in result.output
    assert "command" not in format.read_metadata(tmp_path / "again")
    arrays = []
    for guidance in ("1", "1.5", "9"):
        output = tmp_path / f"{guidance}.npy"
        result = run(
            *("generate", made, "--num-images", 1, "--seed", 0),
            *("--num-steps", 4, "--guidance", guidance, "--output", output),
        )
        assert result.exit_code == 0, result.output
        arrays.append(np.load(output))
    np.testing.assert_array_equal(arrays[1], model.generate(1, seed=0, **QUICK))
    assert not np.array_equal(arrays[0], arrays[1])
    assert not np.array_equal(arrays[2], arrays[1])


def test_command_refuses_before_it_writes(tmp_path):
    paths = write_presets(tmp_path)
    network = as_of_others(small_network(4))
    other = NCSNModel(network, prediction="noise")
    other.save_to_preset(tmp_path / "noise")
    result = run("guide", paths[0], tmp_path / "noise", tmp_path / "made")
    assert isinstance(result.exception, ValueError)
    assert "predict" in str(result.exception)
    result = run("guide", paths[0], paths[0], tmp_path / "made")
    assert "the same preset twice" in str(result.exception)
    result = run("guide", *paths, tmp_path / "made", "--weight", 0.5)
    assert result.exit_code == 2
    nowhere = str(tmp_path / "nowhere")
    result = run(
        "guide", nowhere, nowhere, tmp_path / "made", "--sigma-range", 2, 1
    )
    assert "pair of noise levels" in str(result.exception)
    assert not (tmp_path / "made").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    result = run("guide", *paths, tmp_path / "full")
    assert "new or empty" in str(result.exception)


def save_with_labels(folder, **kwargs):
    model = small_model(small_network(num_classes=2), **kwargs)
    command = "keras-ncsn train mnist OUTPUT --conditional"
    model.save_to_preset(folder, {"data": "mnist", "command": command})
    return model


def test_command_stores_classifier_free_guidance(tmp_path):
    preset, made = tmp_path / "network" / "last", tmp_path / "made"
    plain = save_with_labels(preset)
    options = "--unconditional", "--weight", 3, "--sigma-range", 0.1, 2
    result = run("guide", preset, made, *options)
    assert result.exit_code == 0, result.output
    assert "guided by its own unconditional score\n" in result.output
    model = NCSNModel.from_preset(made)
    assert model.guide.network is None
    assert model.guide.unconditional_share == 1
    assert (model.guide.weight, model.guide.sigma_range) == (3, (0.1, 2))
    images = model.generate(2, seed=0, labels=1, **QUICK)
    same = small_model(plain.network, guide=Guide(None, 3.0, (0.1, 2.0)))
    assert_equal(images, same.generate(2, seed=0, labels=1, **QUICK))
    alone = plain.generate(2, seed=0, labels=1, **QUICK)
    assert np.abs(images - alone).max() > 1e-3
    assert format.read_metadata(made)["command"] == (
        "keras-ncsn train mnist NETWORK --conditional && keras-ncsn guide "
        "NETWORK/last OUTPUT --unconditional --weight 3 --sigma-range 0.1 2"
    )
    # The guide of a preset is not replaced in silence.
    result = run("guide", made, tmp_path / "again", "--unconditional")
    assert "in place of the guide that the preset had" in result.output


def test_unconditional_score_is_needed_before_a_preset_is_written(tmp_path):
    save_with_labels(tmp_path / "labels", condition_dropout=0.0)
    save_with_labels(tmp_path / "other")
    small_model(small_network()).save_to_preset(tmp_path / "none")
    made = tmp_path / "made"
    for name in ("labels", "none"):
        result = run("guide", tmp_path / name, made, "--unconditional")
        assert "Classifier-free guidance needs" in str(result.exception)
    result = run("guide", tmp_path / "other", tmp_path / "labels", made)
    assert "a guide with condition_dropout=0" in str(result.exception)
    # Without the option, the second of two folders is no output.
    before = (tmp_path / "other" / "metadata.json").read_bytes()
    for arguments in (
        (tmp_path / "labels", tmp_path / "other"),
        (tmp_path / "labels", tmp_path / "other", made, "--unconditional"),
    ):
        result = run("guide", *arguments)
        assert result.exit_code == 2
        assert "give PRESET GUIDE OUTPUT, or PRESET OUTPUT" in result.output
    assert (tmp_path / "other" / "metadata.json").read_bytes() == before
    assert not made.exists()


def test_a_run_from_a_guided_preset_drops_the_guide(tmp_path):
    paths = write_presets(tmp_path)
    assert run("guide", *paths, tmp_path / "made").exit_code == 0
    images = np.random.default_rng(0).random((32, 2), "float32")
    described = run_file.describe(
        "images.npy",
        "unet-mnist",
        {"steps": 2, "batch_size": 8},
        from_preset=str(tmp_path / "made"),
    )
    runs.train(
        tmp_path / "run",
        described,
        images,
        log_every=1,
        checkpoint_every=2,
        sample_every=0,
    )
    last = NCSNModel.from_preset(tmp_path / "run" / "last")
    assert last.guide is None
    assert last.network.get_config()["width"] == 8
