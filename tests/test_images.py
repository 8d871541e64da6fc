import os

import numpy as np
import pytest
from PIL import Image

from keras_ncsn import images


def test_uint8_and_floats_are_inverse():
    whole = np.arange(256, dtype="uint8")
    floats = images.to_floats(whole)
    assert floats.dtype == np.float32
    assert np.array_equal(images.to_uint8(floats), whole)
    assert images.to_uint8(whole) is whole


def test_grid_has_the_images_in_reading_order():
    shades = np.arange(5, dtype="float32")[:, None, None, None] / 8
    grid = images.make_grid(np.broadcast_to(shades, (5, 4, 4, 3)), columns=3)
    assert grid.shape == (4 + 2 + 4, 3 * 4 + 2 * 2, 3)
    assert grid[0, 0, 0] == 0
    assert grid[0, 6, 0] == images.to_uint8(1 / 8)
    assert grid[6, 0, 0] == images.to_uint8(3 / 8)
    # What holds no image is white: the gaps and the last cell.
    assert (grid[4:6] == 255).all()
    assert (grid[6:, 12:] == 255).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_save_grid_writes_the_pixels(tmp_path, channels, mode):
    picture = np.random.default_rng(0).random((1, 5, 6, channels))
    images.save_grid(picture, tmp_path / "new" / "grid.png")
    with Image.open(tmp_path / "new" / "grid.png") as read:
        assert read.mode == mode
        expected = images.to_uint8(picture[0]).squeeze()
        assert np.array_equal(np.asarray(read), expected)


def test_save_gif_writes_each_frame(tmp_path):
    frames = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((1, 4, 4, 1))
    images.save_gif(frames, tmp_path / "film.gif", seconds=1.0)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 5
        film.seek(4)
        assert film.info["duration"] == 1200


def test_unknown_formats_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="known format.*grid.xyz"):
        images.save_grid(np.zeros((1, 4, 4, 1)), tmp_path / "grid.xyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", ["link", "pipe"])
def test_pictures_are_written_through_no_link_or_pipe(tmp_path, make):
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("mine")
    for name in ("00000.png", "grid.png", "film.gif"):
        if make == "link":
            (folder / name).symlink_to(secret)
        else:
            os.mkfifo(folder / name)
    picture = np.zeros((1, 4, 4, 1))
    images.save_images(picture, folder)
    images.save_grid(picture, folder / "grid.png")
    images.save_gif(picture, folder / "film.gif")
    assert secret.read_text() == "mine"
    assert sorted(x.name for x in folder.iterdir() if x.is_file()) == [
        *("00000.png", "film.gif", "grid.png"),
    ]
    assert not any(x.is_symlink() for x in folder.iterdir())
