"""Image sets of tensorflow-datasets, by name, as uint8 arrays on disk."""

import contextlib
import io
import itertools
import os
import pathlib
import re
import secrets
import tempfile
import time
from typing import Any

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.datasets.arrays import load_arrays
from keras_ncsn.datasets.pictures import store_images
from keras_ncsn.text import one_line, printable

# The paper crops CelebA to the inner 140 pixels, and resizes them to 32.
CELEB_A_CROP = 140
CELEB_A_SIZE = 32
# How many encoded images TensorFlow reads at a time.
READ_TOGETHER = 64
# A partial file that was not written to for so long is from a killed process.
SECONDS_AT_REST = 3600
# The file that tensorflow-datasets writes last.
INFO_FILE = "dataset_info.json"


def find_set(name: str, data_dir: StrPath | None = None) -> Any | None:
    """Returns the builder of a set of tensorflow-datasets.

    Args:
        name: String, such as `"mnist"` or `"eurosat/rgb"`.
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.

    Returns:
        A `tfds.core.DatasetBuilder`, or `None` if there is no such set.
    """
    # Only one spelling is allowed, because licence terms are found by name.
    if not re.fullmatch(r"[a-z][a-z0-9_]*(/[\w.+-]+)?", name):
        return None
    # Imported here, because only named sets need TensorFlow.
    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

    if keras.backend.backend() != "tensorflow":
        # TensorFlow only reads files here, but would take the whole GPU.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        return None
    except ImportError:
        raise
    # A broken folder can make it raise any exception.
    except Exception as error:
        raise _unreadable(name, error) from error


def load_set(
    builder: Any,
    split: str = "train",
    image_size: int | None = None,
    skip_unreadable: bool = False,
) -> np.ndarray:
    """Returns the images of a set of tensorflow-datasets.

    The set is downloaded and prepared if need be. Its images are decoded once,
    to an array file in the folder `keras_ncsn/` beside the set, which the next
    call reads. If that folder cannot be written, a temporary file is used.

    Args:
        builder: A `tfds.core.DatasetBuilder`.
        split: String, a split of the set. Defaults to `"train"`.
        image_size: Integer; images are cropped to their centre square and
            resized to this height and width. Defaults to `None`: images keep
            their size, except that `"celeb_a"` is resized to 32. Its square
            is the inner 140 pixels, as in the paper.
        skip_unreadable: As in `load_folder`.

    Returns:
        A read-only uint8 array of shape
        `(num_images, height, width, channels)`, with 1 or 3 channels.
    """
    info, crop_size = builder.info, None
    if info.name == "celeb_a":
        crop_size = CELEB_A_CROP
        image_size = image_size or CELEB_A_SIZE
    feature = _find_image_feature(info)
    image_shape = _image_shape(info, feature, image_size)
    try:
        builder.download_and_prepare()
    except Exception as error:
        # The error may say what to download by hand, and where to put it.
        raise ValueError(
            "A data set must be downloaded and prepared. Received: "
            f"{one_line(builder.name)}. {_lines(error)}"
        ) from error
    if split not in list(info.splits):
        raise ValueError(
            f"`split` must be one of {one_line(', '.join(info.splits))}, which "
            f"{one_line(info.name)} has. Received: split={split!r}"
        )
    path = _cache_path(builder, split, image_size)
    shape = (info.splits[split].num_examples, *image_shape)
    images = _read_cache(path, shape, pathlib.Path(builder.data_dir))
    if images is not None:
        return images
    return _write_cache(
        path,
        shape,
        lambda stream: store_images(
            _encoded_images(builder, split, feature),
            stream,
            image_shape,
            image_size,
            crop_size,
            skip_unreadable,
        ),
    )


