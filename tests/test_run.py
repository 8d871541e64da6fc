"""`keras-ncsn train`, from images to what it leaves behind."""

import csv
import functools
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace

import filelock
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import two_convolutions
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

import keras_ncsn
from keras_ncsn import cli, datasets, runs
from keras_ncsn.backend import BACKEND
from keras_ncsn.callbacks import (
    Checkpoint,
    SamplePictures,
    TrainingLog,
)
from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.callbacks.tensorboard_log import TensorBoardLog
from keras_ncsn.cli import recipe_options
from keras_ncsn.cli.progress import StopOnSignal
from keras_ncsn.images import save_images
from keras_ncsn.presets import format
from keras_ncsn.runs import building, provenance, recipes, run_file
from keras_ncsn.samplers import Heun
from keras_ncsn.training.noise_levels import sigma_quantiles
from keras_ncsn.training.validation import validation_losses

TINY = [
    *("--width", 4, "--width-multipliers", "1", "--num-blocks", 1),
    *("--attention-stages", "0"),
]


def save_pictures(folder):
    """Saves forty small pictures."""
    images = np.random.default_rng(0).random((40, 8, 8, 1))
    save_images(images, folder / "pictures")


@pytest.fixture
def pictures(tmp_path):
    save_pictures(tmp_path)
    return tmp_path / "pictures"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A preset of a network that compiles in no time."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("small") / "small"
    keras_ncsn.NCSNModel(two_convolutions()).save_to_preset(folder)
    return folder


def train_in(folder, *arguments, network=None, data=None, status=0):
    """Runs `keras-ncsn train` on what lies in a folder."""
    data = data or folder / "pictures"
    if network is None:
        network = "--from-preset", folder / "small"
    command = [
        *("train", data, folder / "run", "--steps", 4),
        *("--batch-size", 4, "--log-every", 2, "--checkpoint-every", 2),
        *("--sample-every", 0, *network, *arguments),
    ]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def train(pictures, small, tmp_path):
    shutil.copytree(small, tmp_path / "small")
    return functools.partial(train_in, tmp_path)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A folder in which a run took two steps."""
    folder = tmp_path_factory.mktemp("trained")
    save_pictures(folder)
    shutil.copytree(small, folder / "small")
    train_in(folder, "--steps", 2)
    return folder


@pytest.fixture
def resume(trained, tmp_path):
    """Continues a copy of that run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return functools.partial(train_in, tmp_path, "--resume", network=())


