"""Runs with labels, and what the command line draws from them."""

import json
import multiprocessing
import signal

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from contract import assert_equal
from interrupt import KillAt
from keras import ops
from PIL import Image
from training_runs import TINY, read_rows, train_in

import keras_ncsn
from keras_ncsn import cli, datasets, runs
from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.presets import cards, format, sources
from keras_ncsn.runs import building, recipes, run_file

CONDITIONAL = [*TINY, "--conditional", "--num-steps", 2]


def save_preset(folder):
    """Saves a preset with labels, whose network compiles in no time."""
    layers = keras.layers
    noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
    label = keras.Input((), dtype="int32")
    level = layers.Dense(8)(layers.Reshape((1, 1, 1))(ops.log(sigma)))
    table = layers.Embedding(3, 8)(layers.Reshape((1, 1))(label))
    x = layers.Conv2D(8, 3, padding="same")(noisy)
    x = layers.Activation("silu")(layers.Add()([x, level, table]))
    x = layers.Conv2D(1, 3, padding="same")(x)
    keras.utils.set_random_seed(0)
    keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma, label], x),
        sampler=keras_ncsn.samplers.Heun(num_steps=2),
        class_names=["cat", "dog"],
        # A resumed run must drop the same conditions.
        condition_dropout=0.5,
    ).save_to_preset(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on forty pictures of two classes, three quarters of them bright."""
    folder = tmp_path_factory.mktemp("trained")
    save_preset(folder / "small")
    rng = np.random.default_rng(0)
    for name, count, low in (("bright", 30, 128), ("dark", 10, 0)):
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(low, low + 128, (8, 8), "uint8")
            picture = Image.fromarray(pixels)
            picture.save(folder / "pictures" / name / f"{index}.png")
    printed = train_in(folder)
    renamed = "classes bright, dark take the places of the preset's cat, dog"
    assert renamed in printed
    return folder


def invoke(*arguments, status=0):
    result = CliRunner().invoke(
        cli.cli, list(map(str, arguments)), catch_exceptions=False
    )
    assert result.exit_code == status, result.output
    return result.output


def test_a_run_trains_a_conditional_model(trained):
    rows = read_rows(trained / "run")
    for row in rows:
        assert float(row["validation_loss"]) > 0
        # After so few steps, the zeros of the last layer are hardly changed.
        assert float(row["unconditional_loss"]) > 0
    model = keras_ncsn.NCSNModel.from_preset(trained / "run" / "last")
    assert model.class_names == ("bright", "dark")
    assert model.class_counts == (30, 10)
    metadata = format.read_metadata(trained / "run" / "last")
    assert metadata["class_names"] == ["bright", "dark"]


def test_conditional_recipe_has_a_network_with_labels():
    settings = {"conditional": True, "condition_dropout": 0.2, "width": 8}
    recipe = recipes.find("unet-mnist", settings)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), "uint8")
    model = building.make_model(recipe, images, 0, ["cat", "dog"], [3, 1])
    assert model.network.num_classes == 2
    assert model.class_names == ("cat", "dog")
    assert model.class_counts == (3, 1)
    assert model.condition_dropout == 0.2


@pytest.mark.slow
def test_run_trains_a_conditional_u_net(trained, tmp_path):
    options = "--steps", 1, "--checkpoint-every", 1, "--log-every", 1
    more = "--condition-dropout", 0.2
    data = trained / "pictures"
    train_in(tmp_path, *options, *more, network=CONDITIONAL, data=data)
    model = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert model.class_names == ("bright", "dark")
    assert model.network.num_classes == 2
    assert model.condition_dropout == 0.2
    metadata = format.read_metadata(tmp_path / "run" / "last")
    assert "--conditional" in metadata["command"]
    assert "--condition-dropout 0.2" in metadata["command"]


WRITING = {"log_every": 1, "checkpoint_every": 2, "sample_every": 0}


def train_with(callbacks, folder, run):
    data = runs.load_images(run)
    return runs.train(folder, run, data, extra_callbacks=callbacks, **WRITING)


def stop(folder, run):
    class Stop(EverySteps):
        def on_step(self, step, logs):
            self.model.stop_training = True

    assert train_with([Stop(3)], folder, run) == 3


def kill(folder, run):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras_ncsn.model"])
    process = context.Process(
        target=train_with, args=([KillAt(3)], folder, run)
    )
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    with np.load(folder / "state.npz") as file:
        assert file["step"] == 2


@pytest.mark.parametrize(
    "end", [stop, pytest.param(kill, marks=pytest.mark.slow)]
)
def test_resumed_run_is_equal_bit_for_bit(trained, tmp_path, end):
    run = run_file.describe(
        str(trained / "pictures"),
        settings={"steps": 4, "batch_size": 4},
        from_preset=str(trained / "small"),
    )
    folder = tmp_path / "ended"
    end(folder, run)
    assert train_with([], folder, run) == 4
    assert train_with([], tmp_path / "whole", run) == 4
    with (
        np.load(folder / "state.npz") as ours,
        np.load(tmp_path / "whole" / "state.npz") as theirs,
    ):
        assert ours.files == theirs.files
        for name in ours.files:
            assert_equal(ours[name], theirs[name])
    losses = [
        [(row["loss"], row["unconditional_loss"]) for row in read_rows(path)]
        for path in (folder, tmp_path / "whole")
    ]
    assert losses[0] == losses[1]


def test_run_is_resumed_with_its_own_labels(trained, tmp_path):
    run = run_file.read(trained / "run")
    data = runs.load_images(run)
    changed = data._replace(labels=data.labels[::-1].copy())
    with pytest.raises(ValueError, match="its own images"):
        runs.train(trained / "run", run, changed)


def test_conditional_preset_is_trained_further(trained, tmp_path):
    preset = "--from-preset", trained / "run" / "last"
    arguments = {"network": preset, "data": trained / "pictures"}
    assert "take the places" not in train_in(tmp_path, **arguments)
    message = "conditional. Leave them out .a preset with labels is trained"
    with pytest.raises(ValueError, match=message):
        train_in(tmp_path / "new", "--conditional", **arguments)
    model = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert model.class_names == ("bright", "dark")
    train_in(tmp_path, "--steps", 4, "--resume", **arguments)
    # Other data has other classes.
    (tmp_path / "other").mkdir()
    for name in "abc":
        (tmp_path / "other" / name).mkdir()
        for index in range(4):
            picture = Image.new("L", (8, 8), 60 * index)
            picture.save(tmp_path / "other" / name / f"{index}.png")
    with pytest.raises(ValueError, match="as many classes"):
        train_in(tmp_path / "new", network=preset, data=tmp_path / "other")


def test_run_trains_without_images_of_the_last_class(trained, tmp_path):
    run = run_file.describe(
        "images.npz",
        settings={"steps": 2, "batch_size": 4},
        from_preset=str(trained / "small"),
    )
    images = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
    labels, names = np.zeros(8, "int32"), ("cat", "dog")
    data = datasets.LabelledImages(images, labels, names)
    assert runs.train(tmp_path / "run", run, data, **WRITING) == 2
    model = keras_ncsn.NCSNModel.from_preset(tmp_path / "run" / "last")
    assert model.class_counts == (8, 0)


def test_data_without_labels_is_refused_before_any_work(trained, tmp_path):
    data = trained / "pictures" / "dark"
    with pytest.raises(ValueError, match="one folder for each class"):
        train_in(tmp_path, network=CONDITIONAL, data=data)
    assert not (tmp_path / "run").exists()


def test_generate_draws_what_a_label_says(trained, tmp_path):
    preset = trained / "run" / "last"
    model = keras_ncsn.NCSNModel.from_preset(preset)

    def draw(*options):
        output = tmp_path / "samples.npy"
        common = "--seed", 0, "--output", output
        invoke("generate", preset, *options, *common)
        return np.load(output)

    expected = model.generate(2, seed=0, labels="dark")
    assert_equal(draw("--label", "dark", "--num-images", 2), expected)
    assert_equal(draw("--label", "1", "--num-images", 2), expected)
    expected = model.generate(labels=["dark", "bright", "none"], seed=0)
    assert_equal(draw("--labels", "dark,0,none"), expected)
    guided = model.generate(2, seed=0, labels="dark", guidance=3.0)
    options = "--label", "dark", "--num-images", 2, "--guidance", 3
    assert_equal(draw(*options), guided)
    rows = draw("--grid-by-class", "--num-images", 2)
    for row, label in ((rows[:2], "bright"), (rows[2:], "dark")):
        assert_equal(row, model.generate(2, seed=0, labels=label))


def test_grid_by_class_has_a_row_for_each_class(trained, tmp_path):
    preset, output = trained / "run" / "last", tmp_path / "grid.png"
    film = tmp_path / "film.gif"
    options = "--grid-by-class", "--num-images", 5, "--gif", film
    invoke("generate", preset, *options, "--output", output)
    for path in (output, film):
        with Image.open(path) as picture:
            assert picture.size == (5 * 10 - 2, 2 * 10 - 2)


def test_inpaint_takes_a_label(trained, tmp_path):
    preset = trained / "run" / "last"
    picture = trained / "pictures" / "dark" / "0.png"
    outputs = []
    for label in ("dark", "bright"):
        outputs.append(tmp_path / f"{label}.npy")
        invoke(
            *("inpaint", preset, picture, "--mask", "left-half"),
            *("--num-samples", 2, "--seed", 0, "--label", label),
            *("--output", outputs[-1]),
        )
    dark, bright = map(np.load, outputs)
    assert np.abs(dark - bright).max() > 1e-3
    model = keras_ncsn.NCSNModel.from_preset(preset)
    with Image.open(picture) as opened:
        pixels = np.asarray(opened)[..., None]
    known_mask = np.zeros((8, 8), bool)
    known_mask[:, :4] = True
    expected = model.inpaint(
        pixels, known_mask, num_samples=2, seed=0, labels="dark"
    )
    assert_equal(dark, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label", "frog"], "bright, dark"),
        (["--label", "2"], "from 0 to 1"),
        (["--labels", "dark,2"], "from 0 to 1"),
        (["--labels", "dark,,2"], "commas between"),
        (["--label", "dark", "--labels", "0"], "give one of"),
        (["--label", "dark", "--grid-by-class"], "give one of"),
        (["--labels", "0,1", "--num-images", "3"], "2 for 3"),
    ],
)
def test_wrong_labels_are_refused(trained, tmp_path, options, message):
    output = tmp_path / "grid.png"
    preset = trained / "run" / "last"
    command = ["generate", preset, *options, "--output", output]
    try:
        printed = invoke(*command, status=2)
    except ValueError as error:
        printed = str(error)
    assert message in printed
    assert not output.exists()


def test_class_with_a_comma_in_its_name_has_a_number(trained, tmp_path):
    model = keras_ncsn.NCSNModel.from_preset(
        trained / "run" / "last", class_names=["bright, white", "dark"]
    )
    model.save_to_preset(tmp_path / "preset")
    command = "generate", tmp_path / "preset", "--seed", 0, "--output"
    output = tmp_path / "samples.npy"
    with pytest.raises(ValueError, match="'bright'. A comma.*by its number"):
        invoke(*command, output, "--labels", "bright, white,dark")
    invoke(*command, output, "--labels", "0,dark")
    expected = model.generate(labels=["bright, white", "dark"], seed=0)
    assert_equal(np.load(output), expected)
    one = "--label", "bright, white", "--num-images", 1
    invoke(*command, output, *one)
    assert_equal(np.load(output), expected[:1], rtol=1e-5)
    # Where no name has a comma, none is spoken of.
    with pytest.raises(ValueError, match="Received: 'grey'$"):
        invoke("generate", trained / "run" / "last", "--labels", "grey,0")


def test_label_is_refused_for_a_preset_without_labels(small):
    for option in (["--label", "1"], ["--labels", "1"], ["--grid-by-class"]):
        with pytest.raises(ValueError, match="trained with labels"):
            invoke("generate", small, *option)


def test_card_names_the_classes(trained):
    folder = trained / "run" / "last"
    model = keras_ncsn.NCSNModel.from_preset(folder)
    text = cards.make(format.read_metadata(folder), model, "owner/repo")
    assert 'model.generate(16, seed=0, labels="bright")' in text
    assert "bright, dark" in text


def test_list_of_presets_counts_the_classes(trained, small, monkeypatch):
    zoo = {"pictures": trained / "run" / "last", "small": small}
    monkeypatch.setattr(sources, "zoo", lambda: zoo)
    head, *lines = invoke("presets").splitlines()
    start = head.index("classes")
    cells = [line[start:].split("  ")[0] for line in lines]
    assert cells == ["2", ""]
    rows = json.loads(invoke("presets", "--json"))
    assert [row["class_names"] for row in rows] == [["bright", "dark"], None]


def test_old_run_files_stay_readable(tmp_path):
    run = run_file.describe("mnist")
    for name in ("conditional", "condition_dropout"):
        del run["recipe"][name]
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert run_file.read(tmp_path)["recipe"]["conditional"] is False
