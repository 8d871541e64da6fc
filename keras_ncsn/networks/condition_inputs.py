"""The inputs of a score network, and the embedding of its condition."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import check_count
from keras_ncsn.layers.condition_embedding import ConditionEmbedding

# An embedding has a row for each class, or for each element of a vector.
MAX_ROWS = 2**16


def checked_num_rows(num_classes: Any, condition_size: Any) -> int | None:
    """Returns the size of a condition, or raises a `ValueError`.

    Args:
        num_classes: Integer, at least 1, if the condition is a label;
            otherwise `None`.
        condition_size: Integer, at least 1, if the condition is a vector;
            otherwise `None`.

    Returns:
        The one that is given, or `None` without a condition.
    """
    if num_classes is not None and condition_size is not None:
        raise ValueError(
            "A condition must be a label or a vector. Received: "
            f"num_classes={num_classes} and condition_size={condition_size}. "
            "Put the label into the vector, one element for each class."
        )
    if num_classes is not None:
        check_count(most=MAX_ROWS, num_classes=num_classes)
        return num_classes
    if condition_size is not None:
        check_count(most=MAX_ROWS, condition_size=condition_size)
    return condition_size


def make_inputs(
    image_shape: Sequence[int],
    num_classes: int | None,
    condition_size: int | None,
) -> list[Tensor]:
    """Returns the inputs: noisy images, noise levels and perhaps a condition.

    Args:
        image_shape: Tuple of integers.
        num_classes: As in `checked_num_rows`, which has passed.
        condition_size: As in `checked_num_rows`, which has passed.

    Returns:
        A list of two or three Keras inputs.
    """
    inputs = [
        keras.Input(tuple(image_shape), dtype="float32", name="noisy"),
        keras.Input((), dtype="float32", name="sigma"),
    ]
    if num_classes is not None:
        return [*inputs, keras.Input((), dtype="int32", name="condition")]
    if condition_size is not None:
        size = (condition_size,)
        return [*inputs, keras.Input(size, dtype="float32", name="condition")]
    return inputs


def add_condition(
    embedding: Tensor,
    inputs: Sequence[Tensor],
    num_rows: int | None,
    dtype: str | keras.DTypePolicy | None,
) -> Tensor:
    """Returns the sum of the embeddings of noise level and condition.

    Args:
        embedding: Float tensor of shape `(batch, units)`.
        inputs: List that `make_inputs` returns.
        num_rows: Integer or `None`, from `checked_num_rows`.
        dtype: Dtype policy of the layers, or `None` for the global one.

    Returns:
        A tensor of shape `(batch, units)`: `embedding` itself if the network
        takes no condition.
    """
    if num_rows is None:
        return embedding
    embed = ConditionEmbedding(
        num_rows, embedding.shape[-1], dtype=dtype, name="embed_condition"
    )
    return keras.layers.Add(dtype=dtype)([embedding, embed(inputs[2])])
