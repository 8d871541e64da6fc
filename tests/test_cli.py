import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import needs_torch, two_convolutions
from contract import randomize
from PIL import Image
from preset_files import restate

import keras_ncsn
from keras_ncsn import cli, ladder
from keras_ncsn.cli.files import check_output, read_mask, write_images
from keras_ncsn.images import save_images, to_uint8

DATA = pathlib.Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = keras_ncsn.NCSNModel(
        two_convolutions(),
        # The last step, from 0.5 to 0, changes the picture.
        keras_ncsn.NoiseSchedule.geometric(1.0, 0.5),
        sampler="heun",
        sampler_settings={"heun": {"num_steps": 2}},
    )
    randomize(model.network, scale=0.1)
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def preset(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "preset")


def run(*arguments):
    arguments = [str(argument) for argument in arguments]
    result = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_generate_writes_a_grid_a_folder_an_array_and_a_film(preset, tmp_path):
    common = ("generate", preset, "--num-images", 3, "--seed", 5)
    array = tmp_path / "out" / "samples.npy"
    run(*common, "--output", array, "--gif", tmp_path / "film.gif")
    images = np.load(array)
    assert (images.shape, images.dtype) == ((3, 8, 8, 1), np.float32)
    model = keras_ncsn.NCSNModel.from_preset(preset)
    np.testing.assert_allclose(images, model.generate(3, seed=5), atol=1e-5)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size) == (2, (18, 18))

    run(*common, "--output", tmp_path / "grid.png", "--num-steps", 3)
    with Image.open(tmp_path / "grid.png") as grid:
        assert (grid.size, grid.mode) == ((18, 18), "L")

    run(*common, "--output", tmp_path / "folder", "--batch-size", 2)
    files = sorted((tmp_path / "folder").iterdir())
    assert [file.name for file in files] == [f"0000{i}.png" for i in range(3)]
    with Image.open(files[0]) as first:
        assert np.array_equal(
            np.asarray(first), np.floor(images[0, ..., 0] * 255 + 0.5)
        )


def test_generate_runs_the_paper_s_sampler(preset, tmp_path):
    run(
        *("generate", preset, "--num-images", 1, "--output"),
        *(tmp_path / "a.npy", "--sampler", "annealed_langevin"),
        *("--steps-per-level", 1, "--step-size", 1e-5, "--denoise"),
    )
    assert np.load(tmp_path / "a.npy").shape == (1, 8, 8, 1)


@pytest.mark.parametrize("mask", ["left-half", "centre", "mask.png"])
def test_inpaint_keeps_what_is_known(preset, tmp_path, mask):
    save_images(np.random.default_rng(0).random((2, 8, 8, 1)), tmp_path / "in")
    files = sorted((tmp_path / "in").iterdir())
    white = np.indices((8, 8))[1] < 4
    Image.fromarray(white).save(tmp_path / "mask.png")
    if mask == "mask.png":
        mask = tmp_path / mask
    output = tmp_path / "filled.npy"
    run(
        *("inpaint", preset, *files, "--mask", mask, "--num-samples", 3),
        *("--output", output, "--seed", 0),
    )
    filled = np.load(output).reshape(2, 3, 8, 8)
    given = [np.asarray(Image.open(file)) / np.float32(255) for file in files]
    known = np.ones((8, 8), "bool")
    known[2:6, 2:6] = False
    known = known if mask == "centre" else white
    given = np.stack(given)[:, None]
    same = filled == given
    assert same[:, :, known].all()
    assert not same[:, :, ~known].any()


def test_inpaint_draws_a_row_for_each_image(preset, tmp_path):
    save_images(np.random.default_rng(0).random((2, 8, 8, 1)), tmp_path / "in")
    run(
        *("inpaint", preset, *sorted((tmp_path / "in").iterdir())),
        *("--mask", "centre", "--num-samples", 3),
        *("--output", tmp_path / "grid.png"),
    )
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 10 - 2, 2 * 10 - 2)


