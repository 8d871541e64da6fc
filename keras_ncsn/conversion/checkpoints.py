"""The authors' PyTorch checkpoints of NCSN and NCSNv2, converted."""

import os
from typing import Any

import numpy as np

from keras_ncsn import noise
from keras_ncsn.annotations import StrPath
from keras_ncsn.conversion import pth_file
from keras_ncsn.conversion.authors_names import named_weights
from keras_ncsn.files import open_regular
from keras_ncsn.files.scratch import NoRoomError
from keras_ncsn.model import NCSNModel
from keras_ncsn.networks.refinenet import RefineNet
from keras_ncsn.text import one_line, reason

# Steps per level and step size of NCSNv2's authors, by number of levels.
NCSNV2_SAMPLING = {
    232: (5, 6.2e-6),
    500: (5, 3.3e-6),
    788: (4, 4.9e-6),
    1086: (3, 1.8e-6),
    2311: (3, 0.9e-6),
}

# Other types hold complex numbers, or have so few bits that they need a scale.
_DTYPES = {
    *("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64"),
    *("torch.int8", "torch.int16", "torch.int32", "torch.int64"),
    *("torch.uint8", "torch.bool"),
}

# PyTorch's kernels are (out, in, height, width), Keras' (height, width, in,
# out).
_AXES = (2, 3, 1, 0)

# A `RefineNet` has a little more than 1,800 * width**2 weights.
_WEIGHTS = 1800


def load_model(path: StrPath, **kwargs: Any) -> NCSNModel:
    """Reads a checkpoint as a model that samples as its authors do.

    NCSN uses annealed Langevin dynamics with 100 steps of size 2e-5 per
    level, and no denoising step at the end. NCSNv2 uses fewer steps per level,
    and a denoising step. Its step size is the authors' for the same number of
    levels, or else the one for CIFAR-10.

    Args:
        path: As in `load_checkpoint`.
        **kwargs: Arguments of `load_checkpoint`.

    Returns:
        An `NCSNModel`.

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Appendix B.
    """
    network, schedule = load_checkpoint(path, **kwargs)
    if network.sigmas is not None:
        return NCSNModel(network, schedule)
    steps, step_size = NCSNV2_SAMPLING.get(schedule.num_levels, (5, 6.2e-6))
    settings = {
        "steps_per_level": steps,
        "step_size": step_size,
        "denoise": True,
    }
    return NCSNModel(
        network,
        schedule,
        dequantize=False,
        sampler_settings={"annealed_langevin": settings},
    )


def load_checkpoint(
    path: StrPath,
    image_size: int | None = None,
    raw: bool = False,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
) -> tuple[RefineNet, noise.NoiseSchedule]:
    """Reads a checkpoint of the authors' PyTorch code, NCSN's or NCSNv2's.

    The tensors determine the network, except for the size of its images. No
    code in the file is run. Every backend works, but PyTorch is needed to read
    the file.

    Args:
        path: Path of the `.pth` file, which holds a whole checkpoint or only
            its `state_dict`.
        image_size: Even integer, height and width of the images. Defaults to
            `None`: 28 for one channel, else 32, the authors' sizes (except 64
            for NCSNv2 on CelebA).
        raw: Boolean, whether to use the weights of the last training step if
            the file also holds their average. Defaults to `False`.
        sigma_max: Float, the largest noise level of an NCSN. Defaults to
            `None`, 1.0. A checkpoint of NCSNv2 holds its noise levels, so
            there it must be `None`.
        sigma_min: Float, the smallest noise level of an NCSN. Defaults to
            `None`, 0.01.

    Returns:
        A `RefineNet` and its `NoiseSchedule`.
    """
    checkpoint, size = _read(path)
    state = _state_dict(checkpoint, size, raw, path)
    begin_conv = state.get("begin_conv.weight")
    if begin_conv is None or begin_conv.ndim != 4:
        raise ValueError(
            "`path` must be a checkpoint of NCSN or NCSNv2, which have a "
            "kernel `begin_conv.weight`. "
            f"Received: path={str(path)!r} with {_abbreviate(state)}"
        )
    width, channels = begin_conv.shape[:2]
    table = state.get("normalizer.embed.weight")
    if table is not None and table.ndim == 2:
        schedule = noise.NoiseSchedule.geometric(
            1.0 if sigma_max is None else sigma_max,
            0.01 if sigma_min is None else sigma_min,
            num_levels=len(table),
        )
    elif "sigmas" in state:
        if sigma_max is not None or sigma_min is not None:
            raise ValueError(
                "Noise levels can be chosen for NCSN; a checkpoint of NCSNv2 "
                f"holds its own. Received: sigma_max={sigma_max}, sigma_min="
                f"{sigma_min} for {path}"
            )
        schedule = noise.NoiseSchedule(_to_array(state.pop("sigmas")))
    else:
        raise ValueError(
            "`path` must be a checkpoint of NCSN, with the table "
            "`normalizer.embed.weight`, or of NCSNv2, with the tensor "
            f"`sigmas`. Received: path={str(path)!r} with neither"
        )
    _check_width(width, state, path)
    if image_size is None:
        image_size = 28 if channels == 1 else 32
    network = RefineNet(
        (image_size, image_size, channels),
        width=width,
        sigmas=None if table is None else schedule.sigmas,
    )
    _assign(dict(named_weights(network)), state, path)
    return network, schedule


