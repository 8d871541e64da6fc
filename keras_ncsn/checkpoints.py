"""The authors' PyTorch checkpoints of NCSN and NCSNv2, converted."""

import os

import numpy as np

from keras_ncsn import noise
from keras_ncsn.model import NCSNModel
from keras_ncsn.networks.refinenet import RefineNet

# Steps a level and step size that NCSNv2's authors use, by number of levels.
NCSNV2_SAMPLING = {
    232: (5, 6.2e-6),
    500: (5, 3.3e-6),
    788: (4, 4.9e-6),
    1086: (3, 1.8e-6),
    2311: (3, 0.9e-6),
}


def load_model(path, **kwargs):
    """Reads a checkpoint as a model that samples as its authors do.

    NCSN: annealed Langevin dynamics, 100 steps of size 2e-5 a level, no
    denoising at the end. NCSNv2: few steps, and denoising; the step size is
    that of the authors' ladder with as many levels, else that of CIFAR-10.

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
    path, image_size=None, raw=False, sigma_max=None, sigma_min=None
):
    """Reads a checkpoint of the authors' PyTorch code, NCSN's or NCSNv2's.

    What the network is follows from the tensors, except for the size of its
    images, which no tensor depends on. Nothing stored in the file is run. It
    works on every backend, but needs PyTorch to read the file.

    Args:
        path: String or path, the `.pth` file, or one with its bare
            `state_dict`.
        image_size: Even integer, height and width of the images. Defaults to
            `None`: 28 for one channel, else 32, the authors' sizes (except 64
            for NCSNv2 on CelebA).
        raw: Boolean, whether to take the weights of the last training step
            from a file that also has their average. Defaults to `False`.
        sigma_max: Float, the largest noise level of an NCSN. Defaults to
            `None`, 1.0. An NCSNv2 brings its noise levels along, and takes no
            others.
        sigma_min: Float, its smallest noise level. Defaults to `None`, 0.01.

    Returns:
        A `RefineNet` and its `NoiseSchedule`.
    """
    state = _state_dict(_read(path), raw, path)
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
        schedule = noise.NoiseSchedule(state.pop("sigmas"))
    else:
        raise ValueError(
            "`path` must be a checkpoint of NCSN, with the table "
            "`normalizer.embed.weight`, or of NCSNv2, with the tensor "
            f"`sigmas`. Received: path={str(path)!r} with neither"
        )
    if image_size is None:
        image_size = 28 if channels == 1 else 32
    network = RefineNet(
        (image_size, image_size, channels),
        width=width,
        sigmas=None if table is None else schedule.sigmas,
    )
    _assign(dict(_named_weights(network)), state, path)
    return network, schedule


def _read(path):
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "PyTorch is needed to read a `.pth` file. Install it with "
            "`pip install keras-ncsn[torch]`."
        ) from error
    if not os.path.isfile(path):
        raise ValueError(
            f"`path` must be a file that exists. Received: path={str(path)!r}"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged file can raise anything.
        raise ValueError(
            "`path` must be a whole PyTorch file that holds tensors only, "
            "because anything else could run code when it is read. "
            f"Received: path={str(path)!r}, of which PyTorch says: "
            f"{str(error).splitlines()[0] if str(error) else repr(error)}"
        ) from error


def _state_dict(checkpoint, raw, path):
    """Returns the weights to use: `{name: array}`, without `module.`."""
    # NCSN saves [weights, optimizer]; NCSNv2 [weights, optimizer, epoch, step]
    # and, where it keeps one, the average of the weights.
    parts = [checkpoint]
    if isinstance(checkpoint, (list, tuple)):
        parts = list(checkpoint) or [None]
    state = _arrays(parts[0], path)
    if raw or len(parts) < 5:
        return state
    averaged = _arrays(parts[4], path)
    # The average is of what is trained. The noise levels are not.
    if "sigmas" in state:
        averaged.setdefault("sigmas", state["sigmas"])
    return averaged


def _arrays(state, path):
    if not isinstance(state, dict) or not all(
        hasattr(value, "detach") for value in state.values()
    ):
        raise ValueError(
            "`path` must hold a `state_dict`, which maps names to tensors, or "
            "a list that begins with one. "
            f"Received: path={str(path)!r}, which holds a "
            f"{type(state).__name__} in its place"
        )
    arrays = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not _is_plain(tensor):
            raise ValueError(
                "The tensors of a checkpoint must have strings as names, and "
                "be dense, of real numbers, finite in 32 bits. Received: "
                f"path={str(path)!r} where {name!r} is not so"
            )
        bare_name = name.removeprefix("module.")
        if bare_name in arrays:
            raise ValueError(
                "`path` must hold one tensor of each name, with or without "
                f"`module.` before it. Received: path={str(path)!r} with two "
                f"of {bare_name!r}"
            )
        arrays[bare_name] = tensor.detach().double().numpy()
    return arrays


def _is_plain(tensor):
    # Quantized and nested tensors say that they are strided.
    return (
        str(tensor.layout) == "torch.strided"
        and not tensor.is_meta
        and not tensor.is_quantized
        and not tensor.is_nested
        and not tensor.is_complex()
        and bool(tensor.float().isfinite().all())
    )


def _named_weights(network):
    """Yields the authors' name and the variable of every weight."""
    yield from _convolution("begin_conv", network.get_layer("begin_conv"))
    yield from _convolution("end_conv", network.get_layer("end_conv"))
    yield from _norm("normalizer", network.get_layer("normalizer"))
    for stage in (1, 2, 3, 4):
        for block in range(network.blocks_per_stage):
            yield from _residual_block(
                f"res{stage}.{block}", network.get_layer(f"res{stage}_{block}")
            )
        yield from _refine_block(
            f"refine{stage}", network.get_layer(f"refine{stage}")
        )


