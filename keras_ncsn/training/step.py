"""One step of score matching, written once for all backends.

The functions take the model as an argument. `NCSNModel` calls them from the
methods that Keras calls.
"""

import math
from typing import Any

import keras
from keras import ops

from keras_ncsn import backend
from keras_ncsn.annotations import Tensor
from keras_ncsn.conditions import Labels
from keras_ncsn.noise import expand_like
from keras_ncsn.training import losses
from keras_ncsn.training.noise_levels import draw_sigmas


def train_on(model: Any, data: Any) -> dict[str, Tensor]:
    """Takes one optimizer step; changes nothing if the loss is not finite.

    A gradient that is not finite makes the loss NaN. After a loss that is not
    finite, neither this step nor later steps of the epoch change anything,
    until the metrics are reset.

    Args:
        model: An `NCSNModel`, compiled.
        data: What Keras passes to `train_step`.

    Returns:
        A dictionary from names of metrics to their values.
    """
    images = prepare_images(model, data)
    optimizer = model.optimizer
    weights = model.network.trainable_variables
    state = model.network.non_trainable_variables
    before = [ops.copy(variable.value) for variable in state]
    condition = prepare_condition(model, data, model.condition_dropout)
    sigma, noise = draw_noise(model, images)
    projection = draw_projection(model, images)
    # 1, unless the optimizer scales losses for float16.
    loss_scale = ops.convert_to_tensor(optimizer.scale_loss(1.0))

    def scaled_loss():
        loss = mean_loss(
            model, images, sigma, noise, True, projection, condition
        )
        return loss_scale * sum(model.network.losses, loss)

    loss, gradients = backend.value_and_gradients(scaled_loss, weights, state)
    loss = loss / loss_scale
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # A `LossScaleOptimizer` skips such steps itself.
        finite = backend.all_finite(gradients)
        loss = ops.where(finite, loss, float("nan"))
    model.loss_tracker.update_state(loss, sample_weight=ops.shape(images)[0])
    finite = ops.isfinite(model.loss_tracker.result())

    def update():
        backend.apply_gradients(optimizer, gradients, weights)
        model.update_ema(optimizer.iterations)

    changed = [*weights, *optimizer.variables, *model.ema_variables]
    backend.update_if(finite, update, changed)
    backend.keep_if(finite, state, before)
    return {"loss": model.loss_tracker.result()}


def test_on(model: Any, data: Any) -> dict[str, Tensor]:
    """Computes the loss of one batch with the weights that sampling uses.

    Args:
        model: An `NCSNModel`.
        data: What Keras passes to `test_step`.

    Returns:
        A dictionary from names of metrics to their values.
    """
    images = prepare_images(model, data)
    condition = prepare_condition(model, data)
    sigma, noise = draw_noise(model, images)
    projection = draw_projection(model, images)
    loss = mean_loss(model, images, sigma, noise, False, projection, condition)
    model.loss_tracker.update_state(loss, sample_weight=ops.shape(images)[0])
    return {"loss": model.loss_tracker.result()}


def prepare_images(model: Any, data: Any) -> Tensor:
    """Returns the images of a batch, in the range in which noise is added.

    Args:
        model: An `NCSNModel`.
        data: A batch of images, or a tuple or list whose first element is one.
            uint8 images are dequantised, or divided by 255. Float images keep
            their values.

    Returns:
        A float32 tensor of shape `(batch, ...)`.
    """
    images = data[0] if isinstance(data, (tuple, list)) else data
    images = ops.convert_to_tensor(images)
    if getattr(images.shape, "rank", 0) is None or None in images.shape[1:]:
        raise ValueError(
            "A stream must state the shape of its images. Received: "
            f"images.shape={images.shape}, and the network takes "
            f"{model.image_shape}. Give the data set an `output_signature` "
            f"such as tf.TensorSpec({(None, *model.image_shape)})."
        )
    if tuple(images.shape[1:]) != model.image_shape:
        raise ValueError(
            "Images must have the shape that the network was built for. "
            f"Received: images.shape={tuple(images.shape)}, and the network "
            f"takes {model.image_shape}"
        )
    is_uint8 = keras.backend.standardize_dtype(images.dtype) == "uint8"
    images = ops.cast(images, "float32")
    if is_uint8 and model.value_range is not None:
        low, high = model.value_range
        if model.dequantize:
            noise = backend.draw_for_batch(
                lambda rows: keras.random.uniform(
                    (rows, *model.image_shape), seed=model.seed_generator
                ),
                ops.shape(images)[0],
            )
            images = (images + noise) / 256.0
        else:
            images = images / 255.0
        images = low + (high - low) * images
    return model.to_sampled(images)


