"""What `fit` takes and refuses."""

import itertools

import keras
import numpy as np
import pytest

from keras_ncsn import data, datasets

SHAPE = (8, 8, 1)


class Batches(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.images[8 * index : 8 * index + 8], np.zeros(8)


def tf_data(images):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(images).batch(8)


def torch_loader(images):
    import torch

    dataset = torch.utils.data.TensorDataset(torch.tensor(images))
    return torch.utils.data.DataLoader(dataset, batch_size=8)


def generator(images):
    yield images[:8]
    yield images[8:]


@pytest.mark.parametrize(
    "make",
    [
        lambda images: images,
        lambda images: (images * 255).astype("uint8"),
        lambda images: images.astype("float64"),
        Batches,
        tf_data,
        torch_loader,
    ],
)
def test_fit_takes(make_model, images, make):
    model = make_model()
    model.compile()
    model.fit(make(images), verbose=0)
    steps = 1 if isinstance(make(images), np.ndarray) else 2
    assert int(model.optimizer.iterations.value) == steps
    assert np.isfinite(model.evaluate(make(images), verbose=0))


def test_fit_takes_a_generator(make_model, images):
    model = make_model()
    model.compile()
    batches = itertools.cycle([images[:8], images[8:]])
    model.fit((x for x in batches), steps_per_epoch=2, epochs=2, verbose=0)
    assert int(model.optimizer.iterations.value) == 4


def test_generator_keeps_its_first_batch():
    batches = data.checked_data(iter([np.zeros((1, 8, 8, 1))] * 3), SHAPE, None)
    assert len(list(batches)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"shape \(batch, 8, 8, 1\).*\(8, 8, 1\)"),
        (lambda x: x[:, :7], r"images.shape=\(16, 7, 8, 1\)"),
        (lambda x: np.repeat(x, 3, -1), r"images.shape=\(16, 8, 8, 3\)"),
        (lambda x: x * 255, r"lie in \[0, 1\].*max\(images\)=.*uint8"),
        (lambda x: x - 1, r"lie in \[0, 1\].*min\(images\)=-1"),
        (lambda x: np.where(x == x.max(), np.nan, x), "must be finite.*nan"),
        (lambda x: x.astype(str), "must be floats"),
        (lambda x: [x], "one array of images.*Received: a list"),
        (lambda x: iter([]), "at least one batch"),
        (lambda x: x[:0], "at least one image"),
        (lambda x: None, "array of images.*a NoneType"),
        (lambda x: iter([{"image": x}]), "a dictionary of image"),
        (lambda x: generator(x * 2), r"lie in \[0, 1\]"),
        (lambda x: Batches(x * 2), r"lie in \[0, 1\]"),
        (lambda x: torch_loader(x * 2), r"lie in \[0, 1\]"),
    ],
)
def test_fit_refuses(make_model, images, change, message):
    model = make_model()
    model.compile()
    before = model.network.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(change(images), verbose=0)
    after = model.network.get_weights()
    assert all(map(np.array_equal, before, after))


def test_array_files_and_folders_are_read(tmp_path):
    from keras_ncsn.images import save_images

    images = np.random.default_rng(0).random((5, 6, 6, 3))
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(5))
    np.save(tmp_path / "b.npy", images[..., 0])
    save_images(images, tmp_path / "folder" / "nested")
    read = datasets.load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(read, images)
    grey = datasets.load_images(str(tmp_path / "b.npy"))
    assert grey.shape == (5, 6, 6, 1)
    folder = datasets.load_images(tmp_path / "folder")
    assert folder.dtype == np.uint8
    np.testing.assert_allclose(folder / 255, images, atol=0.5 / 255 + 1e-6)
    small = datasets.load_images(tmp_path / "folder", image_size=4)
    assert small.shape == (5, 4, 4, 3)


def test_grey_and_odd_sizes_in_a_folder(tmp_path):
    from PIL import Image

    Image.new("L", (6, 8), 100).save(tmp_path / "a.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="one size.*Pass an image size"):
        datasets.load_folder(tmp_path)
    images = datasets.load_folder(tmp_path, image_size=4)
    assert images.shape == (2, 4, 4, 3)
    assert (images[0] == 100).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"no array", "must be readable.*a.npz"),
        ("b.npz", b"PK\x03\x04 a zip cut short", "must be readable.*b.npz"),
        ("a.npy", None, "the shape.*an array of shape"),
        ("a.png", b"no picture", "must be readable.*a.png"),
        ("a.txt", b"text", "must hold images"),
    ],
)
def test_unreadable_data_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        np.save(path, np.zeros((2, 3)))
    else:
        path.write_bytes(content)
    source = path if ".np" in name else tmp_path
    with pytest.raises(ValueError, match=message):
        datasets.load_images(source)


def test_unknown_data_is_refused():
    with pytest.raises(ValueError, match="must be `mnist`.*nowhere"):
        datasets.load_images("nowhere")


def test_shuffled_batches_are_a_function_of_seed_and_epoch():
    images = np.arange(10)
    batches = datasets.shuffled_batches(images, 5, seed=1)
    epochs = [[*next(batches), *next(batches)] for _ in range(2)]
    again = datasets.shuffled_batches(images, 5, seed=1)
    assert [*next(again), *next(again)] == epochs[0]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[1]) == list(range(10))
    with pytest.raises(ValueError, match="at most the number.*batch_size=11"):
        next(datasets.shuffled_batches(images, 11, seed=1))


def test_mnist_comes_through_tensorflow_datasets(tmp_path, monkeypatch):
    """The real loader, on real files in the format of MNIST."""
    import gzip
    import struct

    import tensorflow_datasets as tfds

    manual = tmp_path / "manual"
    manual.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), "uint8")
    for prefix in ("train", "t10k"):
        with gzip.open(manual / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, 3, 28, 28) + pixels.tobytes())
        with gzip.open(manual / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, 3) + bytes([1, 2, 3]))
    from tensorflow_datasets.image_classification import mnist

    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 3)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 3)
    # These digits are not the ones whose checksums it knows.
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "_register_or_validate_checksums",
        lambda *args, **kwargs: None,
    )
    config = tfds.download.DownloadConfig(
        manual_dir=str(manual), try_download_gcs=False
    )
    builder = tfds.builder("mnist", data_dir=tmp_path)
    builder.download_and_prepare(download_config=config)
    images = datasets.load_images("mnist", data_dir=tmp_path)
    assert images.shape == (3, 28, 28, 1)
    assert images.sum() == pixels.sum()