def read_rows(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_train_leaves_presets_a_log_and_pictures(train, tmp_path):
    (tmp_path / "pictures" / "broken.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"Skipped 1 of 41.*broken\.png"):
        printed = train(
            *("--sample-every", 2, "--tensorboard", "--skip-unreadable"),
            network=TINY,
        )
    assert "40 images of 8x8x1" in printed
    run = tmp_path / "run"
    model = keras_ncsn.NCSNModel.from_preset(str(run / "last"))
    assert model.generate(1, seed=0, num_steps=2).shape == (1, 8, 8, 1)
    metadata = json.loads((run / "best" / "metadata.json").read_text())
    assert metadata["recipe"] == "unet-cifar10"
    options = "--width 4 --width-multipliers 1 --num-blocks 1"
    assert options in metadata["command"]
    # Presets get published: where things lie on a machine is its own.
    assert metadata["data"] == "pictures"
    assert str(tmp_path) not in json.dumps(metadata)
    rows = read_rows(run)
    assert [row["step"] for row in rows] == ["2", "4"]
    assert [row["images"] for row in rows] == ["8", "16"]
    best = min(float(row["validation_loss"]) for row in rows)
    assert metadata["validation_loss"] == best
    with Image.open(run / "samples" / "0000004.png") as picture:
        assert picture.size == (4 * 10 - 2, 4 * 10 - 2)
    assert_tensorboard_shows(run / "tensorboard", rows)


def assert_tensorboard_shows(folder, rows):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [
        (int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows
    ]
    assert [event.step for event in events.Images("samples")] == [2, 4]


@pytest.mark.skipif(BACKEND == "tensorflow", reason="see test_parallel.py")
def test_data_parallel_is_a_flag(train, tmp_path):
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="needs the backend jax or tens"):
            train("--data-parallel")
        assert not (tmp_path / "run").exists()
        return
    try:
        train("--data-parallel")
    finally:
        keras.distribution.set_distribution(None)
    assert (tmp_path / "run" / "last").is_dir()


def test_floats_lie_where_the_preset_has_them(train, tmp_path):
    model = keras_ncsn.NCSNModel(two_convolutions(), value_range=(-1.0, 1.0))
    model.save_to_preset(tmp_path / "signed")
    network = ("--from-preset", tmp_path / "signed")
    images = np.linspace(-1.0, 1.0, 40 * 64, dtype="float32")
    np.save(tmp_path / "floats.npy", images.reshape(40, 8, 8, 1))
    train(network=network, data=tmp_path / "floats.npy")
    np.save(tmp_path / "floats.npy", 2 * images.reshape(40, 8, 8, 1))
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
        train("--resume", network=network, data=tmp_path / "floats.npy")


def test_a_run_goes_on_without_the_preset_that_it_began_from(train, tmp_path):
    network = ("--from-preset", tmp_path / "small", "--log-sigma-mean", -0.5)
    # All steps are alike, however many there are to be.
    network += ("--sigma-distribution", "log_normal", "--decay", "none")
    network += ("--warmup-steps", 0)
    train(network=network)
    whole = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    shutil.rmtree(tmp_path / "run")

    train("--steps", 2, network=network)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    written["recipe"]["steps"] = 4
    (tmp_path / "run" / "run.json").write_text(json.dumps(written))
    # Another model with weights of the same shapes lies there now, then none.
    shutil.rmtree(tmp_path / "small")
    other = keras_ncsn.NCSNModel(two_convolutions(), weighting="edm")
    other.save_to_preset(tmp_path / "small")
    train("--resume", network=network)
    resumed = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert resumed.get_config()["weighting"] == "ncsn"
    assert all(map(np.array_equal, resumed.get_weights(), whole.get_weights()))
    shutil.rmtree(tmp_path / "small")
    train("--resume", network=())


def test_training_goes_on_from_a_preset(tmp_path, pictures):
    network = two_convolutions()
    before = keras_ncsn.NCSNModel(network, weighting="edm", data_std=0.3)
    terms = {"license": "other", "license_name": "a"}
    before.save_to_preset(tmp_path / "preset", terms)
    command = [
        *("train", pictures, tmp_path / "run"),
        *("--from-preset", tmp_path / "preset", "--learning-rate", 1e-9),
        *("--steps", 1, "--batch-size", 4, "--sample-every", 0),
        *("--sigma-distribution", "log_normal", "--log-sigma-mean", 0.5),
    ]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    metadata = format.read_metadata(tmp_path / "run" / "last")
    assert {name: metadata[name] for name in terms} == terms
    assert "--from-preset preset --seed 0" in metadata["command"]
    after = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert after.data_std == 0.3
    assert after.log_sigma_mean == 0.5
    assert after.sigma_distribution == "log_normal"
    assert after.weighting == before.weighting
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-6)


class Interrupt(keras.callbacks.Callback):
    """Sends its own process a signal after three steps."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), self.number)


def test_a_signal_saves_and_resume_goes_on(train, tmp_path, monkeypatch):
    real = runs.train

    def interrupted(*args, extra_callbacks, **kwargs):
        extra = [Interrupt(signal.SIGTERM), *extra_callbacks]
        return real(*args, extra_callbacks=extra, **kwargs)

    monkeypatch.setattr(runs, "train", interrupted)
    printed = train("--sample-every", 3, status=128 + signal.SIGTERM)
    assert "SIGTERM: stopping after this step; once more to leave" in printed
    assert "SIGTERM: step 3 is saved" in printed
    assert not (tmp_path / "run" / "samples").exists()
    with np.load(tmp_path / "run" / "state.npz") as file:
        assert file["step"] == 3
    monkeypatch.undo()
    train("--resume")
    stopped = read_rows(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "stopped")
    train()
    whole = read_rows(tmp_path / "run")
    assert [row["loss"] for row in stopped] == [row["loss"] for row in whole]
    assert "Step 4 is saved" in train("--resume")


class Spoil(keras.callbacks.Callback):
    """Makes the weights no numbers after a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.step:
            for weight in self.model.network.trainable_variables:
                weight.assign(weight * float("nan"))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1, "loss became nan.*Nothing is saved yet. Start again"),
        (3, r"loss became nan.*holds step 2\. .* --from-preset .*/run/last"),
    ],
)
def test_a_loss_that_is_none_says_how_to_go_on(
    train, monkeypatch, step, message
):
    real = runs.train

    def spoiled(*args, extra_callbacks, **kwargs):
        return real(*args, extra_callbacks=[Spoil(step)], **kwargs)

    monkeypatch.setattr(runs, "train", spoiled)
    with pytest.raises(FloatingPointError, match=message):
        train()