@pytest.mark.parametrize(
    ("operator", "size", "channels"),
    [
        (("super-resolution", "--factor", 2), 4, 3),
        (("deblurring", "--blur-std", 0.7), 8, 3),
        (("colourisation",), 8, 1),
        (("missing-pixels", "--mask", "left-half"), 8, 3),
    ],
)
def test_restore_draws_a_row_for_each_image(
    make_zero, tmp_path, operator, size, channels
):
    preset = tmp_path / "preset"
    model = make_zero((8, 8, 3), sampler="heun")
    model.save_to_preset(preset)
    images = np.random.default_rng(0).random((2, size, size, channels))
    save_images(images, tmp_path / "in")
    common = (
        *("restore", preset, *sorted((tmp_path / "in").iterdir())),
        *("--operator", *operator, "--noise", 0.1, "--num-samples", 3),
        *("--num-steps", 3, "--seed", 0, "--output"),
    )
    run(*common, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 10 - 2, 2 * 10 - 2)
        shown = np.asarray(grid)[:8, :8]
    pixels = to_uint8(images)[0]
    if operator[0] == "super-resolution":
        pixels = pixels.repeat(2, axis=0).repeat(2, axis=1)
    if operator[0] == "missing-pixels":
        pixels[:, 4:] = 128
    np.testing.assert_array_equal(shown, np.broadcast_to(pixels, shown.shape))
    run(*common, tmp_path / "restored.npy")
    restored = np.load(tmp_path / "restored.npy")
    assert restored.shape == (6, 8, 8, 3)


def test_pictures_show_the_whole_range_of_a_preset(make_zero, tmp_path):
    model = make_zero((8, 8, 1), value_range=(-1.0, 1.0), sampler="heun")
    preset = tmp_path / "preset"
    model.save_to_preset(preset)
    common = "generate", preset, "--num-images", 1, "--seed", 0, "--output"
    film = tmp_path / "film.gif"
    run(*common, tmp_path / "a.npy", "--gif", film)
    run(*common, tmp_path / "a.png")
    images = np.load(tmp_path / "a.npy")[0, ..., 0]
    assert images.min() < -0.5
    expected = np.floor((images + 1.0) / 2.0 * 255.0 + 0.5)
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)
        given = np.asarray(picture)
    with Image.open(film) as frames:
        frames.seek(frames.n_frames - 1)
        np.testing.assert_allclose(frames.convert("L"), expected, atol=1)

    output = tmp_path / "filled.png"
    run(
        *("inpaint", preset, tmp_path / "a.png", "--mask", "left-half"),
        *("--num-samples", 1, "--output", output),
    )
    with Image.open(output) as picture:
        known, filled = np.asarray(picture)[:, :8], np.asarray(picture)[:, 10:]
    np.testing.assert_array_equal(known[:, :4], given[:, :4])
    np.testing.assert_array_equal(filled[:, :4], given[:, :4])
    assert (known[:, 4:] == 128).all()


def test_pictures_of_points_are_refused(tmp_path, monkeypatch):
    preset = tmp_path / "points"
    network = keras_ncsn.networks.MLP(2, width=4)
    model = keras_ncsn.NCSNModel(network, value_range=None, sampler="heun")
    model.save_to_preset(preset)
    run("generate", preset, "--output", tmp_path / "a.npy", "--num-images", 3)
    assert np.load(tmp_path / "a.npy").shape == (3, 2)
    # Before any is drawn.
    monkeypatch.delattr(keras_ncsn.NCSNModel, "generate")
    monkeypatch.delattr(keras_ncsn.NCSNModel, "inpaint")
    Image.new("L", (2, 1)).save(tmp_path / "a.png")
    for arguments in (
        ["generate", preset, "--output", tmp_path / "b.png"],
        ["generate", preset, "--output", tmp_path / "folder"],
        [
            *("generate", preset, "--output", tmp_path / "b.npy", "--gif"),
            "b.gif",
        ],
        ["inpaint", preset, tmp_path / "a.png", "--mask", "left-half"],
    ):
        with pytest.raises(ValueError, match=r"1 or 3 channels.*shape \(2,\)"):
            run(*arguments)


