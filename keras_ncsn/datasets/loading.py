"""Images to train on, from a name or a path."""

import pathlib

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.checks import check_count
from keras_ncsn.datasets.arrays import load_arrays
from keras_ncsn.datasets.named_sets import find_set, load_set
from keras_ncsn.datasets.pictures import load_folder
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
    """Returns the images that a name or a path stands for.

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
            their size, except that `"celeb_a"` is resized to 32. Its square
            is the inner 140 pixels, as in the paper; elsewhere it is as large
            as the picture allows (`load_image` has a `crop_size`).
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.
        skip_unreadable: Boolean, whether to skip pictures that cannot be read,
            with a warning that counts them. Defaults to `False`.

    Returns:
        An array of shape `(num_images, height, width, channels)`. It is uint8,
        or has the type of the array file, and is usually a read-only
        `np.memmap`.
    """
    if image_size is not None:
        check_count(image_size=image_size)
    name, path = str(source), pathlib.Path(source)
    is_array = path.suffix in (".npz", ".npy") and path.is_file()
    if name not in NAMES and (path.is_dir() or is_array):
        if split != "train":
            raise ValueError(
                "`split` must be 'train' for folders and files, which have no "
                f"other. Received: split={split!r}. Use `hold_out` to set "
                "images aside."
            )
        if is_array:
            return load_arrays(path, image_size)
        return load_folder(path, image_size, skip_unreadable)
    builder = find_set(name, data_dir)
    if builder is None:
        raise ValueError(
            f"The data must be {', '.join(f'`{name}`' for name in NAMES)} or "
            "another image set of tensorflow-datasets, a folder of images, or "
            f"an existing `.npz` or `.npy` file. Received: {one_line(source)}"
        )
    return load_set(builder, split, image_size, skip_unreadable)
