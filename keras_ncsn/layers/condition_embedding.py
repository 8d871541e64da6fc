"""The embedding of a condition, a label or a vector."""

from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ConditionEmbedding(keras.layers.Layer):
    """Embeds the label of an image, or a vector that describes it.

    A table has one row for each class, or for each element of the vector, and
    a last row that means "none". A label selects a row. The elements of a
    vector multiply their rows, which are then added.

    Args:
        num_rows: Integer, the number of classes, or the length of the vectors.
            The table has one row more.
        units: Integer, the length of a row.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        condition: Integer tensor of shape `(batch,)`, labels, where `num_rows`
            means "none"; or float32 tensor of shape `(batch, num_rows)`, where
            a vector of NaN means "none".

    Returns:
        A tensor of shape `(batch, units)`.

    Example:

    >>> layer = ConditionEmbedding(num_rows=10, units=8)
    >>> tuple(layer(ops.array([3, 10])).shape)
    (2, 8)
    """

    def __init__(self, num_rows: int, units: int, **kwargs: Any) -> None:
        # No automatic cast: vectors stay float32, and labels stay integers.
        super().__init__(autocast=False, **kwargs)
        self.num_rows = num_rows
        self.units = units

    def build(self, condition_shape: Shape) -> None:
        self.table = self.add_weight(
            shape=(self.num_rows + 1, self.units),
            initializer=keras.initializers.RandomNormal(stddev=0.5),
            name="table",
        )

    def call(self, condition: Tensor) -> Tensor:
        # A product with the table, because the gradient of a lookup is sparse
        # on TensorFlow, where it is slower for small tables.
        dtype = keras.backend.standardize_dtype(condition.dtype)
        if "int" in dtype:
            rows = ops.one_hot(condition, self.num_rows + 1)
        else:
            missing = ops.any(ops.isnan(condition), axis=-1, keepdims=True)
            rows = ops.concatenate(
                [
                    ops.where(missing, 0.0, condition),
                    ops.cast(missing, condition.dtype),
                ],
                axis=-1,
            )
        embedded = ops.matmul(
            ops.cast(rows, "float32"), ops.cast(self.table, "float32")
        )
        return ops.cast(embedded, self.compute_dtype)

    def compute_output_shape(self, condition_shape: Shape) -> Shape:
        return (condition_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_rows": self.num_rows,
            "units": self.units,
        }