def test_resume_wants_the_images_it_began_with(train, tmp_path):
    train()
    save_images(np.ones((41, 8, 8, 1)), tmp_path / "pictures")
    message = r"its own images.*\[41, 8, 8, 1\].*\[40, 8, 8, 1\]"
    with pytest.raises(ValueError, match=message):
        train("--resume")


def test_resume_takes_what_the_run_began_with(train, tmp_path):
    begun = {"learning_rate": 0.5, "steps": 4, "batch_size": 4}
    settings = "--recipe", "unet-mnist", "--learning-rate", 0.5, "--seed", 3
    assert "holds no run" in train(*settings, "--resume")
    command = [*("train", tmp_path / "pictures", tmp_path / "run", "--resume")]
    command = [str(argument) for argument in command]
    result = CliRunner().invoke(cli.cli, command, catch_exceptions=False)
    assert "Step 4 is saved" in result.output
    run = run_file.read(tmp_path / "run")
    assert run["recipe"] == run["recipe"] | begun
    assert (run["recipe_name"], run["seed"]) == ("unet-mnist", 3)
    assert run["writing"] == {
        "log_every": 2,
        "checkpoint_every": 2,
        "sample_every": 0,
        "tensorboard": False,
    }
    assert run["writing"]["tensorboard"] is False
    for given, message in [
        (("--learning-rate", "0.4"), "learning_rate=0.4; .*learning_rate=0.5"),
        (("--seed", "0"), "seed=0; .*seed=3"),
        (("--recipe", "ncsn-mnist"), "recipe_name='ncsn-mnist'"),
        (("--from-preset", "mnist"), "from_preset='mnist'"),
    ]:
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(
                cli.cli, [*command, *given], catch_exceptions=False
            )


def test_a_run_goes_on_from_its_preset():
    before = run_file.describe("mnist", from_preset="mnist", seed=3)
    assert run_file.describe("mnist", before=before) == before


def test_of_paths_the_last_part_gets_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "mnist").symlink_to("secret")
    (tmp_path / "pictures").symlink_to("secret")
    for data, published in {
        "mnist": "mnist",
        "pictures": "pictures",
        str(tmp_path / "pictures"): "pictures",
        "/home/me/gone": "gone",
        "voc/2007": "voc/2007",
    }.items():
        run = run_file.describe(data, "unet-mnist", from_preset="mnist")
        metadata = provenance.metadata(run)
        assert metadata["data"] == published
        assert f"train {published} OUTPUT" in metadata["command"]
        assert "--from-preset mnist " in metadata["command"]


def test_what_recipes_did_not_have_yet_goes_on_as_it_was(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", {"churn": 0.0})
    old = run | {"recipe": dict(run["recipe"])}
    del old["recipe"]["churn"]
    run_file.write(tmp_path, old)
    resumed = run_file.describe("mnist", before=run_file.read(tmp_path))
    assert resumed["recipe"]["churn"] == 0.0
    run_file.check(tmp_path, resumed, resume=True)


def test_a_run_is_trained_by_one_process_at_a_time(train, tmp_path):
    (tmp_path / "run").mkdir()
    with filelock.FileLock(tmp_path / "run" / ".lock"):
        with pytest.raises(ValueError, match="another process is training"):
            train()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_tensorboard_forgets_what_is_done_again(tmp_path):
    TensorBoardLog(tmp_path).add_row({"step": 2, "loss": 1.0})
    log = TensorBoardLog(tmp_path)
    for step in (2, 4, 6):
        log.add_row({"step": step, "loss": float(step)})
    TensorBoardLog(tmp_path, start=3).add_row({"step": 4, "loss": 9.0})
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(2, 2.0), (4, 9.0)]


