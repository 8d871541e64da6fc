"""Picture files of every kind, against the pixels that went into them."""

import os

import numpy as np
import pytest
from PIL import Image

from keras_ncsn import datasets
from keras_ncsn.datasets import pictures

WIDE = np.arange(6 * 8 * 3, dtype="uint8").reshape(6, 8, 3)
GREY = WIDE[..., 0]


def save_turned(path):
    # Turned to the left, with a note that says to turn it to the right.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(WIDE)).save(path, exif=exif)


def save_transparent(path):
    alpha = np.full((6, 8, 1), 255, "uint8")
    alpha[:, :4] = 0
    Image.fromarray(np.concatenate([WIDE, alpha], -1)).save(path)


def save_transparent_grey(path):
    alpha = np.full((6, 8), 255, "uint8")
    alpha[:, :4] = 0
    Image.merge("LA", [Image.fromarray(x) for x in (GREY, alpha)]).save(path)


def save_film(path):
    frames = [Image.fromarray(WIDE), Image.fromarray(255 - WIDE)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)


def save_palette(path, **options):
    indices = (np.indices((6, 8)).sum(0) % 2).astype("uint8")
    image = Image.fromarray(indices)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path, **options)


CHECKS = (np.indices((6, 8)).sum(0) % 2)[..., None]
PALETTE = np.where(CHECKS, [40, 50, 60], [10, 20, 30])


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("rgb.PNG", Image.fromarray(WIDE).save, WIDE),
        ("grey.png", Image.fromarray(GREY).save, GREY),
        (
            "lossless.webp",
            lambda path: Image.fromarray(WIDE).save(path, lossless=True),
            WIDE,
        ),
        (
            "black_and_white.png",
            Image.fromarray(GREY > 9).save,
            255 * (GREY > 9),
        ),
        (
            "sixteen_bits.png",
            Image.fromarray(GREY.astype("uint16") * 256 + 7).save,
            GREY,
        ),
        ("rgb.tif", Image.fromarray(WIDE).save, WIDE),
        (
            "sixteen_bits.tiff",
            Image.fromarray(GREY.astype("uint16") * 256 + 7).save,
            GREY,
        ),
        ("palette.png", save_palette, PALETTE),
        (
            "palette_with_a_hole.png",
            lambda path: save_palette(path, transparency=0),
            np.where(CHECKS, PALETTE, 255),
        ),
        ("film.gif", save_palette, PALETTE),
        ("film.webp", save_film, WIDE),
        ("turned.png", save_turned, WIDE),
        (
            "transparent.png",
            save_transparent,
            np.where(np.arange(8)[:, None] < 4, 255, WIDE),
        ),
        (
            "transparent_grey.png",
            save_transparent_grey,
            np.where(np.arange(8) < 4, 255, GREY),
        ),
    ],
)
def test_pictures_are_read_as_viewers_show_them(tmp_path, name, save, expected):
    save(tmp_path / name)
    image = datasets.load_image(tmp_path / name)
    assert image.mode == ("L" if expected.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(image), expected)
    # A folder decides from the headers, and comes to the same.
    images = pictures.load_folder(tmp_path)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(
        images[0], expected.reshape(*expected.shape[:2], -1)
    )


@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "RGB"), ("a.jpeg", "CMYK"), ("a.webp", "RGB")]
)
def test_lossy_pictures_are_read(tmp_path, name, mode):
    orange = Image.new("RGB", (16, 16), (255, 128, 0)).convert(mode)
    orange.save(tmp_path / name, quality=100)
    images = pictures.load_folder(tmp_path)
    assert np.abs(images.astype(int) - (255, 128, 0)).max() <= 6


def test_a_turned_jpeg_has_its_upright_size(tmp_path):
    save_turned(tmp_path / "a.jpg")
    assert pictures.load_folder(tmp_path).shape == (1, 6, 8, 3)


