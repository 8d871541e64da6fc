"""What a model requires of its network, schedule and guide."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ncsn.checks import check_choice
from keras_ncsn.conditions import (
    Condition,
    Labels,
    Vectors,
    checked_class_counts,
    checked_class_names,
)
from keras_ncsn.networks.score_network import ScoreNetwork
from keras_ncsn.noise import NoiseSchedule


def check_prediction(prediction: Any, network: keras.Model) -> None:
    """Raises a `ValueError` unless a network can return that prediction.

    Args:
        prediction: The value to check, which must be `"score"` or `"noise"`.
        network: A Keras model.
    """
    check_choice("prediction", prediction, ("score", "noise"))
    if prediction == "noise" and isinstance(network, ScoreNetwork):
        raise ValueError(
            "`prediction` must be 'score' for the networks of this package, "
            "which all return the score. Received: prediction='noise' for a "
            f"{type(network).__name__}"
        )


def check_schedule(schedule: Any, network: keras.Model) -> None:
    """Raises a `ValueError` unless the network was made for the schedule.

    Args:
        schedule: The value to check, which must be a `NoiseSchedule`.
        network: A Keras model.
    """
    if not isinstance(schedule, NoiseSchedule):
        raise ValueError(
            "`schedule` must be a `NoiseSchedule`, such as "
            f"`NoiseSchedule.geometric()`. Received: schedule={schedule!r}"
        )
    check_scaling(schedule, network)
    known = getattr(network, "sigmas", None)
    if known is not None and not (
        min(known) <= schedule.sigma_min * (1 + 1e-6)
        and schedule.sigma_max <= max(known) * (1 + 1e-6)
    ):
        raise ValueError(
            "`schedule` must lie within the noise levels that the network was "
            f"made for. Received: {schedule.sigma_max:g} to "
            f"{schedule.sigma_min:g}, and the network knows {max(known):g} to "
            f"{min(known):g}"
        )


def check_scaling(schedule: NoiseSchedule, network: keras.Model) -> None:
    """Raises a `ValueError` unless a schedule and a network scale images alike.

    Args:
        schedule: A `NoiseSchedule`.
        network: A Keras model, the network of a model or of its guide.
    """
    expected = getattr(network, "variance_preserving", None)
    if expected not in (None, schedule.variance_preserving):
        raise ValueError(
            "The schedule and each network must agree on whether noisy images "
            "are scaled. Received: network.variance_preserving="
            f"{expected}, schedule.variance_preserving="
            f"{schedule.variance_preserving}. Use another schedule, or "
            "build the network with the schedule's `variance_preserving`."
        )


def check_guide(
    guide: Any, network: keras.Model, has_unconditional: bool
) -> None:
    """Raises a `ValueError` unless a guide fits a network and its images.

    Args:
        guide: The value to check, which must be a `Guide`.
        network: A functional Keras model.
        has_unconditional: Boolean, whether the network also learns the score
            without its condition.
    """
    # An `NCSNModel` has a `network` too, but no `extrapolate`.
    worse = getattr(guide, "network", None)
    if not hasattr(guide, "extrapolate") or worse is network:
        raise ValueError(
            "`guide` must be a `Guide` whose network is not the model's own. "
            f"Received: guide={guide!r}"
        )
    if guide.unconditional_share and not has_unconditional:
        raise ValueError(
            "Classifier-free guidance needs a network that takes a condition, "
            "and `condition_dropout` above 0. Received: "
            f"guide={guide!r}. Give it a worse network instead."
        )
    if worse is None:
        return
    shapes = checked_image_shape(network), checked_image_shape(worse)
    scaled = [getattr(x, "variance_preserving", None) for x in (network, worse)]
    if shapes[0] != shapes[1] or (
        None not in scaled and scaled[0] != scaled[1]
    ):
        raise ValueError(
            "`guide` must take the same images as the network. Received: "
            f"images of shape {shapes[1]} and {shapes[0]}, "
            f"variance_preserving={scaled[1]} and {scaled[0]}"
        )
    if len(worse.inputs) > 2 and not (
        len(network.inputs) > 2
        and worse.inputs[2].shape == network.inputs[2].shape
        and worse.inputs[2].dtype == network.inputs[2].dtype
        and _num_classes(worse) == _num_classes(network)
    ):
        raise ValueError(
            "`guide` must take the same condition as the network, or none. "
            f"Received: {worse.inputs[2]} of {_num_classes(worse)} classes, "
            f"and the network takes {network.inputs[2:]} of "
            f"{_num_classes(network)}"
        )


def checked_image_shape(network: Any) -> tuple[int, ...]:
    """Returns the shape of the images that a network takes and returns.

    Args:
        network: The value to check, which must be a functional Keras model
            with two or three inputs.

    Returns:
        A tuple of integers.
    """
    inputs = getattr(network, "inputs", None)
    if not inputs or len(inputs) not in (2, 3):
        raise ValueError(
            "`network` must be a functional Keras model with two inputs, noisy "
            "images and their noise levels, or three, with a condition. "
            f"Received: network={type(network).__name__} with "
            f"{len(inputs or [])} inputs. Build it with `keras.Input`."
        )
    of_sigma = tuple(inputs[1].shape[1:])
    if of_sigma not in ((), (1,)):
        raise ValueError(
            "`network` must take one noise level per image. Received: a second "
            f"input of shape (batch, {', '.join(map(str, of_sigma))}). Use "
            "`keras.Input(())` with a `keras.layers.Reshape` after it."
        )
    shape = tuple(inputs[0].shape[1:])
    output = tuple(network.outputs[0].shape[1:])
    if None in shape or output != shape:
        raise ValueError(
            "`network` must take images of one known shape and return a score "
            f"of that shape. Received: network.input_shape={shape}, "
            f"network.output_shape={output}"
        )
    return shape


def checked_condition(
    network: Any, class_names: Any, class_counts: Any
) -> Condition | None:
    """Returns what a network is conditioned on.

    Args:
        network: A network that `checked_image_shape` has passed.
        class_names: The value to check, as in `checked_class_names`.
        class_counts: The value to check, as in `checked_class_counts`.

    Returns:
        A `Labels`, if the third input holds integers; a `Vectors`, if it holds
        floats; `None`, if there is none.
    """
    if len(network.inputs) == 2 or "int" not in network.inputs[2].dtype:
        if class_names is not None or class_counts is not None:
            raise ValueError(
                "`class_names` and `class_counts` need a network that takes "
                f"labels. Received: network={type(network).__name__}. Build it "
                "with `num_classes`."
            )
    if len(network.inputs) == 2:
        return None
    shape, dtype = network.inputs[2].shape[1:], network.inputs[2].dtype
    if "int" in dtype and tuple(shape) in ((), (1,)):
        names = checked_class_names(class_names, _num_classes(network))
        return Labels(names, checked_class_counts(class_counts, len(names)))
    if "float" in dtype and len(shape) == 1 and shape[0] is not None:
        return Vectors(int(shape[0]))
    raise ValueError(
        "The third input of `network` must be integer labels of shape "
        "(batch,), or float vectors of one size. Received: "
        f"{dtype} of shape (batch, {', '.join(map(str, shape))})"
    )


def _num_classes(network):
    # `None` for networks from elsewhere that do not state it.
    return getattr(network, "num_classes", None)


def check_knows_none(model: Any) -> None:
    """Raises a `ValueError` unless a network accepts the condition "none".

    The networks of this package do, so they are not tried.

    Args:
        model: An `NCSNModel`.
    """
    if not model.has_unconditional or isinstance(model.network, ScoreNetwork):
        return
    shape = (1, *model.image_shape)
    sigma = model.schedule.sigma_max
    noisy = np.random.default_rng(0).standard_normal(shape, "float32")
    none = np.full(
        (1, *model.network.inputs[2].shape[1:]),
        model.condition.none_value,
        model.condition.dtype,
    )
    noisy = noisy * float(model.schedule.noise_scale(sigma))
    inputs = [noisy, np.array([sigma], "float32"), none]
    try:
        score = ops.convert_to_numpy(model.network(inputs, training=False))
        reason = "a result that is not finite"
        knows_none = bool(np.isfinite(score.astype("float32")).all())
    except Exception as error:
        reason, knows_none = type(error).__name__, False
    if not knows_none:
        raise ValueError(
            "A network must accept the condition "
            f'{model.condition.none_value}, which means "none", unless the '
            f"model has `condition_dropout=0`. Received: {reason}"
        )
