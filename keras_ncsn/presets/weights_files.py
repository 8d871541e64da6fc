"""Checks of untrusted weights: arrays of numbers, stored in the file itself.

HDF5 allows much more: links to other files, arrays that are stored elsewhere
or claim to be larger than they are, and objects of any kind.
"""

import h5py

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular
from keras_ncsn.text import one_line

# Checking an object takes microseconds. A network of a thousand layers has
# about ten thousand objects.
MAX_OBJECTS = 2**17
# Keras writes attributes of a few bytes, and other people's layers may too.
MAX_ATTRIBUTE_BYTES = 2**16


def check(path: StrPath, num_weights: int) -> None:
    """Raises a `ValueError` unless a file holds numbers, and not too many.

    Args:
        path: Path of an HDF5 file.
        num_weights: Integer, how many numbers the model has.
    """
    try:
        with open_regular(path) as stream, h5py.File(stream, "r") as file:
            reason = _fault(file, num_weights)
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            f"Weights must be a readable HDF5 file. Received: {path}, "
            f"{one_line(error) or type(error).__name__}"
        ) from None
    if reason is not None:
        raise ValueError(
            "Weights must be arrays of numbers, stored in the file itself, and "
            "no more numbers than the model has. Received: "
            f"{path}, where {one_line(reason)}"
        )


def shapes(path: StrPath) -> list[tuple[int, ...]]:
    """Returns the shapes of the arrays in a file that `check` has passed.

    Args:
        path: Path of an HDF5 file.

    Returns:
        A list of tuples.
    """
    found = []

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found.append(item.shape)

    with open_regular(path) as stream, h5py.File(stream, "r") as file:
        file.visititems(note)
    return found


def _fault(file, num_weights):
    """Returns why the weights in a file are invalid, or `None`."""
    seen = set()
    for place, item in _items(file):
        if item is None:
            return f"{place} is a link to elsewhere"
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            return f"{place} has another name, too"
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            return f"there are more than {MAX_OBJECTS:,} arrays and groups"
        reason = _attribute_fault(item) or _dataset_fault(item)
        if reason:
            return f"{place} {reason}"
        num_weights -= getattr(item, "size", 0)
        if num_weights < 0:
            return "it holds more numbers than the model has"
    return None


def _items(file):
    """Yields the name and object of everything in a file, `None` for links.

    Groups may form a circle without an end, so the caller must check each
    object before it asks for the next.
    """
    left = [file]
    while left:
        group = left.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield place, None
                continue
            item = group[name]
            yield place, item
            if isinstance(item, h5py.Group):
                left.append(item)


def _dataset_fault(item):
    if isinstance(item, h5py.Group):
        return None
    if not isinstance(item, h5py.Dataset) or item.size is None:
        return "is not an array"
    # Keras stores bfloat16 as two bytes without a type.
    kind, size = item.dtype.kind, item.dtype.itemsize
    if not (kind in "fiub" and size <= 8 or (kind == "V" and size == 2)):
        return f"holds no numbers, but {item.dtype}"
    if item.external or item.is_virtual:
        return "is stored in another file"
    # Keras writes no chunks. HDF5 reserves memory for a whole chunk, and a
    # small file may claim chunks of gigabytes.
    if item.chunks is not None:
        return "is stored in chunks"
    return None


def _attribute_fault(item):
    for name in item.attrs:
        size = item.attrs.get_id(name).get_storage_size()
        if size > MAX_ATTRIBUTE_BYTES:
            return f"has an attribute {name} of {size:,} bytes"
    return None