WHITE = np.arange(8) < np.full((8, 1), 4)
RESTORE = "restore", "mnist", "digit.png", "--noise", "0.1", "--operator"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_masks_are_read_in_each_image_mode(tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(WHITE.astype("uint16") * 65535)
    else:
        picture = Image.fromarray(WHITE).convert(mode)
    picture.save(tmp_path / "mask.png")
    known = read_mask(tmp_path / "mask.png", (8, 8, 1))
    np.testing.assert_array_equal(known, WHITE)


@pytest.mark.parametrize(
    ("mode", "name", "settings", "message"),
    [
        ("CMYK", "mask.tif", {}, "grey or RGB.*mode CMYK"),
        ("F", "mask.tif", {}, "grey or RGB.*mode F"),
        ("LA", "mask.png", {}, "without transparent pixels"),
        ("RGBA", "mask.png", {}, "without transparent pixels"),
        ("L", "mask.png", {"transparency": 255}, "without transparent pixels"),
        ("P", "mask.png", {"transparency": 0}, "without transparent pixels"),
    ],
)
def test_masks_must_be_opaque_and_grey_or_rgb(
    tmp_path, mode, name, settings, message
):
    picture = Image.fromarray(WHITE).convert(mode)
    if mode.endswith("A"):
        picture.putpixel((0, 0), (255,) * (len(mode) - 1) + (254,))
    picture.save(tmp_path / name, **settings)
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / name, (8, 8, 1))


@pytest.mark.parametrize("value", [255, 256, 65534])
def test_masks_of_16_bits_must_be_black_and_white(tmp_path, value):
    values = np.full((8, 8), value, "uint16")
    Image.fromarray(values).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=f"white .65535.*the value {value}"):
        read_mask(tmp_path / "mask.png", (8, 8, 1))


@pytest.mark.parametrize("name", ["grid.png", "a.npy", "images"])
def test_checking_the_output_makes_no_files(tmp_path, name):
    check_output(tmp_path / "new" / "out" / name)
    assert not list(tmp_path.iterdir())
    path = tmp_path / "new" / "out" / name
    write_images(np.ones((1, 2, 2, 1)), path, (0.0, 1.0))
    assert (tmp_path / "new" / "out" / name).exists()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for place in "file", "link", "n" * 300:
        with pytest.raises(ValueError, match=f"must be writable.*{name}"):
            check_output(tmp_path / place / name)


def test_a_folder_of_other_images_is_refused(tmp_path):
    write_images(np.ones((2, 2, 2, 1)), tmp_path / "images", (0.0, 1.0))
    with pytest.raises(ValueError, match="new or empty folder.*images"):
        check_output(tmp_path / "images")
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty")


@pytest.mark.parametrize("name", ["grid.png", "a.npy", "images"])
def test_output_must_be_writable(tmp_path, monkeypatch, name):
    monkeypatch.setattr("os.access", lambda folder, mode: False)
    with pytest.raises(ValueError, match=f"must be writable.*{name}"):
        check_output(tmp_path / name)


def test_an_array_replaces_a_read_only_file(tmp_path):
    path = tmp_path / "a.NPY"
    path.touch(0o444)
    write_images(np.ones((1, 2, 2, 1)), path, (0.0, 1.0))
    assert np.load(path).shape == (1, 2, 2, 1)
    assert list(tmp_path.iterdir()) == [path]


def test_suggest_schedule_prints_python_that_runs(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), "uint8")
    images[3], images[7] = 0, 255
    np.save(tmp_path / "images.npy", images)
    printed = run("suggest-schedule", tmp_path / "images.npy")
    assert "30 images of 8x8x3, 192 numbers each" in printed
    network = keras_ncsn.networks.MLP(2)
    names = {"keras_ncsn": keras_ncsn, "network": network}
    exec(printed[printed.index("schedule = ") :], names)
    schedule = names["schedule"]
    # The root of 192, the diagonal from black to white.
    assert (schedule.sigma_max, schedule.sigma_min) == (13.86, 0.01)
    assert schedule.num_levels == ladder.suggested_num_levels(13.86, 0.01, 192)
    assert names["model"].sampler_settings == {
        "annealed_langevin": {
            "steps_per_level": 5,
            "step_size": pytest.approx(
                ladder.suggested_step_size(schedule.sigmas, 5), rel=1e-2
            ),
        }
    }


