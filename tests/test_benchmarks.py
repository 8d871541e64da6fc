import contextlib
import pathlib

import click
import numpy as np
import pytest
from benchmark_files import load_benchmark
from conftest import needs_torch, two_convolutions
from contract import random_images, randomize
from keras import ops
from PIL import Image

from keras_ncsn import NCSNModel, samplers
from keras_ncsn.images import to_uint8
from keras_ncsn.networks.unet import UNet

ROOT = pathlib.Path(__file__).parent
DATA = ROOT / "data"


with contextlib.suppress(ImportError):
    import torch

    plain_refinenet = load_benchmark("plain_refinenet")
    plain_unet = load_benchmark("plain_unet")
sample_quality = load_benchmark("sample_quality")
face_quality = load_benchmark("face_quality")
out_of_distribution = load_benchmark("out_of_distribution")


@pytest.fixture
def one_thread():
    """Small convolutions wait for threads that other processes hold up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "channels"), [("ncsn_28x28x1_ngf8", 1), ("ncsn_32x32x3_ngf8", 3)]
)
def test_plain_network_gives_the_scores_of_the_checkpoints(name, channels):
    checkpoint = torch.load(DATA / f"{name}.pth", weights_only=True)
    weights = {
        key.removeprefix("module."): value
        for key, value in checkpoint[0].items()
    }
    network = plain_refinenet.PlainRefineNet(channels, width=8)
    network.load_state_dict(weights, strict=True)
    with np.load(DATA / f"{name}.npz") as golden, torch.inference_mode():
        x = torch.as_tensor(golden["x"]).permute(0, 3, 1, 2)
        score = network(x, torch.as_tensor(golden["labels"]))
        error = np.abs(score.permute(0, 2, 3, 1).numpy() - golden["score"])
        scale = np.abs(golden["score"]).max(axis=(1, 2, 3))
    assert np.all(error.max(axis=(1, 2, 3)) < 1e-4 * scale)


@needs_torch
@pytest.mark.usefixtures("one_thread")
def test_plain_training_step_equals_the_paper_s():
    torch.manual_seed(0)
    network = plain_refinenet.PlainRefineNet(1, width=2)
    torch.nn.init.zeros_(network.end_conv.weight)
    torch.nn.init.zeros_(network.end_conv.bias)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images, sigmas = torch.rand(256, 1, 8, 8), torch.logspace(0, -2, 10)
    loss = plain_refinenet.training_step(network, optimizer, sigmas, images)
    # Half the number of pixels, of which the standard error is 0.35.
    assert loss == pytest.approx(32, abs=1.5)
    assert network.end_conv.weight.abs().max() > 0


@needs_torch
@pytest.mark.usefixtures("one_thread")
def test_plain_unet_gives_the_scores_of_ours():
    sizes = {"widths": (8, 12), "patch_size": 2, "num_blocks": 1}
    network = UNet((8, 8, 3), **sizes, data_mean=0.4, data_std=0.3)
    randomize(network)
    plain = plain_unet.PlainUNet(3, **sizes, mean=0.4, std=0.3)
    plain_unet.copy_weights(plain, network)
    x, sigma = random_images(2, 8, 8, 3), np.array([0.05, 2.0], "float32")
    with torch.inference_mode():
        score = plain(
            torch.as_tensor(x).permute(0, 3, 1, 2), torch.as_tensor(sigma)
        )
    expected = ops.convert_to_numpy(network([x, sigma]))
    error = np.abs(score.permute(0, 2, 3, 1).numpy() - expected)
    assert np.all(error < 1e-5 * np.abs(expected).max(axis=(1, 2, 3)).max())


@pytest.mark.parametrize("channels", [1, 3])
def test_border_jump_is_the_step_into_the_hole(channels):
    images = np.zeros((2, 4, 6, channels))
    images[:, :, 3:] = 0.5
    images[:, :, 4:] = 9.0
    known = np.zeros((4, 6, 1), bool)
    known[:, :3] = True
    assert sample_quality.border_jump(images, known) == 0.25
    # Of rows as of columns.
    turned = images.swapaxes(1, 2), known.swapaxes(0, 1)
    assert sample_quality.border_jump(*turned) == 0.25


@pytest.mark.parametrize("text", ["churn", "churn=x", "a=1=2"])
def test_settings_are_parsed_as_numbers_by_name(text):
    parse = sample_quality.parse_settings
    (settings,) = parse(None, None, ["num_steps=24,churn=2.5"])
    assert settings == {"num_steps": 24, "churn": 2.5}
    assert type(settings["num_steps"]) is int
    with pytest.raises(click.BadParameter, match="num_steps=24,churn=5"):
        parse(None, None, [text])


@pytest.mark.parametrize("sampler", sorted(samplers.NAMES))
def test_evaluations_are_those_of_the_sampler(sampler):
    model = NCSNModel(two_convolutions(), sampler=sampler)
    expected = samplers.make(sampler).num_evaluations(model.schedule)
    count = sample_quality.num_evaluations(model, {"guidance": 2.0})
    assert count == expected


def test_errors_of_ideal_completions_equal_their_spread():
    rng = np.random.default_rng(0)
    images, *samples = rng.normal(0.5, 0.2, (17, 300, 4, 6, 3))
    completions = np.stack(samples, axis=1)
    hidden = np.zeros((4, 6), bool)
    hidden[:, 3:] = True
    # What is known must not count.
    completions[:, :, :, :3] = 9.0
    images[:, :, :3] = 0.0
    errors = face_quality.completion_errors(
        images, completions, hidden, np.full((4, 6, 3), 0.5)
    )
    assert errors["spread between completions"] == pytest.approx(0.2, rel=0.01)
    assert errors["one completion"] == pytest.approx(0.2 * 2**0.5, rel=0.03)
    mean = errors["mean of the completions"]
    assert mean == pytest.approx(0.2 * (1 + 1 / 16) ** 0.5, rel=0.03)
    assert errors["the mean face"] == pytest.approx(0.2, rel=0.03)
    # Of zeros.
    mirrored = errors["the mirrored half"]
    assert mirrored == pytest.approx((0.5**2 + 0.2**2) ** 0.5, rel=0.03)


def test_mirrored_copies_are_found():
    pool = np.random.default_rng(0).random((5, 4, 6, 3))
    images = np.stack([pool[3], pool[1][:, ::-1] + 0.1, pool[2] - 0.05])
    distances = face_quality.nearest_distances(images, pool)
    assert distances == pytest.approx([0, 0.1, 0.05], abs=1e-6)


def test_nearest_image_may_be_a_mirror_image():
    pool = np.random.default_rng(0).random((5, 4, 4, 1), "float32")
    images = np.stack([pool[3, :, ::-1], pool[1]]) + np.float32(0.01)
    find = sample_quality.nearest_images
    nearest, distances = find(images, pool, mirrored=True)
    np.testing.assert_array_equal(nearest, [pool[3, :, ::-1], pool[1]])
    assert distances == pytest.approx([0.01, 0.01], abs=1e-4)
    as_is, _ = find(images, pool)
    assert any(np.array_equal(as_is[0], image) for image in pool)
    np.testing.assert_array_equal(as_is[1], pool[1])


def test_pictures_of_faces_hold_no_image_of_the_data(tmp_path):
    model = NCSNModel(
        two_convolutions((8, 8, 3)),
        sampler="heun",
        sampler_settings={"heun": {"num_steps": 2}},
    )
    train, held_out = np.random.default_rng(0).random((2, 12, 8, 8, 3), "f4")

    def judge(images):
        return None, images.reshape(len(images), -1)[:, :4]

    options = {"num_images": 12, "seed": 0, "num_inpainted": 2, "tries": ()}
    parts = face_quality.sections(
        model, "faces", train, held_out, judge, tmp_path, options
    )
    report = "\n".join(sum(parts, []))
    sharpness = np.abs(np.diff(held_out[:2, :, 4:], axis=-2)).mean()
    assert f"| faces | {sharpness:.4f} | " in report
    # What the pictures show is found in them, and the data are not.
    samples, _ = sample_quality.generate(model, 12, {})
    pictures = {
        path.name: np.asarray(Image.open(path).convert("RGB"))
        for path in tmp_path.glob("*.png")
    }
    assert pictures.keys() == {"samples.png", "nearest.png", "inpaintings.png"}
    for name in ("samples.png", "inpaintings.png"):
        assert holds(pictures[name], samples[0])
    for picture in pictures.values():
        for image in (*train, *held_out):
            assert not holds(picture, image)
            # The known half of a completion.
            assert not holds(picture, image[:, :4])


def holds(picture, image):
    """Tells whether an image is a part of a picture."""
    image = to_uint8(image)
    windows = np.lib.stride_tricks.sliding_window_view(picture, image.shape)
    # Few places have its first pixel.
    begins = (windows[..., 0, 0, :] == image[0, 0]).all(axis=-1)
    return any(np.array_equal(window, image) for window in windows[begins])


def test_sharpness_counts_only_steps_inside_the_hole():
    images = np.zeros((2, 4, 6, 3))
    images[:, :, :3] = [[1], [5], [2]]
    images[:, :, 3:] = [[0.1], [0.2], [0.4]]
    hidden = np.zeros((4, 6), bool)
    hidden[:, 3:] = True
    assert face_quality.sharpness(images, hidden) == pytest.approx(0.15)


def test_settings_are_compared_by_another_seed(tmp_path):
    model = NCSNModel(two_convolutions((8, 8, 3)), sampler="heun")
    train, held_out = np.random.default_rng(0).random((2, 12, 8, 8, 3), "f4")
    seen = []

    def judge(images):
        seen.append(images)
        return np.full((len(images), 2), 0.5), images.reshape(len(images), -1)

    tries = [{"num_steps": 2}]
    options = {"num_images": 6, "seed": 3, "tries": tries}
    parts = face_quality.sections(
        model, "faces", train, held_out, judge, tmp_path, options
    )
    assert any(line.startswith("| num_steps 2 |") for line in sum(parts, []))
    assert not any(tmp_path.iterdir())
    samples, _ = sample_quality.generate(model, 6, tries[0], seed=3)
    assert any(np.array_equal(images, samples) for images in seen)


def test_auroc_is_the_share_of_pairs_in_order():
    find = out_of_distribution.auroc
    assert find(np.array([3, 1]), np.array([2, 0, 1])) == 4.5 / 6
    x = np.random.default_rng(0).standard_normal(4000)
    # Normal values one standard deviation apart.
    assert find(x[:2000] + 1, x[2000:]) == pytest.approx(0.760, abs=0.02)


@pytest.mark.parametrize(("channels", "other"), [(1, 3), (3, 1)])
def test_images_of_other_sets_fit_the_model(channels, other):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, other), "uint8")
    fitting = out_of_distribution.with_channels(images, channels)
    assert fitting.dtype == np.uint8
    assert fitting.shape == (2, 4, 4, channels)
    if channels == 1:
        brightness = images @ np.array([0.299, 0.587, 0.114])
        assert np.abs(fitting[..., 0] - brightness).max() <= 0.5
    else:
        np.testing.assert_array_equal(fitting, images.repeat(3, axis=-1))


def test_images_of_another_kind_are_told_apart():
    model = NCSNModel(two_convolutions())
    randomize(model.network)
    rng = np.random.default_rng(0)
    train, test = rng.integers(100, 156, (2, 20, 8, 8, 1), "uint8")
    sets = {"test": test, "bright": test + 99}
    rows = out_of_distribution.measure(model, train, sets, num_steps=4)
    (_, bits, typical), (_, _, bright) = rows
    direct = model.bits_per_dimension(test, seed=1, num_steps=4, verbose=0)
    assert bits == pytest.approx(direct.mean())
    assert out_of_distribution.auroc(typical[2], bright[2]) > 0.9