def _residual_block(name, block):
    # A pooled convolution is a module of its own there, around a `conv`.
    inner = ".conv" if block.downsample else ""
    yield from _norm(f"{name}.normalize1", block.norm1)
    yield from _convolution(f"{name}.conv1", block.conv1)
    yield from _norm(f"{name}.normalize2", block.norm2)
    yield from _convolution(f"{name}.conv2{inner}", block.conv2)
    yield from _convolution(f"{name}.shortcut{inner}", block.shortcut)


def _refine_block(name, block):
    for index, adapter in enumerate(block.adapters):
        yield from _residual_conv_unit(f"{name}.adapt_convs.{index}", adapter)
    yield from _residual_conv_unit(f"{name}.output_convs", block.output_unit)
    parts = [("crp", block.pooling)]
    if block.fusion is not None:
        parts.append(("msf", block.fusion))
    for part, layer in parts:
        for index, (norm, conv) in enumerate(
            zip(layer.norms, layer.convs, strict=True)
        ):
            yield from _norm(f"{name}.{part}.norms.{index}", norm)
            yield from _convolution(f"{name}.{part}.convs.{index}", conv)


def _residual_conv_unit(name, unit):
    for index, (norm, conv) in enumerate(
        zip(unit.norms, unit.convs, strict=True)
    ):
        block, stage = divmod(index, unit.num_stages)
        prefix = f"{name}.{block + 1}_{stage + 1}"
        yield from _norm(f"{prefix}_norm", norm)
        yield from _convolution(f"{prefix}_conv", conv)


def _convolution(name, layer):
    if layer is None:
        return
    yield f"{name}.weight", layer.kernel
    if layer.use_bias:
        yield f"{name}.bias", layer.bias


def _norm(name, layer):
    if layer is None:
        return
    if layer.num_levels is not None:
        yield f"{name}.embed.weight", layer.table
        return
    for weight in ("gamma", "alpha", "beta"):
        yield f"{name}.{weight}", getattr(layer, weight)


def _assign(weights, state, path):
    missing = [name for name in weights if name not in state]
    unknown = [name for name in state if name not in weights]
    if missing or unknown:
        raise ValueError(
            "`path` must be a checkpoint of NCSN or NCSNv2, with their tensors "
            f"and no others. Received: path={str(path)!r}, where "
            f"{_abbreviate(missing)} are missing and {_abbreviate(unknown)} "
            "left over"
        )
    arrays = {name: _to_keras(array) for name, array in state.items()}
    misshapen = [
        f"{name} {arrays[name].shape}, not {tuple(weight.shape)}"
        for name, weight in weights.items()
        if arrays[name].shape != tuple(weight.shape)
    ]
    if misshapen:
        raise ValueError(
            "The tensors of a checkpoint must have the shapes that its first "
            f"convolution implies. Received: path={str(path)!r} with, in "
            f"channels-last order, {_abbreviate(misshapen)}"
        )
    for name, weight in weights.items():
        weight.assign(arrays[name])


def _to_keras(array):
    # Kernels are (out, in, height, width) there.
    return np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array


def _abbreviate(names):
    names = list(names)
    shown = ", ".join(names[:5]) or "none"
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
