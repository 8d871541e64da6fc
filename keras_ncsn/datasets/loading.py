"""Images to train on, as uint8 arrays."""

import pathlib

from keras_ncsn.checks import check_count
from keras_ncsn.datasets.arrays import load_arrays
from keras_ncsn.datasets.named_sets import find_set, load_set
from keras_ncsn.datasets.pictures import load_folder
from keras_ncsn.text import one_line

NAMES = ("mnist", "fashion_mnist", "cifar10", "celeb_a")
# The licence of what is trained on data that are not free.
TERMS = {
    "celeb_a": {
        "license": "other",
        "license_name": "celeba-non-commercial-research-only",
        "license_link": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    }
}


def load_images(
    source,
    split="train",
    image_size=None,
    data_dir=None,
    skip_unreadable=False,
):
    """Returns the images that a name or a path stands for.

    They stay on disk: memory does not grow with their number. Folders and
    array files need no TensorFlow.

    Args:
        source: `"mnist"`, `"fashion_mnist"`, `"cifar10"` or `"celeb_a"`; a
            folder of images; an `.npz` or `.npy` file; or the name of another
            image set of tensorflow-datasets.
        split: String, such as `"test"`, for named sets. Defaults to
            `"train"`, which is all that folders and files have.
        image_size: Integer, height and width to which images are cropped and
            resized. Defaults to `None`, as they are, or 32 for `"celeb_a"`,
            of which the paper takes the inner 140 pixels. From a folder it
            is the largest square; `load_image` has a `crop_size`.
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.
        skip_unreadable: Boolean, whether to go on without pictures that cannot
            be read, with a warning that counts them. Defaults to `False`.

    Returns:
        An array of shape `(num_images, height, width, channels)`, uint8, or
        of what type an array file holds; mostly a read-only `np.memmap`.
    """
    if image_size is not None:
        check_count(image_size=image_size)
    name, path = str(source), pathlib.Path(source)
    is_array = path.suffix in (".npz", ".npy") and path.is_file()
    if name not in NAMES and (path.is_dir() or is_array):
        if split != "train":
            raise ValueError(
                "`split` must be 'train' for folders and files, which have no "
                f"other. Received: split={split!r}. Use `hold_out`."
            )
        if is_array:
            return _checked_size(load_arrays(path), image_size, source)
        return load_folder(path, image_size, skip_unreadable)
    builder = find_set(name, data_dir)
    if builder is None:
        raise ValueError(
            f"The data must be {', '.join(f'`{name}`' for name in NAMES)} or "
            "another image set of tensorflow-datasets, a folder of images, or "
            f"an existing `.npz` or `.npy` file. Received: {one_line(source)}"
        )
    return load_set(builder, split, image_size, skip_unreadable)


def _checked_size(images, image_size, source):
    if image_size is not None and images.shape[1:3] != (image_size,) * 2:
        raise ValueError(
            "`image_size` resizes pictures, and not arrays. Received: "
            f"image_size={image_size}, images of {images.shape[2]} by "
            f"{images.shape[1]} pixels in {one_line(source)}"
        )
    return images