def test_a_run_killed_at_its_first_file_goes_on(train, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(folder):
        os.mkdir(folder)
        raise Killed

    writers = "tensorboard.summary.writer.event_file_writer"
    monkeypatch.setattr(f"{writers}.EventFileWriter", kill)
    with pytest.raises(Killed):
        train("--tensorboard")
    monkeypatch.undo()
    assert "Step 4 is saved" in train("--tensorboard", "--resume")


def test_without_tensorboard_nothing_is_begun(train, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        train("--tensorboard")
    assert not (tmp_path / "run").exists()


def test_a_run_file_that_is_damaged_is_named(tmp_path):
    run = run_file.describe("mnist", "unet-mnist")
    for damaged in ("{", "[1]", '{"recipe": 1}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match="readable run.json"):
            run_file.check(tmp_path, run, resume=True)
    for odd in "often", 0.5, 0, float("inf"), True:
        edited = run | {"writing": {"log_every": odd}}
        (tmp_path / "run.json").write_text(json.dumps(edited))
        with pytest.raises(ValueError, match="readable run.json.*log_every"):
            run_file.check(tmp_path, run, resume=True)


def test_ctrl_c_is_the_program_s_again_after_the_first(make_model, images):
    before = signal.getsignal(signal.SIGINT)
    model = make_model()
    model.compile("sgd")
    with StopOnSignal() as stop:
        model.fit(
            datasets.shuffled_batches(images, 4, seed=0),
            steps_per_epoch=9,
            callbacks=[Interrupt(signal.SIGINT), stop],
            verbose=0,
        )
    assert stop.received == signal.SIGINT
    assert int(model.optimizer.iterations) == 3
    assert signal.getsignal(signal.SIGINT) == before


def test_a_run_goes_on_as_it_began(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", {"steps": 10})
    run_file.check(tmp_path, run)
    (tmp_path / "run.json").write_text(json.dumps(run))
    run_file.check(tmp_path, run, resume=True)
    moved = run_file.describe("elsewhere", "unet-mnist", {"steps": 10})
    run_file.check(tmp_path, moved, resume=True)
    with pytest.raises(ValueError, match="holds a run. Resume it with --re"):
        run_file.check(tmp_path, run)
    other = run_file.describe("mnist", "unet-mnist", {"steps": 20}, seed=1)
    with pytest.raises(ValueError, match="steps=20, seed=1; .*steps=10, seed"):
        run_file.check(tmp_path, other, resume=True)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "letters").write_text("dear")
    run = run_file.describe("mnist", "unet-mnist")
    with pytest.raises(ValueError, match="new or empty folder"):
        run_file.check(tmp_path, run, resume=True)


def test_a_preset_says_what_the_model_is():
    with pytest.raises(ValueError, match="from_preset='mnist', and width"):
        run_file.describe("mnist", "unet-mnist", {"width": 8}, "mnist")
    with pytest.raises(ValueError, match="dropout for ncsn-mnist"):
        run_file.describe("mnist", "ncsn-mnist", {"dropout": 0.5})


def test_what_cannot_be_is_refused_before_images_are_loaded():
    with pytest.raises(ValueError, match="preset='no-such'"):
        run_file.describe("mnist", "unet-mnist", from_preset="no-such")
    with pytest.raises(ValueError, match="sigma_min"):
        run_file.describe("mnist", "ncsn-mnist", {"sigma_max": 0.001})
    for wrong, words in (
        ({"width": 33}, "even.*widths=.33, 66, 66"),
        ({"width_multipliers": ()}, r"at least one.*widths=\[\]"),
        ({"image_size": 30}, "divisible by 4"),
        ({"patch_size": 2, "image_size": 36}, "divisible by 8"),
    ):
        with pytest.raises(ValueError, match=words):
            run_file.describe("pictures", "unet-cifar10", wrong)
    with pytest.raises(ValueError, match=r"even.*\(31, 31, 3\)"):
        run_file.describe("pictures", "ncsn-cifar10", {"image_size": 31})


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_make_what_they_say(name):
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


@pytest.mark.parametrize("from_preset", [None, "ncsn_mnist"])
def test_settings_of_a_distribution_that_is_not_used_are_refused(from_preset):
    recipe, settings = "ncsn-mnist", {"log_sigma_mean": 0.0}
    with pytest.raises(ValueError, match="log_sigma_mean must.*='ladder'"):
        run_file.describe("mnist", recipe, settings, from_preset)
    settings["sigma_distribution"] = "log_normal"
    run = run_file.describe("mnist", recipe, settings, from_preset)
    assert run["recipe"]["log_sigma_mean"] == 0.0
    # What a run began with before this was looked at goes on.
    del settings["sigma_distribution"]
    run_file.describe("mnist", recipe, settings, from_preset, before=run)


def test_a_preset_that_is_gone_is_named_by_its_last_part(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", from_preset="mnist")
    assert "--from-preset mnist --seed" in provenance.command(run)
    for gone in "../private/gone", str(tmp_path / "gone"):
        command = provenance.command(run | {"from_preset": gone})
        assert "--from-preset gone --seed" in command
    hub = provenance.command(run | {"from_preset": "hf://owner/repo"})
    assert "--from-preset hf://owner/repo --seed" in hub


@pytest.mark.parametrize("data", ["celeb_a", "celeb_a/2.1.0"])
def test_terms_are_those_of_the_set_whatever_its_version(data):
    metadata = provenance.metadata(run_file.describe(data, "unet-celeba"))
    assert metadata["license_name"] == "celeba-non-commercial-research-only"


def test_a_recipe_has_attention_in_stages_that_there_are(tmp_path):
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


def test_the_command_says_what_the_preset_would_else_decide():
    usual = recipes.find("unet-mnist").sigma_distribution
    settings = {"sigma_distribution": usual, "batch_size": 128}
    run = run_file.describe("mnist", "unet-mnist", settings, "mnist")
    assert provenance.command(run).endswith(
        f"--from-preset mnist --seed 0 --sigma-distribution {usual}"
    )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mean_and_spread_are_those_of_all_pixels(dtype):
    images = np.random.default_rng(0).random((1000, 8, 8, 3)) ** 2
    images = (images * 255).astype("uint8") if dtype == "uint8" else images
    pixels = images / (255 if dtype == "uint8" else 1)
    assert building.mean_and_spread(images) == (
        pytest.approx(pixels.mean(), abs=6e-5),
        pytest.approx(pixels.std(), abs=6e-5),
    )


def test_validation_of_a_zero_network_is_half_the_pixels(make_zero):
    model = make_zero((16, 16, 1), weighting="edm", data_std=0.5)
    images = np.zeros((64, 16, 16, 1), "uint8")
    losses = validation_losses(model, images, [1.0, 0.5])
    weights = np.array([(s**2 + 0.25) / 0.25 for s in (1.0, 0.5)])
    # 64 * 256 squares of unit normals: half a sum of mean 128.
    np.testing.assert_allclose(losses / weights, 128.0, rtol=0.04)
    again = validation_losses(model, images, [1.0, 0.5])
    np.testing.assert_array_equal(again, losses)


@pytest.mark.parametrize(
    "distribution", ["ladder", "log_uniform", "log_normal"]
)
def test_validation_levels_are_shares_of_those_of_training(
    make_model, distribution
):
    model = make_model(sigma_distribution=distribution)
    sigmas = sigma_quantiles(model, 10)
    images = keras.ops.zeros((100_000, 1))
    drawn = keras_ncsn.training.step.draw_noise(model, images)[0]
    drawn = np.sort(keras.ops.convert_to_numpy(drawn))[::-1]
    shares = np.quantile(drawn, 1 - (np.arange(10) + 0.5) / 10)
    np.testing.assert_allclose(sigmas, shares, rtol=0.05)


def test_best_is_the_lowest_loss_on_images_held_out(tmp_path, images):
    class Worsen(EverySteps):
        """After the second step the network is worse than before."""

        def on_step(self, step, logs):
            if step > 2:
                for weight in self.model.network.trainable_variables:
                    weight.assign(weight + 10.0)

    model = keras_ncsn.NCSNModel(two_convolutions(), seed=0)
    model.compile("sgd")
    log = TrainingLog(
        tmp_path, 2, 4, validation_images=images, validate_every=2
    )
    model.fit(
        datasets.shuffled_batches(images, 4, seed=0),
        steps_per_epoch=6,
        callbacks=[Worsen(1), log],
        verbose=0,
    )
    losses = [float(row["validation_loss"]) for row in read_rows(tmp_path)]
    assert losses[0] < min(losses[1:])
    metadata = json.loads((tmp_path / "best" / "metadata.json").read_text())
    assert metadata["steps"] == 2


def test_steps_are_counted_across_epochs(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    log = TrainingLog(tmp_path, 3, 4, validation_images=images)
    checkpoint = Checkpoint(tmp_path, every=100)
    model.fit(
        datasets.shuffled_batches(images, 4, seed=0),
        steps_per_epoch=2,
        epochs=4,
        callbacks=[checkpoint, log],
        verbose=0,
    )
    assert model.steps_taken == 8
    steps = [row["step"] for row in read_rows(tmp_path)]
    assert steps == ["3", "6", "8"]
    # Another model of the same make, which Keras gives other names.
    other = make_model()
    other.compile("sgd")
    assert Checkpoint(tmp_path, every=100).restore(other) == 8
    np.testing.assert_array_equal(
        other.get_weights()[0], model.get_weights()[0]
    )


def log_of(tmp_path, model, images, num_fits=1, steps=4, epochs=1, **options):
    """Returns the steps of the rows, and the history of the last `fit`."""
    options = {"validation_images": images, "validate_every": 4} | options
    log = TrainingLog(tmp_path, 2, 4, **options)
    for seed in range(num_fits):
        history = model.fit(
            datasets.shuffled_batches(images, 4, seed),
            steps_per_epoch=steps,
            epochs=epochs,
            callbacks=[log],
            verbose=0,
        )
    return read_rows(tmp_path), history.history["loss"]


def test_an_epoch_that_ends_on_a_row_has_its_loss(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    rows, losses = log_of(tmp_path, model, images, epochs=2)
    # The mean since the row before.
    expected = [float(rows[index]["loss"]) for index in (1, 3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert min(losses) > 0


def test_a_log_goes_on_from_one_fit_to_the_next(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    rows, _ = log_of(tmp_path, model, images, num_fits=2, steps=5)
    # Each `fit` has its last step in the log.
    assert [row["step"] for row in rows] == ["2", "4", "5", "6", "8", "10"]
    validated = [row["step"] for row in rows if row["validation_loss"]]
    assert validated == ["4", "5", "8", "10"]


@pytest.mark.skipif(
    BACKEND == "torch", reason="Keras takes one step at a time on PyTorch"
)
def test_several_steps_at_once_are_validated(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd", steps_per_execution=3)
    rows, _ = log_of(tmp_path, model, images, steps=9)
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    validated = [row["step"] for row in rows if row["validation_loss"]]
    assert validated == ["6", "9"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda images: images[:, :4], "validation_images.shape"),
        (lambda images: 200.0 * images, r"`validation_images` must lie in"),
    ],
)
def test_wrong_images_held_out_are_refused_at_once(
    tmp_path, make_model, images, wrong, message
):
    model = make_model()
    model.compile("sgd")
    held_out = wrong(images.astype("float32"))
    with pytest.raises(ValueError, match=message):
        log_of(tmp_path, model, images, validation_images=held_out)
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.parametrize(
    ("callback", "arguments"),
    [(Checkpoint, {}), (TrainingLog, {"batch_size": 4})],
)
def test_wrong_metadata_are_refused_at_once(tmp_path, callback, arguments):
    metadata = {"loss": np.float32(1)}
    with pytest.raises(ValueError, match="`metadata` must be a dictionary"):
        callback(tmp_path, 2, metadata=metadata, **arguments)


def test_a_model_is_compiled_before_it_is_restored(tmp_path, make_model):
    with pytest.raises(ValueError, match="must be compiled"):
        Checkpoint(tmp_path, every=2).restore(make_model())


def test_images_per_second_are_those_of_training(tmp_path, make_model, images):
    class Dawdle(EverySteps):
        def on_step(self, step, logs):
            time.sleep(0.5)

    model = make_model()
    model.compile("sgd")
    log = TrainingLog(tmp_path, 2, batch_size=4)
    model.fit(images, batch_size=4, callbacks=[Dawdle(1), log], verbose=0)
    # The first row has the compilation.
    assert float(read_rows(tmp_path)[1]["images_per_second"]) > 2 * 4 / 1.0


def test_wrong_intervals_are_named_before_images_are_loaded(
    train, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "load_images", None)
    message = "checkpoint_every=2, log_every=3.*--log-every"
    with pytest.raises(ValueError, match=message):
        train("--log-every", 3)
    assert not (tmp_path / "run").exists()


def test_all_but_the_network_is_an_option():
    known = [recipe.values() for recipe in recipes.RECIPES.values()]
    names = {name for recipe in known for name in recipe}
    assert names - {"network"} == recipe_options.OPTIONS.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 2, "validate_every": 3}, "validate_every=3, every=2"),
        ({"every": 2, "validate_every": 4}, "validation_images.*=4"),
        ({"every": 0}, "every=0"),
    ],
)
def test_log_rejects(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingLog(tmp_path, batch_size=4, **arguments)


def test_pictures_show_all_of_a_model_s_range(make_model, images, tmp_path):
    model = make_model(value_range=(-1.0, 1.0), sampler="heun")
    model.compile()
    shown = []
    pictures = SamplePictures(
        tmp_path, 1, num_images=1, on_picture=lambda *args: shown.append(args)
    )
    model.fit(2.0 * images - 1.0, batch_size=16, callbacks=pictures, verbose=0)
    ((step, drawn),) = shown
    expected = (model.generate(1, seed=0) + 1.0) / 2.0
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    with Image.open(tmp_path / f"{step:07d}.png") as picture:
        np.testing.assert_allclose(picture, expected[0, ..., 0] * 255, atol=0.6)


def test_a_run_without_range_has_no_pictures(train, tmp_path):
    preset = tmp_path / "unbounded"
    model = keras_ncsn.NCSNModel(two_convolutions(), value_range=None)
    model.save_to_preset(preset)
    network = "--from-preset", preset
    with pytest.raises(ValueError, match="value_range=None.*--sample-every 0"):
        train("--sample-every", 1, network=network)
    assert not (tmp_path / "run").exists()


def test_pictures_of_points_are_refused_before_training(tmp_path):
    network = keras_ncsn.networks.MLP(2, width=4)
    model = keras_ncsn.NCSNModel(network, value_range=None)
    model.compile()
    with pytest.raises(ValueError, match="without `SamplePictures`"):
        model.fit(
            np.zeros((8, 2), "float32"),
            callbacks=SamplePictures(tmp_path, 1),
            verbose=0,
        )
    assert int(model.optimizer.iterations.value) == 0


@pytest.mark.parametrize(
    "name",
    [
        *("last", "best", "samples", "tensorboard"),
        *("run.json", "log.csv", "state.npz", ".lock"),
    ],
)
@pytest.mark.parametrize("target", ["emacs", "*"])
def test_a_run_writes_nothing_outside_its_folder(
    resume, tmp_path, name, target, monkeypatch
):
    home, run = tmp_path / "home", tmp_path / "run"
    (home / ".emacs.d").mkdir(parents=True)
    (home / "emacs").mkdir()
    if name == "run.json":
        (home / "emacs").rmdir()
        shutil.move(run / name, home / target)
    elif (run / name).is_dir():
        shutil.rmtree(run / name)
    else:
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(home / target)
    before = sorted(home.rglob("*")), sorted(run.rglob("*"))
    monkeypatch.setattr(datasets, "load_images", None)
    with pytest.raises(ValueError, match=f"`{name}` must not be a link"):
        resume()
    assert (sorted(home.rglob("*")), sorted(run.rglob("*"))) == before


def test_temporary_names_that_were_planted_are_not_used(resume, tmp_path):
    profile = tmp_path / "profile"
    profile.write_text("mine")
    for name in ("log.csv", "run.json", "state.npz"):
        (tmp_path / "run" / f".{name}.tmp").symlink_to(profile)
        (tmp_path / "run" / f".{name}.0123abcd.tmp").symlink_to(profile)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    written["recipe"]["steps"] = 4
    (tmp_path / "run" / "run.json").write_text(json.dumps(written))
    assert "Step 4 is saved" in resume()
    assert profile.read_text() == "mine"
    # What a killed run left is removed, and nothing else.
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert ".log.csv.tmp" in names
    assert not any("0123abcd" in name for name in names)