def _read(path):
    """Returns what a file holds, and how many bytes it has."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "PyTorch is needed to read a `.pth` file. Install it with "
            "`pip install keras-ncsn[torch]`."
        ) from error
    if not os.path.exists(path):
        raise ValueError(
            f"`path` must be a file that exists. Received: path={str(path)!r}"
        )
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            with pth_file.checked(file, size, path) as content:
                checkpoint = torch.load(
                    content, map_location="cpu", weights_only=True
                )
            return checkpoint, size
    except NoRoomError:
        raise
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            "`path` must be a whole PyTorch file that holds tensors only, "
            "because anything else could run code when it is read. "
            f"Received: path={str(path)!r}, {reason(error)}"
        ) from error


def _state_dict(checkpoint, size, raw, path):
    """Returns the weights to use: `{name: tensor}`, without `module.`."""
    # NCSN saves [weights, optimizer]. NCSNv2 saves [weights, optimizer, epoch,
    # step] and, if there is one, the average of the weights.
    parts = [checkpoint]
    if isinstance(checkpoint, (list, tuple)):
        parts = list(checkpoint) or [None]
    state = _tensors(parts[0], size, path)
    if raw or len(parts) < 5:
        return state
    averaged = _tensors(parts[4], size, path)
    # The average has only trained weights, and so no noise levels.
    if "sigmas" in state:
        averaged.setdefault("sigmas", state["sigmas"])
    return averaged


def _tensors(state, size, path):
    import torch

    # Objects from the file may hide their methods behind attributes of the
    # same name. So the methods of the classes are called.
    if not isinstance(state, dict) or not all(
        map(torch.is_tensor, dict.values(state))
    ):
        raise ValueError(
            "`path` must hold a `state_dict`, which maps names to tensors, or "
            "a list that begins with one. "
            f"Received: path={str(path)!r}, which holds a "
            f"{type(state).__name__} in its place"
        )
    tensors = {}
    for name, tensor in dict.items(state):
        if not isinstance(name, str) or not _is_plain(tensor):
            raise _not_plain(name, path)
        bare_name = name.removeprefix("module.")
        if bare_name in tensors:
            raise ValueError(
                "`path` must hold one tensor of each name, with or without "
                f"`module.` before it. Received: path={str(path)!r} with two "
                f"of {one_line(repr(bare_name))}"
            )
        tensors[bare_name] = torch.Tensor.detach(tensor)
    _check_size(tensors, size, path)
    for name, tensor in tensors.items():
        if not tensor.float().isfinite().all():
            raise _not_plain(name, path)
    return tensors


def _not_plain(name, path):
    return ValueError(
        "A checkpoint must map strings to dense tensors of real numbers, "
        f"finite in 32 bits. Received: path={str(path)!r}, where "
        f"{one_line(repr(name))} is something else"
    )


def _check_size(tensors, size, path):
    # A tensor may claim any shape while few numbers are stored.
    needed = sum(x.numel() * x.element_size() for x in tensors.values())
    if needed > size:
        raise ValueError(
            "Each tensor of a checkpoint must be stored in full. Received: "
            f"path={str(path)!r} of {size:,} bytes, with tensors of "
            f"{needed:,} bytes"
        )


def _check_width(width, state, path):
    # Before a network is built that may not fit into memory.
    stored = sum(tensor.numel() for tensor in state.values())
    if stored < _WEIGHTS * width**2:
        raise ValueError(
            "The tensors of a checkpoint must have the shapes that its first "
            f"convolution implies. Received: path={str(path)!r} with a first "
            f"convolution of {width} filters, and {stored:,} numbers in all"
        )


def _is_plain(tensor):
    import torch

    is_tensor = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    return is_tensor and str(tensor.dtype) in _DTYPES


def _assign(weights, state, path):
    missing = [name for name in weights if name not in state]
    unknown = [name for name in state if name not in weights]
    if missing or unknown:
        raise ValueError(
            "`path` must be a checkpoint of NCSN or NCSNv2, with their tensors "
            f"and no others. Received: path={str(path)!r}, where "
            f"{_abbreviate(missing)} are missing and {_abbreviate(unknown)} "
            "are left over"
        )
    misshapen = [
        f"{name} {_keras_shape(state[name])}, not {tuple(weight.shape)}"
        for name, weight in weights.items()
        if _keras_shape(state[name]) != tuple(weight.shape)
    ]
    if misshapen:
        raise ValueError(
            "The tensors of a checkpoint must have the shapes that its first "
            f"convolution implies. Received: path={str(path)!r} with, in "
            f"channels-last order, {_abbreviate(misshapen)}"
        )
    for name, weight in weights.items():
        array = _to_array(state[name])
        weight.assign(np.transpose(array, _AXES) if array.ndim == 4 else array)


def _keras_shape(tensor):
    shape = tuple(tensor.shape)
    return tuple(shape[x] for x in _AXES) if len(shape) == 4 else shape


def _to_array(tensor):
    return tensor.double().numpy()


def _abbreviate(names):
    names = list(names)
    shown = one_line(", ".join(names[:5])) or "none"
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
