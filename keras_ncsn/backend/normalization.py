"""Normalization of groups of channels."""

from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend.running import BACKEND

if BACKEND == "torch":
    import torch


def normalize_groups(
    x: Tensor, groups: int, scale: Tensor, shift: Tensor, epsilon: float
) -> Tensor:
    """Returns `x` with groups of channels normalized, then scaled and shifted.

    Args:
        x: Float32 tensor of shape `(batch, height, width, channels)`.
        groups: Integer, the number of groups of channels. Each has mean 0 and
            variance 1 before it is scaled.
        scale: Float32 tensor of shape `(batch, channels)` or `(channels,)`.
        shift: Float32 tensor shaped like `scale`.
        epsilon: Float, added to variances before dividing.

    Returns:
        A tensor shaped like `x`.

    Example:

    >>> x = ops.array([[[[1.0, 3.0]]]])
    >>> y = normalize_groups(x, 1, ops.ones(2), ops.zeros(2), epsilon=0.0)
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [-1.0, 1.0]
    """
    # Not by slices, which are many operations to trace on TensorFlow.
    scale, shift = (
        ops.reshape(factor, (-1, 1, 1, x.shape[-1]))
        for factor in (scale, shift)
    )
    if BACKEND == "torch":
        return _normalize_groups_torch(x, groups, scale, shift, epsilon)
    # The mean of the squares less the square of the mean would take one pass
    # fewer, but few digits would be left of a small variance.
    centred = x - _group_means(x, groups)
    variance = _group_means(ops.square(centred), groups)
    return centred * (scale * ops.rsqrt(variance + epsilon)) + shift


def _normalize_groups_torch(x, groups, scale, shift, epsilon):
    # PyTorch's own kernel is twice as fast, but it loses those digits. With
    # the means subtracted it does not. They need no gradient, because it takes
    # away any mean.
    with torch.no_grad():
        means = _group_means(x, groups)
    # It wants channels second, and keeps them last in memory.
    normalized = torch.nn.functional.group_norm(
        (x - means).permute(0, 3, 1, 2), groups, eps=epsilon
    ).permute(0, 2, 3, 1)
    return torch.addcmul(shift, normalized, scale)


def _group_means(x, groups):
    """Returns the mean of each group, once for each channel of it."""
    # Over the pixels first: the rest of the work is then tiny.
    channels = x.shape[-1]
    means = ops.mean(x, axis=(1, 2))
    means = ops.reshape(means, (-1, groups, channels // groups))
    # Times one instead of `ops.repeat`, which is many operations to trace.
    ones = ops.ones((1, 1, channels // groups))
    means = ops.mean(means, axis=-1, keepdims=True) * ones
    return ops.reshape(means, (-1, 1, 1, channels))
