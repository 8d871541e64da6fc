"""Images to train on, as uint8 arrays: folders, array files, MNIST."""

import itertools
import pathlib
import zlib
from zipfile import BadZipFile

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def load_images(source, split="train", image_size=None, data_dir=None):
    """Returns the images that a name or a path stands for.

    Args:
        source: `"mnist"`, a folder of images, or an `.npz` or `.npy` file.
        split: `"train"` or `"test"`, for data sets that have both. Defaults
            to `"train"`.
        image_size: Integer, height and width to which the images of a folder
            are cropped and resized. Defaults to `None`, as they are.
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.

    Returns:
        An array of shape `(num_images, height, width, channels)`, uint8, or
        floats if a file holds them.
    """
    path = pathlib.Path(source)
    if str(source) == "mnist":
        return load_mnist(split, data_dir)
    if path.is_dir():
        return load_folder(path, image_size)
    if path.suffix in (".npz", ".npy") and path.is_file():
        return load_arrays(path)
    raise ValueError(
        "The data must be `mnist`, a folder of images, or an existing `.npz` "
        f"or `.npy` file. Received: {source}"
    )


def load_mnist(split="train", data_dir=None):
    """Returns the digits of MNIST, through tensorflow-datasets.

    Args:
        split: `"train"` (60,000 digits) or `"test"` (10,000). Defaults to
            `"train"`.
        data_dir: As in `load_images`.

    Returns:
        A uint8 array of shape `(num_images, 28, 28, 1)`.
    """
    # Here, because it imports TensorFlow, which nothing else needs.
    import tensorflow_datasets as tfds

    data = tfds.load("mnist", split=split, data_dir=data_dir, batch_size=-1)
    return np.asarray(tfds.as_numpy(data)["image"])


def load_arrays(path):
    """Returns the images in an array file.

    Args:
        path: Path of an `.npy` file, or of an `.npz` file with one array, or
            one named `images`, `x_train` or `x`.

    Returns:
        An array of shape `(num_images, height, width, channels)`; where the
        file holds no channels, there is one.
    """
    try:
        # NumPy leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream:
            file = _read_array(stream)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"Images must be readable. Received: {path}, {error}"
        ) from None
    images = file[..., None] if file.ndim == 3 else file
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "Images must have the shape (num_images, height, width) or "
            "(num_images, height, width, channels), with 1 or 3 channels. "
            f"Received: an array of shape {file.shape} in {path}"
        )
    return images


def _read_array(stream):
    content = np.load(stream, allow_pickle=False)
    names = getattr(content, "files", None)
    if names is None:
        return content
    wanted = [name for name in ("images", "x_train", "x") if name in names]
    if not wanted and len(names) != 1:
        raise ValueError(
            "an .npz file must hold one array, or one named images, x_train "
            f"or x; it holds {', '.join(names) or 'none'}"
        )
    return content[(wanted or names)[0]]


def load_folder(path, image_size=None):
    """Returns the images in a folder and its subfolders, sorted by name.

    Args:
        path: Path of the folder.
        image_size: Integer; images are cropped to their centre square and
            resized to this height and width. Defaults to `None`: they must
            all have one size.

    Returns:
        A uint8 array of shape `(num_images, height, width, channels)`, with
        one channel if all images are grey, else three.
    """
    files = sorted(
        file
        for file in pathlib.Path(path).rglob("*")
        if file.suffix.lower() in SUFFIXES
    )
    if not files:
        raise ValueError(
            f"The folder must hold images ({', '.join(SUFFIXES)}). Received: "
            f"{path}, which has none"
        )
    images = [load_image(file, image_size) for file in files]
    if any(image.mode != "L" for image in images):
        images = [image.convert("RGB") for image in images]
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        odd = next(
            file
            for file, image in zip(files, images, strict=True)
            if image.size != images[0].size
        )
        raise ValueError(
            "The images of a folder must have one size, unless an image size "
            f"is given. Received: {files[0].name} of {images[0].size} and "
            f"{odd.name} of another. Pass an image size."
        )
    arrays = np.stack([np.asarray(image) for image in images])
    return arrays[..., None] if arrays.ndim == 3 else arrays


def load_image(path, image_size=None):
    """Returns one image, grey (mode L) or RGB.

    Args:
        path: Path of the file.
        image_size: As in `load_folder`.

    Returns:
        A PIL image.
    """
    try:
        with Image.open(path) as file:
            file.load()
            if file.mode.startswith("I;16"):
                # PIL would clip to 255 where it should divide.
                file = Image.fromarray((np.asarray(file) >> 8).astype("uint8"))
            grey = file.mode in ("1", "L", "LA")
            image = file.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"Images must be readable. Received: {path}, {error}"
        ) from None
    if image_size is None:
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return image.resize((image_size, image_size), Image.Resampling.LANCZOS)


def shuffled_batches(images, batch_size, seed):
    """Yields batches without end, each image once an epoch.

    The order is a function of seed and epoch; what is left of an epoch and
    does not fill a batch is not used.

    Args:
        images: Array of shape `(num_images, ...)`.
        batch_size: Integer; no more than there are images.
        seed: Integer, at least 0.

    Yields:
        Arrays of shape `(batch_size, ...)`.

    Example:

    >>> batches = shuffled_batches(np.arange(4), batch_size=2, seed=0)
    >>> sorted([*next(batches).tolist(), *next(batches).tolist()])
    [0, 1, 2, 3]
    """
    if batch_size > len(images):
        raise ValueError(
            "`batch_size` must be at most the number of images. Received: "
            f"batch_size={batch_size}, {len(images)} images"
        )
    for epoch in itertools.count():
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            yield images[order[first : first + batch_size]]
