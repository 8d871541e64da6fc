"""Files to arrays, and arrays to batches."""

import itertools

import numpy as np
import pytest

from keras_ncsn import datasets
from keras_ncsn.images import save_images


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_array_files_and_folders_are_read(tmp_path, save):
    images = np.random.default_rng(0).random((5, 6, 6, 3))
    save(tmp_path / "a.npz", images=images, labels=np.arange(5))
    np.save(tmp_path / "b.npy", images[..., 0])
    save_images(images, tmp_path / "folder" / "nested")
    read = datasets.load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(read, images)
    grey = datasets.load_images(str(tmp_path / "b.npy"))
    np.testing.assert_array_equal(grey, images[..., :1])
    folder = datasets.load_images(tmp_path / "folder")
    assert folder.dtype == np.uint8
    np.testing.assert_allclose(folder / 255, images, atol=0.5 / 255 + 1e-6)
    small = datasets.load_images(tmp_path / "folder", image_size=4)
    assert small.shape == (5, 4, 4, 3)
    assert {type(x) for x in (read, grey, folder, small)} == {np.memmap}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_array_files_keep_type_and_order(tmp_path, save, order):
    images = np.arange(2 * 3 * 4 * 3, dtype="uint8").reshape(2, 3, 4, 3)
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, np.asarray(images, order=order))
    read = datasets.load_images(path, image_size=None)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"no array", "must be readable.*a.npz"),
        ("b.npz", b"PK\x03\x04 a zip cut short", "must be readable.*b.npz"),
        ("a.npy", b"no array", "must be readable.*a.npy"),
        ("empty.npy", b"", "must be readable.*empty.npy"),
        ("a.png", b"no picture", "must be readable.*a.png"),
        ("a.txt", b"text", "must hold images"),
    ],
)
def test_unreadable_data_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    source = path if ".np" in name else tmp_path
    with pytest.raises(ValueError, match=message):
        datasets.load_images(source)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 3))}, r"the shape.*has the shape \(2, 3\)"),
        ({"images": np.zeros((2, 8, 8, 4))}, "with 1 or 3 channels"),
        ({"a": np.zeros(2), "b": np.zeros(2)}, "one named images.*holds a, b"),
        ({}, "it holds none"),
        ({"images": np.array([None])}, "holds Python objects"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        datasets.load_images(tmp_path / "a.npz")


def test_a_truncated_array_file_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((9, 8, 8, 3)))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be readable.*a.npy"):
        datasets.load_images(path)


@pytest.mark.parametrize(
    "source", ["nowhere", "Nowhere", "no/where.npz", "eurosat/../a", "a.txt"]
)
def test_unknown_data_is_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=f"must be `mnist`.*: {source}$"):
        datasets.load_images(source)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"split": "test"}, "must be 'train' for.*split='test'.*hold_out"),
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": 4}, "not arrays.*image_size=4, images of 6 by 5"),
    ],
)
def test_splits_and_sizes_that_array_files_lack_are_refused(
    tmp_path, kwargs, message
):
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 6, 1)))
    with pytest.raises(ValueError, match=message):
        datasets.load_images(tmp_path / "a.npy", **kwargs)


def test_validation_images_are_held_out():
    images = np.zeros((100, 2, 2, 1))
    training, validation = datasets.hold_out(images, 30, seed=1)
    assert (len(training), len(validation)) == (70, 30)
    assert sorted([*training, *validation]) == list(range(100))
    # From all over: of 50 neighbours, 15 on average, 7 at the very least.
    assert 7 <= (validation < 50).sum() <= 23
    again = datasets.hold_out(images, 30, seed=1)[1]
    other = datasets.hold_out(images, 30, seed=2)[1]
    np.testing.assert_array_equal(again, validation)
    assert not np.array_equal(other, validation)


@pytest.mark.parametrize("count", [0, 10])
def test_hold_out_leaves_images_to_train_on(count):
    with pytest.raises(ValueError, match=f"Received: num_validation={count}"):
        datasets.hold_out(np.zeros(10), count)