def load_set_labels(
    builder: Any, split: str = "train"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the labels of the images that `load_set` returns.

    Args:
        builder: A `tfds.core.DatasetBuilder`, whose set `load_set` prepared.
        split: As in `load_set`. Defaults to `"train"`.

    Returns:
        An int64 array of shape `(num_images,)`, and the names of the classes.
    """
    feature = find_label_feature(builder.info)
    try:
        parts = [np.ravel(x) for x in _batches_of(builder, split, feature)]
    # A damaged file can make TensorFlow raise any exception.
    except Exception as error:
        raise _unreadable(builder.info.name, error) from error
    return np.concatenate(parts), tuple(builder.info.features[feature].names)


def find_label_feature(info: Any) -> str:
    """Returns the name of the feature that is the label of an image.

    Args:
        info: A `tfds.core.DatasetInfo`.

    Returns:
        A string. A `ValueError` is raised if the set has no labels.
    """
    import tensorflow_datasets as tfds

    return _find_feature(info, tfds.features.ClassLabel, "label")


def _unreadable(name, error):
    return ValueError(
        f"A data set must be readable. Received: {one_line(name)}. "
        f"{_lines(error)}\nIf its files are damaged, remove its folder, and "
        "the next call prepares it again."
    )


def _lines(error):
    # Messages of tensorflow-datasets may have many, such as a list of all sets.
    return printable(str(error)).strip() or type(error).__name__


def _find_image_feature(info):
    import tensorflow_datasets as tfds

    return _find_feature(info, tfds.features.Image, "image")


def _find_feature(info, kind, noun):
    features = dict(info.features)
    names = [name for name, x in features.items() if isinstance(x, kind)]
    if noun in names:
        return noun
    if len(names) != 1:
        raise ValueError(
            f"A data set must have one feature for the {noun}, or one that is "
            f"named {noun}. Received: {one_line(info.name)}, with "
            f"{one_line(', '.join(sorted(names))) or 'none'} among "
            f"{one_line(', '.join(sorted(features)))}"
        )
    return names[0]


def _image_shape(info, feature, image_size):
    *size, channels = info.features[feature].shape
    if info.features[feature].np_dtype not in (np.uint8, np.uint16):
        raise ValueError(
            "Images must be whole numbers, uint8 or uint16. Received: "
            f"{one_line(info.name)}, of {info.features[feature].np_dtype}"
        )
    if image_size is not None:
        size = (image_size, image_size)
    if None in size:
        raise ValueError(
            "Images must have one size, unless an image size is given. "
            f"Received: {one_line(info.name)}, of mixed sizes. Pass an image "
            "size."
        )
    return (*size, 1 if channels == 1 else 3)


def _encoded_images(builder, split, feature):
    """Yields names and files, of which few are in memory at a time."""
    try:
        for index, image in enumerate(_encoded(builder, split, feature)):
            name = f"{builder.info.name} {split} image {index}"
            yield name, io.BytesIO(image)
    # A damaged file can make TensorFlow raise any exception.
    except Exception as error:
        raise _unreadable(builder.info.name, error) from error


def _encoded(builder, split, feature):
    import tensorflow_datasets as tfds

    skip = {feature: tfds.decode.SkipDecoding()}
    return itertools.chain.from_iterable(
        _batches_of(builder, split, feature, skip)
    )


def _batches_of(builder, split, feature, decoders=None):
    # In the order of the set.
    import tensorflow_datasets as tfds

    data = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding({feature: True}, decoders),
        read_config=tfds.ReadConfig(
            try_autocache=False, interleave_cycle_length=1
        ),
    )
    # In batches, because a call of TensorFlow for each image would be slow.
    batches = tfds.as_numpy(data.batch(READ_TOGETHER))
    return (batch[feature] for batch in batches)


def _cache_path(builder, split, image_size):
    # The path of the data set ends in its name and version.
    parts = builder.info.full_name.split("/")
    folder = pathlib.Path(builder.data_dir).parents[len(parts) - 1]
    size = [] if image_size is None else [str(image_size)]
    return folder / "keras_ncsn" / f"{'-'.join([*parts, split, *size])}.npy"


def _read_cache(path, shape, prepared):
    try:
        # If the set was prepared again since, the file holds the old images.
        if path.stat().st_mtime < (prepared / INFO_FILE).stat().st_mtime:
            return None
        images = load_arrays(path)
    except (OSError, ValueError):
        return None
    return images if (images.shape, images.dtype) == (shape, "uint8") else None


def _write_cache(path, shape, store):
    # Under a random name first, because another process may do the same. Mode
    # "x" never opens a file that exists.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(exist_ok=True)
        _remove_left_over(path)
        stream = open(partial, "x+b")
    except OSError:
        with tempfile.TemporaryFile() as stream:
            return store(stream)
    try:
        with stream:
            np.lib.format.write_array_header_1_0(
                stream,
                {"descr": "|u1", "fortran_order": False, "shape": shape},
            )
            images = store(stream)
        if len(images) == shape[0]:
            os.replace(partial, path)
        return images
    finally:
        partial.unlink(missing_ok=True)


def _remove_left_over(path):
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+")
    for partial in path.parent.iterdir():
        # A folder with such a name is not ours.
        if name.fullmatch(partial.name) and not partial.is_dir():
            # A process that is still at work writes all the time.
            if time.time() - partial.lstat().st_mtime > SECONDS_AT_REST:
                partial.unlink(missing_ok=True)