def test_the_centre_square_is_resized_without_aliasing(tmp_path):
    # Stripes one pixel wide, between margins that must go.
    pixels = np.full((24, 40), 255, "uint8")
    pixels[:, 8:32] = 200 * (np.arange(24) % 2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = datasets.load_image(tmp_path / "a.png", image_size=6)
    assert image.size == (6, 6)
    np.testing.assert_allclose(np.asarray(image), 100, atol=7)

    # All that is left of an inner square of one colour is that colour.
    pixels[8:16, 16:24] = 70
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = datasets.load_image(tmp_path / "a.png", image_size=4, crop_size=8)
    assert (np.asarray(image) == 70).all()


def test_nested_folders_are_read_in_order_with_one_shape(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("L", (6, 8), 2).save(tmp_path / "b" / "b.png")
    Image.new("L", (6, 8), 3).save(tmp_path / "b" / "c" / "a.png")
    Image.new("L", (6, 8), 1).save(tmp_path / "c.png")
    images = pictures.load_folder(tmp_path)
    assert (images.shape, images.dtype) == ((3, 8, 6, 1), np.uint8)
    assert images[:, 0, 0, 0].tolist() == [2, 3, 1]
    # One picture in colour makes all of them so.
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(tmp_path / "bb.png")
    with pytest.raises(
        ValueError, match="one size.*bb.png.*Pass an image size"
    ):
        pictures.load_folder(tmp_path)
    images = pictures.load_folder(tmp_path, image_size=4)
    assert images.shape == (4, 4, 4, 3)
    assert (images[[0, 1, 3]] == np.reshape([2, 3, 1], (3, 1, 1, 1))).all()
    assert (images[2] == [1, 2, 3]).all()


def test_folders_behind_links_count_once(tmp_path):
    for index, folder in enumerate(("elsewhere", "here/a")):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("L", (6, 8), index).save(tmp_path / folder / "one.png")
    (tmp_path / "here" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "a" / "loop").symlink_to(tmp_path / "here")
    images = pictures.load_folder(tmp_path / "here")
    assert images[:, 0, 0, 0].tolist() == [1, 0]


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    # No folder is closed to root.
    (tmp_path / "closed").mkdir()
    Image.new("L", (6, 8)).save(tmp_path / "one.png")
    listed = os.scandir

    def scandir(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="closed, Perm.*--skip-unreadable"):
        pictures.load_folder(tmp_path)
    with pytest.warns(UserWarning, match="Skipped the folder.*closed, Perm"):
        images = pictures.load_folder(tmp_path, skip_unreadable=True)
    assert len(images) == 1


def test_folders_stay_neither_in_memory_nor_on_disk(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    Image.fromarray(WIDE).save(tmp_path / "a.png")
    images = pictures.load_folder(tmp_path)
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    assert not list(temporary.iterdir())
    np.testing.assert_array_equal(images[0], WIDE)


def save_noise(path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    Image.fromarray(pixels).save(path)


def truncate(path):
    save_noise(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN = [
    ("truncated.png", truncate),
    ("truncated.jpg", truncate),
    ("truncated.webp", truncate),
    ("truncated.bmp", truncate),
    ("empty.png", lambda path: path.write_bytes(b"")),
    ("text.png", lambda path: path.write_text("no picture")),
    ("dangling.png", lambda path: path.symlink_to("nowhere.png")),
    ("one_pixel.png", lambda path: Image.new("L", (1, 1)).save(path)),
    ("floats.tif", lambda path: Image.new("F", (64, 64), 0.5).save(path)),
    ("large.tif", lambda path: Image.new("I", (64, 64), 70_000).save(path)),
    ("thin.png", lambda path: Image.new("L", (64, 1)).save(path)),
]


@pytest.mark.parametrize(("name", "make"), BROKEN)
def test_broken_pictures_are_named(tmp_path, name, make):
    save_noise(tmp_path / "good.png")
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f"must be readable.*{name}"):
        datasets.load_image(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}.*skip.*--skip-unreadable"):
        pictures.load_folder(tmp_path)


@pytest.mark.parametrize("image_size", [None, 16])
def test_broken_pictures_are_skipped_and_counted(tmp_path, image_size):
    save_noise(tmp_path / "z.png")
    [make(tmp_path / name) for name, make in BROKEN]
    with pytest.warns(UserWarning, match=r"Skipped 11 of 12.*dangling\.png"):
        images = pictures.load_folder(tmp_path, image_size, True)
    side = image_size or 64
    assert images.shape == (1, side, side, 3)
    expected = datasets.load_image(tmp_path / "z.png", image_size)
    np.testing.assert_array_equal(images[0], np.asarray(expected))


@pytest.mark.parametrize("image_size", [None, 16])
def test_broken_pictures_do_not_affect_the_others(tmp_path, image_size):
    truncate(tmp_path / "a.png")
    Image.new("L", (32, 32), 7).save(tmp_path / "b.png")
    with pytest.warns(UserWarning, match="Skipped 1 of 2"):
        images = pictures.load_folder(tmp_path, image_size, True)
    side = image_size or 32
    np.testing.assert_array_equal(images, np.full((1, side, side, 1), 7))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "must hold images.*which has none"),
        (truncate, r"At least one image must be readable.*a\.png"),
    ],
)
def test_folders_without_pictures_are_refused(tmp_path, make, message):
    make(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        pictures.load_folder(tmp_path, skip_unreadable=True)