def test_shuffled_batches_are_a_function_of_seed_and_epoch():
    images = np.arange(10)
    batches = datasets.shuffled_batches(images, 5, seed=1)
    epochs = [[*next(batches), *next(batches)] for _ in range(2)]
    again = datasets.shuffled_batches(images, 5, seed=1)
    assert [*next(again), *next(again)] == epochs[0]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[1]) == list(range(10))


def test_the_order_equals_that_of_the_trained_presets():
    batches = datasets.shuffled_batches(np.arange(11), 5, seed=3)
    received = np.stack(list(itertools.islice(batches, 4)))
    orders = [np.random.default_rng((3, i)).permutation(11) for i in (0, 1)]
    expected = np.stack([order[:10] for order in orders]).reshape(4, 5)
    np.testing.assert_array_equal(received, expected)


def test_subsets_are_shuffled_alike():
    images, indices = 10 * np.arange(12), [0, 3, 5, 11]
    batches = datasets.shuffled_batches(images, 2, seed=0, indices=indices)
    received = [[*next(batches), *next(batches)] for _ in range(2)]
    assert sorted(received[0]) == sorted(received[1]) == [0, 30, 50, 110]
    few = datasets.shuffled_batches(images[indices], 2, seed=0)
    assert [*next(few), *next(few)] == received[0]


@pytest.fixture
def numbered():
    """Images that carry their number, and a side that is left."""
    images = np.zeros((20, 2, 3, 1), "uint8")
    images[:, 0, 0, 0] = np.arange(20) + 1
    return images


@pytest.mark.parametrize("start", [1, 3, 4, 9])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("indices", [None, range(2, 18)])
def test_batches_resume_at_their_step(numbered, start, flip, indices):
    kwargs = {"seed": 0, "flip": flip, "indices": indices}
    whole = datasets.shuffled_batches(numbered, 5, **kwargs)
    whole = list(itertools.islice(whole, 12))
    rest = datasets.shuffled_batches(numbered, 5, start=start, **kwargs)
    rest = list(itertools.islice(rest, 12 - start))
    np.testing.assert_array_equal(rest, whole[start:])


def test_skipped_images_are_not_read(numbered):
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            read.append(len(key))
            return np.asarray(self)[key]

    images = numbered.view(Watched)
    next(datasets.shuffled_batches(images, 5, seed=0, start=7))
    assert read == [5]


def test_flips_mirror_half_and_change_nothing_else(numbered):
    before = numbered.copy()
    flipped = datasets.shuffled_batches(numbered, 20, seed=0, flip=True)
    plain = datasets.shuffled_batches(numbered, 20, seed=0)
    flipped = np.concatenate(list(itertools.islice(flipped, 50)))
    plain = np.concatenate(list(itertools.islice(plain, 50)))
    mirrored = flipped[:, 0, 2, 0] > 0
    np.testing.assert_array_equal(flipped[mirrored], plain[mirrored, :, ::-1])
    np.testing.assert_array_equal(flipped[~mirrored], plain[~mirrored])
    # Of 1,000 coins, four standard deviations; not the same each epoch.
    assert abs(mirrored.sum() - 500) < 64
    assert not np.array_equal(mirrored[:20], mirrored[20:40])
    np.testing.assert_array_equal(numbered, before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 21}, "at most the number.*batch_size=21, 20 images"),
        ({"indices": [0, 1]}, "at most the number.*batch_size=4, 2 images"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"start": -1}, "`start` must be.*start=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"indices": [0, 1, 2, 20]}, "less than the number.*20 images"),
        ({"indices": [-1, 0, 1, 2]}, "at least 0"),
        ({"indices": np.ones(20, bool)}, "list of integers"),
    ],
)
def test_shuffled_batches_refuse(numbered, kwargs, message):
    # At once, and not when the first batch is asked for.
    with pytest.raises(ValueError, match=message):
        datasets.shuffled_batches(
            numbered, **({"batch_size": 4, "seed": 0} | kwargs)
        )
