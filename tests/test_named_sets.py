"""Sets of tensorflow-datasets, prepared here, against their pixels."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from keras_ncsn import datasets


@pytest.fixture
def prepare(tmp_path):
    """Writes a data set in TFDS' own format; returns its pixels."""
    import tensorflow_datasets as tfds

    def prepare(name, shapes, declared, key="picture", **features):
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, shape, "uint8") for shape in shapes]
        rest = dict.fromkeys(features, images[0])
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="2.1.0",
            features=tfds.features.FeaturesDict(
                {key: tfds.features.Image(shape=declared)}
                | {"label": tfds.features.Scalar(np.int64)}
                | features
            ),
            split_datasets={
                "train": [
                    (index, {key: image, "label": index} | rest)
                    for index, image in enumerate(images)
                ]
            },
            data_dir=tmp_path,
            disable_shuffling=True,
        )
        return images

    return prepare


def cached(folder):
    return sorted(path.name for path in (folder / "keras_ncsn").iterdir())


@pytest.mark.parametrize("channels", [1, 3])
def test_sets_are_read_by_name_and_kept(prepare, tmp_path, channels):
    shape = (6, 8, channels)
    expected = np.stack(prepare("shapes", [shape] * 70, shape))
    images = datasets.load_images("shapes", data_dir=tmp_path)
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    np.testing.assert_array_equal(images, expected)
    assert cached(tmp_path) == ["shapes-2.1.0-train.npy"]

    # The second time, the file is what counts.
    kept = tmp_path / "keras_ncsn" / "shapes-2.1.0-train.npy"
    np.save(kept, 255 - expected)
    images = datasets.load_images("shapes", data_dir=tmp_path)
    np.testing.assert_array_equal(images, 255 - expected)
    # Unless it is none, or of other images.
    kept.write_bytes(b"cut short")
    images = datasets.load_images("shapes", data_dir=tmp_path)
    np.testing.assert_array_equal(images, expected)
    np.save(kept, expected[:2])
    images = datasets.load_images("shapes", data_dir=tmp_path)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(np.load(kept), expected)


def test_files_left_by_killed_processes_are_removed(prepare, tmp_path):
    prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3))
    (tmp_path / "keras_ncsn").mkdir()
    name = ".shapes-2.1.0-train.npy"
    for process in ("1", "2"):
        (tmp_path / "keras_ncsn" / f"{name}.{process}").write_text("half")
    os.utime(tmp_path / "keras_ncsn" / f"{name}.1", (0, 0))
    datasets.load_images("shapes", data_dir=tmp_path)
    # The second may be at work.
    assert cached(tmp_path) == [f"{name}.2", name[1:]]


def test_sets_are_read_without_a_writable_cache(prepare, tmp_path):
    expected = np.stack(prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3)))
    # A file where the folder would be: even root cannot write there.
    (tmp_path / "keras_ncsn").write_text("")
    images = datasets.load_images("shapes", data_dir=tmp_path)
    np.testing.assert_array_equal(images, expected)


def resized(image, image_size, crop_size=None):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return np.asarray(datasets.load_image(file, image_size, crop_size))


def test_mixed_sizes_are_cropped_and_resized(prepare, tmp_path):
    shapes = [(9, 12, 3), (30, 9, 3), (4, 5, 3)]
    expected = prepare("shapes", shapes, (None, None, 3))
    with pytest.raises(ValueError, match="one size.*shapes.*Pass an image siz"):
        datasets.load_images("shapes", data_dir=tmp_path)
    images = datasets.load_images("shapes", image_size=6, data_dir=tmp_path)
    expected = np.stack([resized(image, 6) for image in expected])
    np.testing.assert_array_equal(images, expected)
    assert cached(tmp_path) == ["shapes-2.1.0-train-6.npy"]


@pytest.mark.parametrize("image_size", [None, 20])
def test_celeb_a_is_cropped_as_in_the_paper(prepare, tmp_path, image_size):
    shape = (218, 178, 3)
    expected = prepare("celeb_a", [shape] * 2, shape, key="image")
    images = datasets.load_images(
        "celeb_a", image_size=image_size, data_dir=tmp_path
    )
    expected = [image[39:179, 19:159] for image in expected]
    expected = np.stack(
        [resized(image, image_size or 32) for image in expected]
    )
    np.testing.assert_array_equal(images, expected)


def test_an_image_named_image_is_taken_among_several(prepare, tmp_path):
    import tensorflow_datasets as tfds

    feature = tfds.features.Image(shape=(6, 8, 3))
    expected = prepare("pairs", [(6, 8, 3)] * 2, (6, 8, 3), image=feature)
    images = datasets.load_images("pairs", data_dir=tmp_path)
    np.testing.assert_array_equal(images, np.stack([expected[0]] * 2))


def test_sets_without_one_image_are_refused(prepare, tmp_path):
    import tensorflow_datasets as tfds

    feature = tfds.features.Image(shape=(6, 8, 3))
    prepare("pairs", [(6, 8, 3)], (6, 8, 3), mask=feature)
    with pytest.raises(ValueError, match="one feature.*pairs.*mask, picture"):
        datasets.load_images("pairs", data_dir=tmp_path)


