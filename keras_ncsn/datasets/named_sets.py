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

import numpy as np

from keras_ncsn.datasets.arrays import load_arrays
from keras_ncsn.datasets.pictures import store_images
from keras_ncsn.text import one_line, printable

# Of CelebA the paper takes the centre, 140 pixels wide, at this size.
CELEB_A_CROP = 140
CELEB_A_SIZE = 32
READ_TOGETHER = 64
SECONDS_AT_REST = 3600
# What tensorflow-datasets writes last.
INFO_FILE = "dataset_info.json"


def find_set(name, data_dir=None):
    """Returns what tensorflow-datasets knows by a name.

    Args:
        name: String, such as `"mnist"` or `"eurosat/rgb"`.
        data_dir: Folder where tensorflow-datasets keeps its data. Defaults to
            `None`, its own default.

    Returns:
        A `tfds.core.DatasetBuilder`, or `None` if there is no such set.
    """
    # Sets are written in one way: by other spellings of the same, their terms
    # would not be known.
    if not re.fullmatch(r"[a-z][a-z0-9_]*(/[\w.+-]+)?", name):
        return None
    # Here, because they import TensorFlow, which nothing else needs.
    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

    if keras.backend.backend() != "tensorflow":
        # TensorFlow only reads files here, and would take the whole GPU.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        return None
    except ImportError:
        raise
    # It raises whatever a broken folder makes it stumble on.
    except Exception as error:
        raise _unreadable(name, error) from error


def load_set(builder, split="train", image_size=None, skip_unreadable=False):
    """Returns the images of a set of tensorflow-datasets.

    It is downloaded unless it is prepared, decoded once, and kept as an array
    file in `keras_ncsn/` beside it, where the next call finds it; or in a
    temporary file, where that folder cannot be written.

    Args:
        builder: A `tfds.core.DatasetBuilder`.
        split: String, a split that the set has. Defaults to `"train"`.
        image_size: Integer; images are cropped to their centre square and
            resized to this height and width. Defaults to `None`, as they are;
            for `"celeb_a"`, of which the paper takes the inner 140 pixels, to
            32.
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
        # One says what must be downloaded by hand, and where to put it, the
        # others what came instead.
        raise ValueError(
            f"A data set must be prepared. Received: {one_line(builder.name)}. "
            f"{_lines(error)}"
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


def _unreadable(name, error):
    return ValueError(
        f"A data set must be readable. Received: {one_line(name)}. "
        f"{_lines(error)}\nIf its files are damaged, remove its folder, and it "
        "is prepared anew."
    )


def _lines(error):
    # What tensorflow-datasets says, such as which sets there are, has many.
    return printable(str(error)).strip() or type(error).__name__


def _find_image_feature(info):
    import tensorflow_datasets as tfds

    features = dict(info.features)
    names = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    ]
    if "image" in names:
        return "image"
    if len(names) != 1:
        raise ValueError(
            "A data set must have one feature that is an image, or one that "
            f"is named image. Received: {one_line(info.name)}, with "
            f"{one_line(', '.join(sorted(names))) or 'none'} among "
            f"{one_line(', '.join(sorted(features)))}"
        )
    return names[0]


def _image_shape(info, feature, image_size):
    *size, channels = info.features[feature].shape
    if info.features[feature].np_dtype not in (np.uint8, np.uint16):
        raise ValueError(
            "Images must be of whole numbers. Received: "
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
    """Yields names and files; TensorFlow holds few of them at a time."""
    try:
        for index, image in enumerate(_encoded(builder, split, feature)):
            name = f"{builder.info.name} {split} image {index}"
            yield name, io.BytesIO(image)
    # Of damaged files TensorFlow raises what it likes.
    except Exception as error:
        raise _unreadable(builder.info.name, error) from error


def _encoded(builder, split, feature):
    import tensorflow_datasets as tfds

    data = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(
            {feature: True}, {feature: tfds.decode.SkipDecoding()}
        ),
        read_config=tfds.ReadConfig(
            try_autocache=False, interleave_cycle_length=1
        ),
    )
    # One by one would be slow: each takes a round through TensorFlow.
    batches = tfds.as_numpy(data.batch(READ_TOGETHER))
    return itertools.chain.from_iterable(x[feature] for x in batches)


def _cache_path(builder, split, image_size):
    # The data set lies at a path that ends in its name and version.
    parts = builder.info.full_name.split("/")
    folder = pathlib.Path(builder.data_dir).parents[len(parts) - 1]
    size = [] if image_size is None else [str(image_size)]
    return folder / "keras_ncsn" / f"{'-'.join([*parts, split, *size])}.npy"


def _read_cache(path, shape, prepared):
    try:
        # Of a set that was prepared anew since, it would have the old images.
        if path.stat().st_mtime < (prepared / INFO_FILE).stat().st_mtime:
            return None
        images = load_arrays(path)
    except (OSError, ValueError):
        return None
    return images if (images.shape, images.dtype) == (shape, "uint8") else None


def _write_cache(path, shape, store):
    # Under a name of its own first: another process may do the same. Nobody
    # can know it, and "x" opens nothing that lies there.
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
        # A folder of this name is not ours.
        if name.fullmatch(partial.name) and not partial.is_dir():
            # Of processes that were killed; one at work writes all the time.
            if time.time() - partial.lstat().st_mtime > SECONDS_AT_REST:
                partial.unlink(missing_ok=True)