def prepare_condition(
    model: Any, data: Any, dropout: float = 0.0
) -> Tensor | None:
    """Returns the condition of each image of a batch.

    Args:
        model: An `NCSNModel`.
        data: A batch, a tuple or list of images and their conditions.
        dropout: Float in [0, 1], the share of images whose condition becomes
            "none". Defaults to `0.0`.

    Returns:
        An int32 tensor of shape `(batch,)`, a float32 tensor of shape
        `(batch, size)`, or `None` for a model without a condition. Raises a
        `ValueError` for labels that are not integers.
    """
    if model.condition is None:
        return None
    condition = ops.convert_to_tensor(data[1])
    dtype = keras.backend.standardize_dtype(condition.dtype)
    if isinstance(model.condition, Labels) and "int" not in dtype:
        raise ValueError(
            f"`labels` must be integers. Received: labels.dtype={dtype}"
        )
    condition = ops.cast(condition, model.condition.dtype)
    shape = tuple(model.network.inputs[2].shape[1:])
    condition = ops.reshape(condition, (-1, *shape))
    if not dropout:
        return condition
    draws = backend.draw_for_batch(
        lambda rows: keras.random.uniform((rows,), seed=model.seed_generator),
        ops.shape(condition)[0],
    )
    dropped = expand_like(draws < dropout, condition)
    none = ops.full_like(condition, model.condition.none_value)
    return ops.where(dropped, none, condition)


def draw_noise(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a noise level for each image, and noise.

    Args:
        model: An `NCSNModel`.
        images: Float32 tensor of shape `(batch, ...)`.

    Returns:
        The noise levels, a float32 tensor of shape `(batch,)`, and the noise,
        one shaped like `images`.
    """
    sigma = backend.draw_for_batch(
        lambda rows: draw_sigmas(model, rows), ops.shape(images)[0]
    )
    return sigma, _draw_normal(model, images)


def _draw_normal(model, images):
    return backend.draw_for_batch(
        lambda rows: keras.random.normal(
            (rows, *images.shape[1:]), seed=model.seed_generator
        ),
        ops.shape(images)[0],
    )


def draw_projection(model: Any, images: Tensor) -> Tensor | None:
    """Returns a random direction for each image, if the objective needs one.

    Args:
        model: An `NCSNModel`.
        images: Float32 tensor of shape `(batch, ...)`.

    Returns:
        A float32 tensor shaped like `images`, standard normal, for sliced
        score matching; otherwise `None`.
    """
    if model.objective != "sliced_score_matching":
        return None
    return _draw_normal(model, images)


def mean_loss(
    model: Any,
    images: Tensor,
    sigma: Tensor,
    noise: Tensor,
    training: bool,
    projection: Tensor | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """Returns the weighted loss, averaged over the batch, a float32 scalar.

    Args:
        model: An `NCSNModel`.
        images: Float32 tensor of shape `(batch, ...)`.
        sigma: Float32 tensor of shape `(batch,)`.
        noise: Float32 tensor shaped like `images`.
        training: Boolean, whether to use the raw weights.
        projection: Float32 tensor shaped like `images`, the directions of
            sliced score matching. Defaults to `None`, which selects denoising
            score matching.
        condition: Tensor that `prepare_condition` returns. Defaults to
            `None`, for a model without a condition.
    """
    loss = loss_per_image(
        model, images, sigma, noise, training, projection, condition
    )
    return ops.mean(level_weight(model, sigma) * loss)


def level_weight(model: Any, sigma: Tensor) -> Tensor:
    """Returns the factor by which the loss of each noise level is weighted.

    Args:
        model: An `NCSNModel`.
        sigma: Float, or a float tensor.
    """
    if model.weighting == "edm":
        return losses.preconditioned_weight(sigma, model.data_std)
    return 1.0


def loss_per_image(
    model: Any,
    images: Tensor,
    sigma: Tensor,
    noise: Tensor,
    training: bool = False,
    projection: Tensor | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """Returns the unweighted loss of each image.

    Args:
        model: As in `mean_loss`.
        images: As in `mean_loss`.
        sigma: As in `mean_loss`.
        noise: As in `mean_loss`.
        training: As in `mean_loss`. Defaults to `False`.
        projection: As in `mean_loss`. Defaults to `None`.
        condition: As in `mean_loss`. Defaults to `None`.

    Returns:
        A float32 tensor of shape `(batch,)`.
    """
    noisy = model.schedule.perturb(images, sigma, noise)
    scale = expand_like(model.schedule.noise_scale(sigma), noisy)
    rest = [sigma] if condition is None else [sigma, condition]

    def scaled_score(noisy):
        return scale * model([noisy, *rest], training=training)

    if projection is None:
        return losses.denoising_score_matching(scaled_score(noisy), noise)
    network = model.network if training else model.sampling_network
    output, gradient = backend.output_and_input_gradient(
        scaled_score, noisy, projection, network.variables
    )
    return losses.sliced_score_matching(output, scale * gradient, projection)


def check_finite(loss: Tensor) -> None:
    """Raises a `FloatingPointError` if a training loss is not finite.

    Args:
        loss: Float, or a scalar tensor.
    """
    if not math.isfinite(float(loss)):
        raise FloatingPointError(
            f"Training stopped, because the loss became {float(loss)} or its "
            "gradient is not finite. The weights are those from before this "
            "step. Use a smaller learning rate, or clip gradients "
            "(`global_clipnorm` of the optimizer)."
        )


class CountSteps(keras.callbacks.Callback):
    """Counts the steps that a model takes, in `NCSNModel.steps_taken`."""

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # Keras counts batches from 0 in each epoch.
        self.epoch_start = self.model.steps_taken

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # If one call executes several steps, `batch` is the last of them.
        self.model.steps_taken = self.epoch_start + batch + 1


class StopOnNaN(keras.callbacks.Callback):
    """Stops training with an error if the loss is not finite."""

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            # On JAX, reading `self.model` puts the current values back into
            # its variables.
            self.model.stop_training = True
            check_finite(loss)
