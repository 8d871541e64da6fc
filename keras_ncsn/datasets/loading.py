"""Images to train on, from a name or a path."""

import pathlib

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.checks import check_count
from keras_ncsn.conditions import checked_class_names
from keras_ncsn.datasets.arrays import load_arrays, load_labels
from keras_ncsn.datasets.labels import (
    LabelledImages,
    checked_labels,
    class_folders,
    labels_of_files,
)
from keras_ncsn.datasets.named_sets import (
    find_label_feature,
    find_set,
    load_set,
    load_set_labels,
)
from keras_ncsn.datasets.pictures import list_files, load_folder
from keras_ncsn.text import one_line

NAMES = ("mnist", "fashion_mnist", "cifar10", "celeb_a")
# The licence of models that are trained on non-free data.
TERMS = {
    "celeb_a": {
        "license": "other",
        "license_name": "celeba-non-commercial-research-only",
        "license_link": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    }
}


def load_images(
    source: StrPath,
    split: str = "train",
    image_size: int | None = None,
    data_dir: StrPath | None = None,
    skip_unreadable: bool = False,
) -> np.ndarray:
    """Returns the images of a named data set, a folder or a file.

    They stay on disk, so memory does not grow with their number. Folders and
    array files do not need TensorFlow.

    Args:
        source: `"mnist"`, `"fashion_mnist"`, `"cifar10"` or `"celeb_a"`; a
            folder of images; an `.npz` or `.npy` file; or the name of another
            image set of tensorflow-datasets.
        split: String, such as `"test"`, the split of a named set. Folders and
            files only have `"train"`. Defaults to `"train"`.
        image_size: Integer; pictures are cropped to their centre square and
            resized to this height and width. Defaults to `None`: they keep
            their size, except that `"celeb_a"` is resized to 32. The square is
            as large as the picture allows, except that `"celeb_a"` is cropped
            to 140 pixels, as in the paper. To choose it, use `load_image` with
            a `crop_size`.
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.
        skip_unreadable: Boolean, whether to skip pictures that cannot be read,
            with a warning that counts them. Defaults to `False`.

    Returns:
        An array of shape `(num_images, height, width, channels)`. It is uint8,
        or has the type of the array file, and is usually a read-only
        `np.memmap`.
    """
    kind = _checked_kind(source, split, image_size)
    if kind == "array":
        return load_arrays(source, image_size)
    if kind == "folder":
        return load_folder(source, image_size, skip_unreadable)
    builder = _find_builder(source, data_dir)
    return load_set(builder, split, image_size, skip_unreadable)


def load_labelled_images(
    source: StrPath,
    split: str = "train",
    image_size: int | None = None,
    data_dir: StrPath | None = None,
    skip_unreadable: bool = False,
) -> LabelledImages:
    """Returns images with their labels, from a name or a path.

    Args:
        source: A name as in `load_images`, of a set with labels; a folder with
            one folder for each class; or an `.npz` file with `images` and
            `labels`, which are integers from 0.
        split: As in `load_images`.
        image_size: As in `load_images`.
        data_dir: As in `load_images`.
        skip_unreadable: As in `load_images`, for folders.

    Returns:
        A `LabelledImages`. The classes of an `.npz` file are named by their
        numbers. Raises a `ValueError` if the labels do not fit the images, or
        if a class of a folder or file has no image.
    """
    kind = _checked_kind(source, split, image_size)
    if kind == "array":
        labels = checked_labels(load_labels(source), source)
        images = load_arrays(source, image_size)
        if len(labels) != len(images):
            raise ValueError(
                "There must be one label for each image. Received: "
                f"{len(labels)} labels for {len(images)} images in "
                f"{one_line(source)}"
            )
        numbers = tuple(map(str, range(labels.max() + 1)))
        return LabelledImages(images, labels, numbers)
    if kind == "folder":
        folders = checked_class_names(class_folders(source), None)
        files = list_files(source, skip_unreadable)
        labels = labels_of_files(source, files, folders)
        skipped: list[str] = []
        images = load_folder(
            source, image_size, skip_unreadable, files, skipped
        )
        if skipped:
            gone = set(skipped)
            files = [file for file in files if file not in gone]
            labels = labels_of_files(source, files, folders)
        return LabelledImages(images, labels, folders)
    builder = _find_builder(source, data_dir)
    find_label_feature(builder.info)
    # No image is skipped, because its label would remain.
    images = load_set(builder, split, image_size)
    labels, names = load_set_labels(builder, split)
    if len(labels) != len(images) or not (
        0 <= labels.min() and labels.max() < len(names)
    ):
        raise ValueError(
            "There must be one label for each image, from 0 to "
            f"{len(names) - 1}. Received: {len(labels)} labels from "
            f"{labels.min()} to {labels.max()} for {len(images)} images of "
            f"{one_line(source)}"
        )
    return LabelledImages(images, labels.astype("int32"), names)


def _checked_kind(source, split, image_size):
    """Returns `"array"`, `"folder"`, or `"set"` for everything else."""
    if image_size is not None:
        check_count(image_size=image_size)
    path = pathlib.Path(source)
    is_array = path.suffix in (".npz", ".npy") and path.is_file()
    if str(source) in NAMES or not (path.is_dir() or is_array):
        return "set"
    if split != "train":
        raise ValueError(
            "`split` must be 'train' for folders and files, which have no "
            f"other split. Received: split={split!r}. Use `hold_out` to set "
            "images aside."
        )
    return "array" if is_array else "folder"


def _find_builder(source, data_dir):
    builder = find_set(str(source), data_dir)
    if builder is None:
        raise ValueError(
            f"The data must be {', '.join(f'`{name}`' for name in NAMES)} or "
            "another image set of tensorflow-datasets, a folder of images, or "
            f"an existing `.npz` or `.npy` file. Received: {one_line(source)}"
        )
    return builder
