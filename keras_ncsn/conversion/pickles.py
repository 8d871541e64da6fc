"""Checks of an untrusted pickle, before PyTorch builds what it describes.

A pickle is a program for a stack. A short one can describe a large object, of
which each part holds the part before it twice. To hash, compare or print such
an object takes for ever. So a pickle is first run on sizes instead of objects.
"""

import dataclasses
import graphlib
import pickletools
import re
from typing import BinaryIO

# A checkpoint of NCSN with its optimizer has 27,000 opcodes and 550,000 parts.
MAX_OPCODES = 2**18
MAX_PARTS = 2**24

# The opcodes that PyTorch knows. What each takes from the stack: a number of
# objects, or all down to a mark.
_TO_MARK = 0
_LEAVES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "GLOBAL"),
    *("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"),
}
_MADE_OF = {
    **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": _TO_MARK},
    **{"REDUCE": 2, "NEWOBJ": 2, "BINPERSID": 1},
}
_ADDED = {
    **{"APPEND": 1, "APPENDS": _TO_MARK},
    **{"SETITEM": 2, "SETITEMS": _TO_MARK, "BUILD": 1},
}

# What checkpoints are made of. PyTorch allows more, of which some can fill the
# memory, such as `bytearray(10**10)`.
_GLOBALS = re.compile(
    r"collections OrderedDict"
    r"|torch (Size|device|[A-Z]\w*Storage|bool|b?float\d+|u?int\d+)"
    r"|torch\.nn\.parameter Parameter"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter(_with_state)?)"
)

# Bytes of a number, in the storages that PyTorch names in a pickle.
_ITEM_BYTES = {
    **{"DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2},
    **{"BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4},
    **{"ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1},
    **{"BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16},
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors, which a file has after its pickle."""

    num_items: int
    item_bytes: int

    @property
    def num_bytes(self) -> int:
        return self.num_items * self.item_bytes


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a pickle describes: storages by key, and a list of texts or `None`.

    The list is `None` where the pickle describes something else.
    """

    storages: dict[str, Storage]
    texts: list[str] | None


def check_pickle(file: BinaryIO) -> Contents:
    """Raises an exception if a pickle is not one of a checkpoint.

    Args:
        file: A binary file, which is read up to the end of the pickle.

    Returns:
        A `Contents`.
    """
    described = _Described()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MAX_OPCODES:
            raise ValueError(
                f"its pickle must have at most {MAX_OPCODES:,} opcodes"
            )
        described.follow(opcode.name, argument)
    described.check_size()
    return Contents(described.find_storages(), described.find_texts())


class _Described:
    """The objects that a pickle describes, as numbers, and their parts."""

    def __init__(self):
        self._parts = {}
        self._leaves = {}
        self._named = []
        self._sizes = []
        self._stack = []
        self._marked = []
        self._memo = {}

    def follow(self, opcode, argument):
        if opcode in _LEAVES:
            if opcode == "GLOBAL" and not _GLOBALS.fullmatch(argument):
                raise ValueError(
                    f"its pickle names {argument}, of which no checkpoint of "
                    "NCSN is made"
                )
            self._make([], argument)
            self._leaves[self._stack[-1]] = (opcode, argument)
        elif opcode in _MADE_OF:
            if opcode == "BINPERSID":
                self._named.append(self._stack[-1])
            self._make(self._pop(_MADE_OF[opcode]))
        elif opcode in _ADDED:
            parts = self._pop(_ADDED[opcode])
            self._parts[self._stack[-1]].extend(parts)
        else:
            self._move(opcode, argument)

    def _move(self, opcode, argument):
        if opcode == "MARK":
            self._marked.append(self._stack)
            self._stack = []
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif opcode not in ("PROTO", "STOP"):
            raise ValueError(
                f"its pickle has the opcode {opcode}, which PyTorch never "
                "writes"
            )

    def _make(self, parts, text=None):
        self._stack.append(len(self._sizes))
        self._parts[len(self._sizes)] = parts
        self._sizes.append(len(text) if isinstance(text, (str, bytes)) else 1)

    def _pop(self, count):
        if count == _TO_MARK:
            parts, self._stack = self._stack, self._marked.pop()
            return parts
        parts = self._stack[-count:]
        del self._stack[-count:]
        return parts

    def check_size(self):
        """Raises a `ValueError` if all objects have too many parts in all.

        All objects count, and each as often as others hold it: while PyTorch
        builds one, it may hash, compare and print the others in it.
        """
        try:
            ordered = list(
                graphlib.TopologicalSorter(self._parts).static_order()
            )
        except graphlib.CycleError:
            raise ValueError(
                "what its pickle describes must not contain itself"
            ) from None
        total = 0
        for made in ordered:
            self._sizes[made] += sum(self._sizes[x] for x in self._parts[made])
            total += self._sizes[made]
            if total > MAX_PARTS:
                raise ValueError(
                    "what its pickle describes must have at most "
                    f"{MAX_PARTS:,} parts"
                )

    def find_storages(self):
        """Returns the storages that tensors are made of, by their keys."""
        storages: dict[str, Storage] = {}
        for named in self._named:
            key, storage = self._read_storage(named)
            if storages.setdefault(key, storage) != storage:
                raise ValueError("its pickle gives a storage two sizes")
        return storages

    def _read_storage(self, named):
        # The older format has another part, which PyTorch no longer uses.
        parts = [self._leaves.get(x) for x in self._parts[named]]
        match parts[:5], parts[5:]:
            case (
                [
                    ("BINUNICODE", "storage"),
                    ("GLOBAL", kind),
                    ("BINUNICODE", key),
                    ("BINUNICODE", _),
                    ("BININT" | "BININT1" | "BININT2" | "LONG1", num_items),
                ],
                [] | [("NONE", _)],
            ) if num_items >= 0:
                item_bytes = _ITEM_BYTES.get(kind.removeprefix("torch "))
                if item_bytes is not None:
                    return key, Storage(num_items, item_bytes)
        raise ValueError("its pickle names a storage as PyTorch never does")

    def find_texts(self):
        """Returns the texts in the list that the pickle is, or `None`."""
        made = self._stack[-1]
        parts = [self._leaves.get(x, ("", None)) for x in self._parts[made]]
        is_list = self._leaves.get(made, ("",))[0] == "EMPTY_LIST"
        if not is_list or any(kind != "BINUNICODE" for kind, _ in parts):
            return None
        return [text for _, text in parts]
