import functools
import importlib
import pathlib

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_ncsn

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def preset(make_zero, tmp_path):
    model = make_zero((8, 8, 1), sampler="heun")
    model.save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"


def checked_preset(model, folder):
    """Returns a preset that holds the averages and settings of a model."""
    loaded = keras_ncsn.NCSNModel.from_preset(folder)
    averages = model.ema_network.get_weights()
    weights = loaded.network.get_weights()
    pairs = zip(weights, averages, strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    ours, its = model.get_config(), loaded.get_config()
    for name in ("schedule", "sampler", "sampler_settings", "prediction"):
        assert its[name] == ours[name]
    return loaded


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def test_why_noise_2d(example, monkeypatch, tmp_path, capsys):
    why_noise_2d = example("why_noise_2d")
    monkeypatch.setattr(why_noise_2d, "STEPS_PER_LEVEL", 10)
    parts = why_noise_2d.main(tmp_path / "2d", steps=200, num_samples=400)

    # Plain dynamics fills both modes alike, annealed as the data does.
    assert parts["data"] == pytest.approx(0.2, abs=0.06)
    assert parts["Langevin, exact score"] == pytest.approx(0.5, abs=0.08)
    assert parts["annealed Langevin, network"] == pytest.approx(0.2, abs=0.1)
    assert "annealed Langevin, network: 0." in capsys.readouterr().out
    assert picture_size(tmp_path / "2d" / "scores.png")[0] == 1200
    assert picture_size(tmp_path / "2d" / "errors.png")[0] == 1200
    assert picture_size(tmp_path / "2d" / "samples.png")[0] == 1600
    with Image.open(tmp_path / "2d" / "annealing.gif") as film:
        assert film.n_frames == 20


def test_formulas_of_why_noise_2d_agree(example):
    # The score is the slope of the log density.
    why_noise_2d = example("why_noise_2d")
    points = np.random.default_rng(0).uniform(-3, 3, (8, 2)).astype("float32")
    sigma = np.full(8, 3.0, "float32")

    def log_density(x):
        return ops.convert_to_numpy(why_noise_2d.log_density(x, sigma)[0])

    step = np.array([0.05, 0.0], "float32")
    slope = (log_density(points + step) - log_density(points - step)) / 0.1
    score = why_noise_2d.true_score(ops.array(points), sigma)
    score = ops.convert_to_numpy(score)
    np.testing.assert_allclose(score[:, 0], slope, atol=1e-3)


def test_generate_images(example, preset, tmp_path):
    path = tmp_path / "grid.png"
    images = example("generate_images").main(path, preset, num_images=4)
    assert images.shape == (4, 8, 8, 1)
    assert picture_size(path) == (18, 18)
    with Image.open(path) as picture:
        first = np.asarray(picture)[:8, :8, None]
    np.testing.assert_array_equal(first, keras_ncsn.images.to_uint8(images[0]))


@pytest.mark.parametrize("scaled", [False, True])
def test_langevin_and_ddpm(example, make_zero, tmp_path, capsys, scaled):
    schedule = keras_ncsn.NoiseSchedule.linear_beta(num_levels=30)
    if not scaled:
        schedule = keras_ncsn.NoiseSchedule(schedule.sigmas / 2)
    make_zero((8, 8, 1), schedule=schedule).save_to_preset(tmp_path / "preset")
    path = tmp_path / "grid.png"
    images = example("langevin_and_ddpm").main(
        path, tmp_path / "preset", num_levels=30, num_rows=2
    )
    assert [x.shape for x in images.values()] == 2 * [(4, 8, 8, 1)]
    # All of DDPM's levels lie within the schedule, relative to images in
    # [-1, 1]. Annealed Langevin dynamics removes the noise of the last one.
    lines = "annealed_langevin: 31 evaluations\nddpm: 30 evaluations\n"
    assert capsys.readouterr().out == lines
    assert picture_size(path) == (5 * 10 - 2, 2 * 10 - 2)
    with Image.open(path) as picture:
        drawn = np.asarray(picture)
    for column, sampler in ((0, "annealed_langevin"), (30, "ddpm")):
        expected = keras_ncsn.images.to_uint8(images[sampler][0, ..., 0])
        shown = drawn[:8, column : column + 8]
        np.testing.assert_array_equal(shown, expected)
    assert (drawn[:, 20:28] == 255).all()


def test_inpaint_images(example, preset, tmp_path):
    path = tmp_path / "grid.png"
    filled = example("inpaint_images").main(
        path, preset, num_images=2, num_samples=3
    )
    # Two images, three masks; beside the completions, two columns more.
    assert filled.shape == (6, 3, 8, 8, 1)
    assert picture_size(path) == (5 * 10 - 2, 6 * 10 - 2)
    # Under the first mask the upper half is known: all completions share it.
    assert (filled[0, :, :4] == filled[0, :1, :4]).all()
    assert not (filled[0, :, 4:] == filled[0, :1, 4:]).all()


def test_pictures_show_images_of_any_range(example, make_zero, tmp_path):
    model = make_zero((8, 8, 1), sampler="heun", value_range=(-1.0, 1.0))
    model.save_to_preset(tmp_path / "preset")
    path = tmp_path / "grid.png"
    images = example("generate_images").main(path, tmp_path / "preset", 1)
    assert images.min() < 0
    with Image.open(path) as picture:
        drawn = np.asarray(picture)[..., None]
    np.testing.assert_array_equal(
        drawn, keras_ncsn.images.to_uint8((images[0] + 1) / 2)
    )

    Image.fromarray(drawn[..., 0]).save(tmp_path / "one.png")
    filled = example("inpaint_images").main(
        path, tmp_path / "preset", [tmp_path / "one.png"], num_samples=1
    )
    with Image.open(path) as picture:
        shown = np.asarray(picture)[:8, ..., None]
    np.testing.assert_array_equal(shown[:, :8], drawn)
    np.testing.assert_array_equal(shown[:4, 10:18], drawn[:4])
    assert (shown[4:, 10:18] == 128).all()
    expected = keras_ncsn.images.to_uint8((filled[0, 0] + 1) / 2)
    np.testing.assert_array_equal(shown[:, 20:], expected)
    np.testing.assert_array_equal(expected[:4], drawn[:4])


def test_inpaint_images_reads_files(example, preset, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    Image.fromarray(picture).save(tmp_path / "one.png")
    filled = example("inpaint_images").main(
        tmp_path / "grid.png",
        preset,
        files=[tmp_path / "one.png"],
        num_samples=1,
    )
    grey = Image.fromarray(picture).convert("L")
    known = np.asarray(grey)[:4, :, None] / 255
    np.testing.assert_allclose(filled[0, 0, :4], known, atol=1e-6)


@pytest.mark.parametrize("name", ["train_mnist", "predict_noise_mnist"])
def test_a_folder_with_other_files_is_refused_before_any_work(
    example, tmp_path, name
):
    (tmp_path / "digit.png").write_text("a picture")
    with pytest.raises(ValueError, match="new or empty folder"):
        example(name).main(tmp_path, images="never looked at")


def test_train_mnist(example, monkeypatch, images, tmp_path):
    folder = tmp_path / "preset"
    # Half the blocks compile in half the time.
    small = functools.partial(
        keras_ncsn.networks.UNet, num_blocks=1, attention_stages=()
    )
    monkeypatch.setattr(keras_ncsn.networks, "UNet", small)
    model = example("train_mnist").main(
        folder, steps=20, batch_size=8, images=images, widths=(8,)
    )
    assert int(model.optimizer.iterations) == 20
    assert model.sampler == "heun"
    loaded = checked_preset(model, folder)
    assert loaded.network.get_config() == model.network.get_config()
    assert picture_size(folder / "samples.png") == (78, 78)


def test_predict_noise_mnist(example, monkeypatch, images, tmp_path):
    folder = tmp_path / "preset"
    predict_noise_mnist = example("predict_noise_mnist")
    monkeypatch.setattr(predict_noise_mnist, "NUM_LEVELS", 10)
    model = predict_noise_mnist.main(
        folder, steps=20, batch_size=8, images=images, widths=(8, 8)
    )
    assert int(model.optimizer.iterations) == 20
    assert model.prediction == "noise"
    assert model.schedule.variance_preserving
    checked_preset(model, folder)
    assert picture_size(folder / "samples.png") == (78, 78)


@pytest.fixture
def coloured():
    """Images whose class is their colour, under noise."""

    def make(num_images, seed):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, num_images)
        images = rng.integers(0, 128, (num_images, 8, 8, 3), "uint8")
        images[np.arange(num_images), ..., labels] += 64
        return keras_ncsn.datasets.LabelledImages(images, labels, tuple("rgb"))

    return make


def test_train_classifier(example, coloured, monkeypatch, tmp_path):
    test = coloured(60, seed=1)
    path = tmp_path / "new" / "colours.keras"
    model, accuracy = example("train_classifier").main(
        "cifar10",
        path,
        epochs=4,
        batch_size=16,
        widths=(8, 8),
        train=coloured(240, seed=0),
        test=test,
    )
    assert accuracy > 0.9
    loaded = keras.saving.load_model(path)
    assert not loaded.compiled
    pairs = zip(loaded.get_weights(), model.get_weights(), strict=True)
    for weights, others in pairs:
        np.testing.assert_array_equal(weights, others)
        assert weights.dtype == "float32"
        # Stored in half precision.
        np.testing.assert_array_equal(weights, weights.astype("float16"))

    # As the benchmarks read it.
    monkeypatch.syspath_prepend(EXAMPLES.parent / "benchmarks")
    judge = importlib.import_module("sample_quality").Judge(path)
    images = keras_ncsn.images.to_floats(test.images)
    probabilities, features = judge(images)
    assert np.mean(probabilities.argmax(axis=1) == test.labels) == accuracy
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    logits = features @ np.array(loaded.get_layer("logits").get_weights()[0])
    logits += loaded.get_layer("logits").get_weights()[1]
    np.testing.assert_allclose(
        np.log(probabilities[:, 0] / probabilities[:, 1]),
        logits[:, 0] - logits[:, 1],
        atol=1e-4,
    )


def test_the_classifier_is_a_keras_file(example, tmp_path):
    with pytest.raises(ValueError, match=r"\.keras. Received: .*digits\.h5"):
        example("train_classifier").main("mnist", tmp_path / "digits.h5")


def test_whitened_patches_have_unit_covariance(example, coloured):
    train_classifier = example("train_classifier")
    images = keras_ncsn.images.to_floats(coloured(300, seed=0).images)
    kernel, bias = train_classifier.whitening_weights(images, epsilon=0.0)
    whitened = ops.convert_to_numpy(ops.conv(images, kernel)) + bias
    whitened = whitened.reshape(-1, 24)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)
    covariance = np.cov(whitened[:, :12], rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(12), atol=1e-3)
    np.testing.assert_allclose(whitened[:, 12:], -whitened[:, :12], atol=1e-4)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_only_photographs_are_mirrored(example, data):
    # Bright to the left. A mirror image is bright to the right.
    image = np.linspace(1, 0, 32, dtype="float32")
    images = np.broadcast_to(image[:, None], (200, 32, 32, 1))
    changed = images
    for layer in example("train_classifier").augmentations(data):
        changed = layer(changed, training=True)
    changed = ops.convert_to_numpy(changed)
    left, right = changed[:, 8:24, 8:16], changed[:, 8:24, 16:24]
    share = np.mean(left.mean(axis=(1, 2, 3)) < right.mean(axis=(1, 2, 3)))
    if data == "mnist":
        assert share == 0
    else:
        assert share == pytest.approx(0.5, abs=0.15)
        # Shifted by whole pixels.
        assert np.isin(changed, images).all()
