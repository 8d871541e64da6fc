"""What weights of someone else may be: arrays of numbers in the file itself.

HDF5 has much more: links to other files, arrays kept elsewhere or larger than
they are, objects of any kind.
"""

import h5py

from keras_ncsn.files import open_regular
from keras_ncsn.text import one_line

# Each takes some microseconds to look at. A network of a thousand layers has
# some ten thousand.
MAX_OBJECTS = 2**17
# Keras writes one of a few bytes, and layers of others a few of their own.
MAX_ATTRIBUTE_BYTES = 2**16


def check(path, num_weights):
    """Raises a `ValueError` unless a file holds numbers, and not too many.

    Args:
        path: Path of an HDF5 file.
        num_weights: Integer, how many numbers the model has.
    """
    try:
        with open_regular(path) as stream, h5py.File(stream, "r") as file:
            reason = _odd(file, num_weights)
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            f"Weights must be a readable HDF5 file. Received: {path}, "
            f"{one_line(error) or type(error).__name__}"
        ) from None
    if reason is not None:
        raise ValueError(
            "Weights must be arrays of numbers, in the file itself and no more "
            f"than the model has. Received: {path}, where {one_line(reason)}"
        )


def shapes(path):
    """Returns the shapes of the arrays in a file that `check` passed.

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


def _odd(file, num_weights):
    """Returns what a file holds that weights do not, `None` for nothing."""
    seen = set()
    for place, item in _items(file):
        if item is None:
            return f"{place} is a link to elsewhere"
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            return f"{place} is there under another name too"
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            return f"there are more than {MAX_OBJECTS:,} arrays and groups"
        reason = _odd_attribute(item) or _odd_dataset(item)
        if reason:
            return f"{place} {reason}"
        num_weights -= getattr(item, "size", 0)
        if num_weights < 0:
            return "it holds more numbers than the model has"
    return None


def _items(file):
    """Yields the name and object of all that is in a file, `None` for links.

    A group must be looked at before the next is asked for: a circle has no
    end.
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


def _odd_dataset(item):
    if isinstance(item, h5py.Group):
        return None
    if not isinstance(item, h5py.Dataset) or item.size is None:
        return "is no array"
    # A bfloat16 array is one of two bytes each.
    kind, size = item.dtype.kind, item.dtype.itemsize
    if not (kind in "fiub" and size <= 8 or (kind == "V" and size == 2)):
        return f"holds no numbers, but {item.dtype}"
    if item.external or item.is_virtual:
        return "is kept in another file"
    # Keras writes none. HDF5 takes memory for a whole chunk, which a small
    # file may claim to be of gigabytes, for an array of any size.
    if item.chunks is not None:
        return "is stored in chunks"
    return None


def _odd_attribute(item):
    for name in item.attrs:
        size = item.attrs.get_id(name).get_storage_size()
        if size > MAX_ATTRIBUTE_BYTES:
            return f"has an attribute {name} of {size:,} bytes"
    return None
