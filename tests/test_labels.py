import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_ncsn import datasets
from keras_ncsn.datasets import arrays, load_labelled_images, shuffled_batches
from keras_ncsn.datasets.labels import checked_labels
from keras_ncsn.parallel import process_share

IMAGES = np.arange(6 * 16, dtype="uint8").reshape(6, 4, 4)


def write_folders(folder, counts):
    """Writes a folder a class, whose pictures are as grey as their place."""
    place = 0
    for name, count in counts.items():
        (folder / name).mkdir()
        for index in range(count):
            picture = Image.fromarray(np.full((4, 4), place, "uint8"))
            picture.save(folder / name / f"{index}.png")
            place += 1


def test_folders_are_classes(tmp_path):
    write_folders(tmp_path, {"cat": 2, "dog": 3, "emu": 1})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("text")
    images, labels, names = load_labelled_images(tmp_path)
    assert names == ("cat", "dog", "emu")
    assert labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(images, datasets.load_images(tmp_path))


def test_folders_that_are_numbers_are_sorted_as_numbers(tmp_path):
    write_folders(tmp_path, {str(number): 1 for number in range(11)})
    images, labels, names = load_labelled_images(tmp_path)
    assert names == tuple(map(str, range(11)))
    assert labels[images[:, 0, 0, 0] == 10].tolist() == [10]
    assert sorted(labels) == list(range(11))


def test_labels_of_skipped_pictures_are_dropped(tmp_path):
    write_folders(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"1\.png"):
        load_labelled_images(tmp_path)
    with pytest.warns(UserWarning, match="Skipped 1 of 4"):
        images, labels, _ = load_labelled_images(tmp_path, skip_unreadable=True)
    assert labels.tolist() == [0, 1, 1]
    assert images[:, 0, 0, 0].tolist() == [0, 2, 3]


def test_class_whose_pictures_are_all_skipped_is_refused(tmp_path):
    write_folders(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "b" / "0.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="Skipped 1"):
        with pytest.raises(ValueError, match="folder b"):
            load_labelled_images(tmp_path, skip_unreadable=True)


@pytest.mark.parametrize(
    ("counts", "extra", "message"),
    [
        ({}, "0.png", "one folder for each class"),
        ({"a": 1}, "0.png", "folder of its class"),
        ({"a": 1, "b": 0}, None, "the folder b"),
        ({"0": 1, "1": 1, "3": 1}, None, "has 3 but no 2"),
        ({"1": 1, "01": 1}, None, "no gaps"),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path, counts, extra, message):
    write_folders(tmp_path, counts)
    if extra:
        Image.new("L", (4, 4)).save(tmp_path / extra)
    with pytest.raises(ValueError, match=message):
        load_labelled_images(tmp_path)


def test_folder_named_none_is_refused_before_a_picture_is_read(tmp_path):
    write_folders(tmp_path, {"cat": 1, "none": 0})
    (tmp_path / "none" / "0.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"none of them 'none'.*'cat', 'none'"):
        load_labelled_images(tmp_path)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x_train", "y_train"), ("x", "y")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_have_labels_beside_them(tmp_path, names, save):
    labels = np.array([[2], [0], [1], [1], [0], [2]], "uint8")
    path = tmp_path / "data.npz"
    save(path, **dict(zip(names, (IMAGES, labels), strict=True)))
    images, loaded, class_names = load_labelled_images(path)
    assert images.shape == (6, 4, 4, 1)
    assert (loaded.dtype, loaded.tolist()) == ("int32", labels[:, 0].tolist())
    assert class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(5, int), r"shape \(5,\) and images of shape \(6"),
        (np.array(3), r"labels of shape \(\)"),
        (np.zeros(6), "integers"),
        (np.array([0, 1, 3, 0, 1, 3]), "but no 2"),
        (np.array([0, 1, -1, 0, 1, 3]), "from -1"),
        (np.array([0, 1, 2**40, 0, 1, 3]), "Labels must be from 0"),
        (np.zeros((6, 2), int), "one label for each image"),
        (np.array(["a"] * 6), "numbers"),
        (np.array([None] * 6), "objects"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=labels)
    with pytest.raises(ValueError, match=message):
        load_labelled_images(tmp_path / "data.npz")


def test_arrays_without_labels_are_refused(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES, y=np.zeros(6, int))
    with pytest.raises(ValueError, match="labels beside its images"):
        load_labelled_images(tmp_path / "data.npz")
    # The labels of other images.
    np.savez(tmp_path / "data.npz", images=IMAGES, x=IMAGES, y=np.zeros(6, int))
    with pytest.raises(ValueError, match="labels beside its images"):
        load_labelled_images(tmp_path / "data.npz")
    np.save(tmp_path / "data.npy", IMAGES)
    with pytest.raises(ValueError, match="np.savez"):
        load_labelled_images(tmp_path / "data.npy")


def test_batches_hold_the_labels_of_their_images():
    images, labels = np.arange(10) * 10, np.arange(10)
    batches = shuffled_batches(images, 3, seed=0, labels=labels)
    alone = shuffled_batches(images, 3, seed=0)
    for _ in range(7):
        batch, of_batch = next(batches)
        assert (batch == 10 * of_batch).all()
        assert (batch == next(alone)).all()
    (share,) = process_share([(images, labels)])
    assert (share[0] == images).all()
    assert (share[1] == labels).all()


@pytest.fixture
def prepare(tmp_path):
    """Prepares a set of tensorflow-datasets, with features of choice."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def prepare(**features):
        tfds.dataset_builders.store_as_tfds_dataset(
            name="animals",
            version="1.0.0",
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(4, 4, 1))} | features
            ),
            split_datasets={
                "train": [
                    (
                        index,
                        {"image": image[..., None]}
                        | dict.fromkeys(features, index % 2),
                    )
                    for index, image in enumerate(IMAGES)
                ]
            },
            data_dir=tmp_path,
        )

    return prepare


def test_labels_of_named_sets_are_read(prepare, tmp_path):
    import tensorflow_datasets as tfds

    prepare(kind=tfds.features.ClassLabel(names=["ant", "bee"]))
    images, labels, names = load_labelled_images("animals", data_dir=tmp_path)
    assert names == ("ant", "bee")
    # The set has an order of its own.
    numbers = images[:, 0, 0, 0] // 16
    assert labels.tolist() == (numbers % 2).tolist()
    assert labels.dtype == "int32"


def test_sets_without_labels_are_refused(prepare, tmp_path):
    prepare(number=np.int64)
    with pytest.raises(ValueError, match="animals, with none"):
        load_labelled_images("animals", data_dir=tmp_path)


@pytest.mark.parametrize("sides", ["(-1,)", "(134217728,)", "(6, 6)"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_labels_that_claim_to_be_many_are_not_unpacked(
    tmp_path, sides, method, monkeypatch
):
    """A file of a thousand bytes could fill the memory."""
    path = tmp_path / "data.npz"
    np.savez(path, images=IMAGES)
    labels = io.BytesIO()
    np.save(labels, np.zeros(1, "uint8"))
    labels = labels.getvalue().replace(b"(1,)" + b" " * 20, sides.encode())
    labels = labels.replace(b"(1,)", sides.encode())
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("labels.npy", labels + bytes(1000))
    monkeypatch.setattr(arrays, "_copy", None)
    with pytest.raises(ValueError, match="Labels must be readable.* shape"):
        load_labelled_images(path)


def test_scalar_and_empty_labels_are_refused():
    for labels in (np.array(3), np.zeros(0, int)):
        with pytest.raises(ValueError, match="one label for each image"):
            checked_labels(labels, "data.npz")
