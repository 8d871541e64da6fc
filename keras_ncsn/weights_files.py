"""What weights of someone else may be: arrays of numbers in the file itself.

HDF5 has much more: links to other files, arrays kept elsewhere or larger than
they are, objects of any kind.
"""

import h5py

from keras_ncsn.text import one_line


def check(path, num_weights):
    """Raises a `ValueError` unless a file holds numbers, and not too many.

    Args:
        path: Path of an HDF5 file.
        num_weights: Integer, how many numbers the model has.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_group(file, path, num_weights, set())
    except (OSError, RecursionError) as error:
        raise ValueError(
            f"Weights must be a readable HDF5 file. Received: {path}, {error}"
        ) from None


def _check_group(group, path, num_weights, seen):
    """Returns how many of `num_weights` are left after the group's."""
    for name in group:
        place = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            _refuse(path, f"{place} is a link to elsewhere")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            _refuse(path, f"{place} is there under another name too")
        seen.add(address)
        if isinstance(item, h5py.Group):
            num_weights = _check_group(item, path, num_weights, seen)
            continue
        _check_dataset(item, path, place)
        num_weights -= item.size
        if num_weights < 0:
            _refuse(path, "it holds more numbers than the model has")
    return num_weights


def _check_dataset(item, path, place):
    if not isinstance(item, h5py.Dataset) or item.size is None:
        _refuse(path, f"{place} is no array")
    # A bfloat16 array is one of two bytes each.
    kind, size = item.dtype.kind, item.dtype.itemsize
    if not (kind in "fiub" and size <= 8 or (kind == "V" and size == 2)):
        _refuse(path, f"{place} holds no numbers, but {item.dtype}")
    if item.external or item.is_virtual:
        _refuse(path, f"{place} is kept in another file")
    # Keras writes none. HDF5 takes memory for a whole chunk, which a small
    # file may claim to be of gigabytes, for an array of any size.
    if item.chunks is not None:
        _refuse(path, f"{place} is stored in chunks")


def _refuse(path, reason):
    raise ValueError(
        "Weights must be arrays of numbers, in the file itself and no more "
        f"than the model has. Received: {path}, where {one_line(reason)}"
    )