def test_suggest_schedule_takes_a_budget_and_a_sample(tmp_path):
    images = np.random.default_rng(0).random((30, 8, 8, 1))
    np.save(tmp_path / "images.npy", images)
    printed = run(
        *("suggest-schedule", tmp_path / "images.npy", "--total-steps", 200),
        *("--num-images", 10, "--seed", 1, "--sigma-min", 0.1),
    )
    sigma_max = ladder.largest_distance(images, num_images=10, seed=1)
    num_levels = ladder.suggested_num_levels(sigma_max, 0.1, 64)
    assert f"sigma_max={sigma_max:.4g}" in printed
    assert f'"steps_per_level": {200 // num_levels}' in printed
    assert "among 10 images" in printed


def test_suggest_schedule_skips_unreadable_pictures(tmp_path):
    save_images(np.random.default_rng(0).random((9, 8, 8, 1)), tmp_path)
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.warns(UserWarning, match="Skipped 1 of 10"):
        printed = run("suggest-schedule", tmp_path, "--skip-unreadable")
    assert "9 images of 8x8x1" in printed


def test_presets_lists_the_zoo():
    assert "\nmnist " in run("presets")
    assert "28x28x1" in run("presets")
    assert "bundled" in run("presets")
    (row,) = [
        row
        for row in json.loads(run("presets", "--json"))
        if row["name"] == "mnist"
    ]
    assert row["parameters"] == 1_901_725
    assert row["guide_parameters"] == 254_737
    assert "1,901,725 + 254,737" in run("presets")
    assert row["license"] == "apache-2.0"
    assert "apache-2.0" in run("presets")
    assert "celeba-non-commercial-research-only" in run("presets")
    assert "The terms of ncsn_celeba: https://" in run("presets")
    assert "Handwritten digits" in run("presets", "show", "mnist")
    asked = CliRunner().invoke(cli.cli, ["presets", "--json", "show", "mnist"])
    assert asked.exit_code == 2
    assert "--json is for the list" in asked.output


def test_a_stranger_s_text_sends_no_control_characters(
    preset, monkeypatch, capsys
):
    clear = "\x1b[2J\x9b\x07"
    (preset / "README.md").write_text(f"# A {clear}card\n\n\tOf \u202eme\n")
    assert run("presets", "show", preset) == "# A [2Jcard\n\n\tOf me\n\n"
    config = json.loads((preset / "config.json").read_text())
    config["config"]["network"]["class_name"] = clear
    (preset / "config.json").write_text(json.dumps(config))
    restate(preset)
    monkeypatch.setattr("sys.argv", ["keras-ncsn", "generate", str(preset)])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr().err
    assert "could run code" in printed
    assert printed.rstrip("\n").isprintable()