def test_missing_splits_are_refused(prepare, tmp_path):
    prepare("shapes", [(6, 8, 3)], (6, 8, 3))
    with pytest.raises(ValueError, match="one of train.*split='test'"):
        datasets.load_images("shapes", "test", data_dir=tmp_path)


def test_floats_are_refused(tmp_path):
    import tensorflow_datasets as tfds

    tfds.dataset_builders.store_as_tfds_dataset(
        name="depths",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {"depth": tfds.features.Image(shape=(6, 8, 1), dtype=np.float32)}
        ),
        split_datasets={
            "train": [(0, {"depth": np.zeros((6, 8, 1), "float32")})]
        },
        data_dir=tmp_path,
    )
    with pytest.raises(ValueError, match="whole numbers.*depths, of.*float32"):
        datasets.load_images("depths", data_dir=tmp_path)


def test_broken_images_of_a_set_are_named_or_skipped(tmp_path):
    import tensorflow_datasets as tfds

    good = io.BytesIO()
    Image.new("RGB", (8, 6), (1, 2, 3)).save(good, "PNG")
    files = [good.getvalue(), good.getvalue()[:50], good.getvalue()]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="broken",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(6, 8, 3))}
        ),
        split_datasets={
            "train": [(i, {"image": file}) for i, file in enumerate(files)]
        },
        data_dir=tmp_path,
        disable_shuffling=True,
    )
    with pytest.raises(ValueError, match="readable.*broken train image 1"):
        datasets.load_images("broken", data_dir=tmp_path)
    with pytest.warns(
        UserWarning, match="Skipped 1 of 3.*broken train image 1"
    ):
        images = datasets.load_images(
            "broken", data_dir=tmp_path, skip_unreadable=True
        )
    assert images.shape == (2, 6, 8, 3)
    assert (images == [1, 2, 3]).all()
    # Half a set is not kept, nor what was on the way to it.
    assert cached(tmp_path) == []


def test_sets_that_need_a_manual_download_are_named(tmp_path):
    with pytest.raises(ValueError, match="(?s)celeb_a_hq.*manual"):
        datasets.load_images("celeb_a_hq/64", data_dir=tmp_path)


def test_errors_of_a_download_are_reported(prepare, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(builder):
        raise tfds.download.DownloadError("Too many users have viewed it")

    prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3))
    builder = type(tfds.builder("shapes", data_dir=tmp_path))
    monkeypatch.setattr(builder, "download_and_prepare", fail)
    with pytest.raises(ValueError, match="prepared.*shapes. Too many users"):
        datasets.load_images("shapes", data_dir=tmp_path)


def test_other_spellings_of_a_set_are_refused(prepare, tmp_path):
    prepare("two_words", [(6, 8, 3)] * 3, (6, 8, 3))
    with pytest.raises(ValueError, match="Received: twoWords"):
        datasets.load_images("twoWords", data_dir=tmp_path)
    assert len(datasets.load_images("two_words", data_dir=tmp_path)) == 3


def test_an_outdated_cache_of_a_set_is_replaced(prepare, tmp_path):
    prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3))
    datasets.load_images("shapes", data_dir=tmp_path)
    kept = tmp_path / "keras_ncsn" / "shapes-2.1.0-train.npy"
    expected = np.load(kept)
    # As if it were from before the set was.
    np.save(kept, 255 - expected)
    os.utime(kept, (1, 1))
    images = datasets.load_images("shapes", data_dir=tmp_path)
    np.testing.assert_array_equal(images, expected)


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


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("*.tfrecord*", damage),
        ("*.tfrecord*", lambda path: path.write_bytes(b"")),
        ("*.tfrecord*", lambda path: path.unlink()),
        ("dataset_info.json", lambda path: path.write_text("{")),
        ("dataset_info.json", lambda path: path.write_text("[]")),
        ("dataset_info.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("features.json", lambda path: path.write_text("{")),
        ("features.json", lambda path: path.write_text('{"type": "no.one"}')),
    ],
)
def test_damaged_sets_are_named(prepare, tmp_path, name, change):
    prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3))
    (path,) = (tmp_path / "shapes").rglob(name)
    change(path)
    with pytest.raises(ValueError, match="must be.*shapes") as error:
        datasets.load_images("shapes", data_dir=tmp_path)
    assert "\x1b" not in str(error.value)


def test_text_of_sets_sends_no_control_characters(
    prepare, tmp_path, monkeypatch
):
    import tensorflow_datasets as tfds

    def fail(builder):
        raise tfds.download.DownloadError("Too many\x1b[2J users")

    prepare("shapes", [(6, 8, 3)] * 3, (6, 8, 3))
    builder = type(tfds.builder("shapes", data_dir=tmp_path))
    monkeypatch.setattr(builder, "download_and_prepare", fail)
    with pytest.raises(ValueError, match=r"shapes. Too many\[2J users"):
        datasets.load_images("shapes", data_dir=tmp_path)