@needs_torch
def test_convert_makes_a_preset(tmp_path):
    # In a process of its own, where nothing has imported Keras before.
    command = [sys.executable, "-m", "keras_ncsn.cli", "convert"]
    command += [DATA / "ncsn_28x28x1_ngf8.pth", tmp_path / "preset"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "RefineNet for 28x28x1" in done.stdout
    assert "10 noise levels from 1 to 0.01" in done.stdout
    model = keras_ncsn.NCSNModel.from_preset(tmp_path / "preset")
    with np.load(DATA / "ncsn_28x28x1_ngf8.npz") as golden:
        sigma = golden["sigmas"][golden["labels"]]
        score = model.score(golden["x"], sigma)
        error = np.abs(score - golden["score"]).max(axis=(1, 2, 3))
        scale = np.abs(golden["score"]).max(axis=(1, 2, 3))
    assert np.all(error < 1e-4 * scale)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_gives_each_option_its_default(command):
    printed = run(command, "--help")
    options = [
        parameter
        for parameter in cli.cli.get_command(None, command).params
        if parameter.param_type_name == "option"
    ]
    undocumented = [
        option.name
        for option in options
        if not option.show_default
        and not option.required
        and not option.is_flag
        and "Default" not in option.help
        and option.name != "gif"
    ]
    assert undocumented == []
    assert "Usage" in printed


@pytest.mark.parametrize(
    ("command", "first", "titles"),
    [
        ("generate", "--num-images", ["Images", "Files", "Sampling"]),
        ("inpaint", "--mask", ["Images", "Files", "Sampling"]),
        ("restore", "--operator", ["Images", "Files", "Sampling"]),
        ("suggest-schedule", "--image-size", ["Data", "Noise levels"]),
    ],
)
def test_help_shows_options_in_groups(command, first, titles):
    printed = run(command, "--help")
    shown = re.findall(r"^(\w.*):$", printed, re.MULTILINE)
    assert shown == [*titles, "Options"]
    _, after = printed.split(f"{titles[0]}:\n")
    assert after.lstrip().startswith(first)
    _, rest = printed.split("Options:\n")
    assert re.findall(r"^  (--\S+)", rest, re.MULTILINE) == ["--help"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "clowntown"], "preset='clowntown'"),
        (["generate", "mnist", "--output", "a.xyz"], "known format.*a.xyz"),
        (["generate", "mnist", "--gif", "a.png"], r"end in \.gif"),
        (["generate", "mnist", "--num-images", "0"], "num-images"),
        (["generate", "mnist", "--steps-per-level", "3"], "has the settings"),
        (["inpaint", "mnist", "digit.png", "--mask", "x"], "one of left-half"),
        (["inpaint", "mnist", "digit.png", "--mask", "grey.png"], "value 7"),
        (["inpaint", "mnist", "large.png", "--mask", "centre"], "28 pixels"),
        (["restore", "mnist", "digit.png"], "--operator"),
        ([*RESTORE, "super-resolution"], "needs --factor. Received: none"),
        ([*RESTORE, "colourisation", "--factor", "2"], "--factor is not for"),
        ([*RESTORE, "super-resolution", "--factor", "3"], "must divide"),
        ([*RESTORE, "super-resolution", "--factor", "2"], "14 pixels wide"),
        ([*RESTORE, "colourisation"], "must get images with 3 channels"),
        ([*RESTORE, "missing-pixels", "--mask", "x"], "one of left-half"),
        ([*RESTORE, "deblurring", "--blur-std", "nan"], "nan"),
        (["train", "no-where", "out"], "no-where"),
        (["train", "digit.png", "out"], r"digit\.png"),
        (["train", ".", "out"], "one size.*Pass an image size"),
        (["train", ".", "out", "--width-multipliers", "a"], "with commas"),
        (["train", ".", "out", "--recipe", "soup"], "one of unet-mnist"),
        (["train", ".", "out", "--image-size", "8"], "batch_size=128, 3 im"),
        (["train", ".", "out", "--clip-norm", "nan"], "finite.*norm=nan"),
        (["train", ".", "out", "--step-size", "inf"], "finite.*size=inf"),
        (["train", "flat.npy", "out", "--batch-size", "1"], "of one colour"),
        (["suggest-schedule", "no-where"], "no-where"),
        (["suggest-schedule", "flat.npy"], r"above the smallest.*flat\.npy"),
        (
            ["suggest-schedule", "two.npy", "--total-steps", "9"],
            "needs a step.*--total-steps 9, for",
        ),
        (
            [
                *("suggest-schedule", "two.npy"),
                *("--total-steps", "9", "--steps-per-level", "1"),
            ],
            "Only one of --steps-per-level and --total-steps",
        ),
        pytest.param(
            ["convert", "digit.png", "out"],
            "holds tensors only",
            marks=needs_torch,
        ),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28), 255).save("digit.png")
    Image.new("L", (28, 28), 7).save("grey.png")
    Image.new("L", (29, 29)).save("large.png")
    np.save("flat.npy", np.ones((3, 8, 8)))
    np.save("two.npy", np.stack([np.zeros((8, 8)), np.ones((8, 8))]))
    monkeypatch.setattr("sys.argv", ["keras-ncsn", *arguments])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed)
    assert "Traceback" not in printed
    assert sorted(tmp_path.iterdir()) == before
