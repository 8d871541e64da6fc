"""NCSNModel: a score network that trains, samples and inpaints."""

import functools
import math
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_ncsn import backend, evaluation, sampling, solving
from keras_ncsn import layers as layers
from keras_ncsn.annotations import StrPath, Tensor
from keras_ncsn.checks import (
    check_above_zero,
    check_choice,
    check_count,
    check_finite,
    check_momentum,
    check_no_weights,
    check_seed,
    check_share,
    check_value_range,
)
from keras_ncsn.conditions import Condition, Labels, Vectors
from keras_ncsn.guidance import Guide

# Presets and `.keras` files name classes that these modules register.
from keras_ncsn.networks import mlp, refinenet, unet  # noqa: F401
from keras_ncsn.networks.contract import (
    check_guide,
    check_knows_none,
    check_prediction,
    check_scaling,
    check_schedule,
    checked_condition,
    checked_image_shape,
)
from keras_ncsn.noise import NoiseSchedule, expand_like
from keras_ncsn.posterior import Method
from keras_ncsn.posterior.operators import LinearOperator
from keras_ncsn.presets import (
    format,
    loading,
    publishing,
    saving,
    sources,
)
from keras_ncsn.presets.terms import common_terms, keep_terms
from keras_ncsn.samplers import Sampler
from keras_ncsn.samplers.settings import checked_samplers
from keras_ncsn.score_function import ScoreFunction
from keras_ncsn.training import noise_levels, step
from keras_ncsn.training.data import checked_data
from keras_ncsn.typicality import Reference


class _ClassProperty(property):
    """A property that is read from the class, not only from instances."""

    def __get__(self, instance, owner=None):
        return self.fget(owner)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="keras_ncsn")
class NCSNModel(keras.Model):
    """A noise conditional score network, ready to train and to sample.

    The model adds noise to images and trains the network to point back to the
    images (denoising score matching). To generate images, it follows the
    network from noise (annealed Langevin dynamics, or the probability flow).

    Args:
        network: A functional Keras model, such as `RefineNet` or `UNet`. It is
            called on `[noisy, sigma]`, float32 tensors of shapes `(batch, ...)`
            and `(batch,)`, and returns a tensor shaped like the first. The
            images must have its input shape. A network with a third input is
            called on `[noisy, sigma, condition]`: integer labels of shape
            `(batch,)`, where the number of classes means "none", or float32
            vectors of shape `(batch, size)`, where NaN means "none". A network
            of your own must know "none" too, or have `condition_dropout=0`.
        schedule: A `NoiseSchedule`. Defaults to `None`, NCSN's schedule: ten
            levels from 1 to 0.01.
        prediction: What the network returns: `"score"`, or `"noise"` for the
            unit noise. The score is then -noise / (a * sigma). The networks of
            this package return the score. Defaults to `"score"`.
        objective: What training minimises: `"denoising_score_matching"`, or
            `"sliced_score_matching"`, which also differentiates the network
            with respect to its input. Defaults to
            `"denoising_score_matching"`.
        sigma_distribution: How training draws noise levels: `"ladder"` (all
            levels of the schedule with equal probability, as in the paper),
            `"log_uniform"` (between the ends of the schedule) or
            `"log_normal"` (clipped to these ends). Defaults to `"ladder"`.
        log_sigma_mean: Float, the mean of ln(sigma) under `"log_normal"`.
            Defaults to `-1.2`.
        log_sigma_std: Float above 0, its standard deviation. Defaults to
            `1.2`.
        weighting: How the loss weights noise levels: `"ncsn"` (the squared
            error of the noise) or `"edm"` (the same multiplied by
            (sigma**2 + data_std**2) / data_std**2). Defaults to `"ncsn"`.
        data_std: Float above 0, the standard deviation of the pixels, for
            `"edm"`. Defaults to `0.5`.
        dequantize: Boolean, whether training adds uniform noise of one grey
            level to uint8 images. Defaults to `True`, as in NCSN.
        ema_momentum: Float in (0, 1). The model keeps an average of the
            weights, and uses it for everything but training. After step t the
            average becomes m * average + (1 - m) * weights, where
            m = min(ema_momentum, (1 + t) / (10 + t)). A new average thus
            follows the weights quickly, as in
            `tf.train.ExponentialMovingAverage`. t counts the optimizer's
            steps, starting with 1. Defaults to `None`, no average.
        value_range: Pair of floats, the range of the images, or `None` for
            other data, such as points. Defaults to `(0.0, 1.0)`.
        sampler: The default sampler, a `Sampler` or its name, one of
            `keras_ncsn.samplers.NAMES`. Defaults to `"annealed_langevin"`.
        sampler_settings: Dictionary from names of samplers to dictionaries of
            the settings that differ from the sampler's defaults. Defaults to
            `None`.
        seed: Integer, the seed of the noise in training. Defaults to `None`,
            random.
        guide: A `Guide`, a worse score from which `generate` moves away.
            `score`, `denoise`, `inpaint`, `solve` and the loss do not use it.
            Defaults to `None`.
        class_names: Sequence of strings, the names of the classes of a network
            that takes labels. Defaults to `None`: their numbers.
        class_counts: Sequence of integers, how many training images each class
            has; `generate` draws labels accordingly. Defaults to `None`: `fit`
            counts the labels of an array, and other classes are equally
            frequent.
        condition_dropout: Float in [0, 1], the share of images that training
            shows without their condition. With a share above 0 the network
            also learns the unconditional score, which classifier-free guidance
            needs. A network without a condition ignores it. Defaults to `0.1`.
        **kwargs: Base model arguments, such as `name`.

    Call arguments:
        inputs: List of noisy images, noise levels and perhaps conditions, as
            for the network.

    Returns:
        The score, a float32 tensor shaped like the images.

    Example:

    >>> network = keras_ncsn.networks.UNet(
    ...     (8, 8, 1), widths=(8,), num_blocks=1
    ... )
    >>> model = keras_ncsn.NCSNModel(network)
    >>> model.compile()
    >>> images = np.random.default_rng(0).random((16, 8, 8, 1), "float32")
    >>> history = model.fit(images, batch_size=8, verbose=0)
    >>> model.generate(2, seed=0, steps_per_level=2).shape
    (2, 8, 8, 1)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600).
    """

    def __init__(
        self,
        network: keras.Model,
        schedule: NoiseSchedule | None = None,
        prediction: str = "score",
        objective: str = "denoising_score_matching",
        sigma_distribution: str = "ladder",
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        weighting: str = "ncsn",
        data_std: float = 0.5,
        dequantize: bool = True,
        ema_momentum: float | None = None,
        value_range: tuple[float, float] | None = (0.0, 1.0),
        sampler: Sampler | str = "annealed_langevin",
        sampler_settings: dict[str, dict[str, Any]] | None = None,
        seed: int | None = None,
        guide: Guide | None = None,
        class_names: Sequence[str] | None = None,
        class_counts: Sequence[int] | None = None,
        condition_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        _check_not_functional(kwargs)
        super().__init__(**kwargs)
        check_prediction(prediction, network)
        check_choice(
            "objective",
            objective,
            ("denoising_score_matching", "sliced_score_matching"),
        )
        check_choice(
            "sigma_distribution",
            sigma_distribution,
            noise_levels.DISTRIBUTIONS,
        )
        check_choice("weighting", weighting, ("ncsn", "edm"))
        check_finite(log_sigma_mean=log_sigma_mean)
        check_above_zero(log_sigma_std=log_sigma_std, data_std=data_std)
        check_momentum(ema_momentum)
        check_value_range(value_range)
        check_share(condition_dropout=condition_dropout)
        image_shape = checked_image_shape(network)
        condition = checked_condition(network, class_names, class_counts)
        has_unconditional = condition is not None and condition_dropout > 0
        schedule = NoiseSchedule.geometric() if schedule is None else schedule
        check_schedule(schedule, network)
        if guide is not None:
            check_guide(guide, network, has_unconditional)
            if guide.network is not None:
                check_scaling(schedule, guide.network)
                check_prediction(prediction, guide.network)
        sampler, sampler_settings = checked_samplers(
            sampler, sampler_settings, schedule
        )
        # Keras must not cast the noisy images: they stay float32, and each
        # layer casts its inputs itself.
        self.autocast = False
        self.network = network
        self.guide: Any = guide
        # Metadata with the licence of the weights, if copies must keep it.
        self._terms: dict[str, Any] = {}
        self.schedule = schedule
        self.prediction = prediction
        self.objective = objective
        self.sigma_distribution = sigma_distribution
        self.log_sigma_mean = log_sigma_mean
        self.log_sigma_std = log_sigma_std
        self.weighting = weighting
        self.data_std = data_std
        self.dequantize = dequantize
        self.ema_momentum = ema_momentum
        self.value_range: Any = value_range and tuple(value_range)
        self.sampler = sampler
        self.sampler_settings = sampler_settings
        self.seed = None if seed is None else check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        # Over all calls of `fit`, including those before a restored
        # checkpoint.
        self.steps_taken = 0
        self.image_shape = image_shape
        # A `Labels`, a `Vectors` or `None`.
        self.condition: Condition | None = condition
        self.condition_dropout = condition_dropout
        # Whether the network also knows the score without its condition.
        self.has_unconditional = has_unconditional
        self.ema_network = None
        if ema_momentum is not None:
            self.ema_network = _copy_network(network)
            self.ema_network.trainable = False
        self.built = True

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, or `None` without labels."""
        return getattr(self.condition, "names", None)

    @property
    def class_counts(self) -> tuple[int, ...] | None:
        """How many training images each class has, or `None` if unknown."""
        return getattr(self.condition, "counts", None)

    @property
    def needs_conditions(self) -> bool:
        """Whether `generate` must be given `conditions`.

        Labels can be drawn at random. Vectors cannot, and without
        `condition_dropout` no image can be drawn without them.
        """
        takes_vectors = isinstance(self.condition, Vectors)
        return takes_vectors and not self.has_unconditional

    @property
    def sampling_network(self) -> keras.Model:
        """The network for everything but training: the average, if kept."""
        return self.ema_network or self.network

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        if len(inputs) != len(self.network.inputs):
            raise ValueError(
                "A model must be called on one tensor for each input of its "
                f"network. Received: {len(inputs)} tensors, and the network "
                f"has {len(self.network.inputs)} inputs"
            )
        network = self.network if training else self.sampling_network
        output = network(list(inputs), training=training)
        return self.output_to_score(output, inputs[1])

    def output_to_score(self, output: Tensor, sigma: Tensor) -> Tensor:
        """Returns the score, given the output of a network.

        Args:
            output: Float tensor of shape `(batch, ...)`.
            sigma: Float tensor of shape `(batch,)`, the noise levels.

        Returns:
            A float32 tensor shaped like `output`.
        """
        output = ops.cast(output, "float32")
        if self.prediction == "noise":
            scale = self.schedule.noise_scale(sigma)
            return -output / expand_like(scale, output)
        return output

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: A Keras optimizer, or its name. If layers compute in
                float16, a `LossScaleOptimizer` wraps it. Defaults to `None`,
                Adam with learning rate 1e-3 and epsilon 1e-8, as in the
                authors' code.
            **kwargs: Arguments of `keras.Model.compile`, such as
                `jit_compile` and `steps_per_execution`.

        Raises a `ValueError` if the network does not know "none", the missing
        condition, although `condition_dropout` is above 0.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    "The loss of the model is its `objective`, and its only "
                    f"metric is this loss. Received: {name}={kwargs[name]!r}. "
                    "Leave it out."
                )
        check_knows_none(self)
        if optimizer is None:
            optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
        optimizer = keras.optimizers.get(optimizer)
        half = any(
            layer.compute_dtype == "float16" for layer in self.network.layers
        )
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if half and not scales:
            # Keras looks at the dtype policy of the model, which is float32.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(optimizer=optimizer, **kwargs)
        self.optimizer.build(self.network.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_tracker]

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: keras.callbacks.Callback
        | Sequence[keras.callbacks.Callback]
        | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the network on images; the model adds the noise itself.

        If the network takes a condition, `fit` takes images and their labels
        or vectors. Otherwise only the images are used.

        Args:
            x: Images as an array of shape `(batch, height, width, channels)`,
                uint8 or floats in `value_range`; or batches of them, as a
                `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
                `DataLoader` or a generator. If `x` or a batch is a tuple, its
                first element is the images, and its second the conditions. All
                images of an array are checked, but only the first batch of
                other data; of a generator, the conditions of all batches.
            y: The conditions, if `x` is an array and the network takes them:
                integer labels of shape `(batch,)`, or vectors of shape
                `(batch, size)`. Defaults to `None`.
            batch_size: As in `keras.Model.fit`.
            epochs: As in `keras.Model.fit`.
            verbose: As in `keras.Model.fit`.
            callbacks: A callback or a list of them, in any order. Defaults to
                `None`.
            **kwargs: Arguments of `keras.Model.fit`, such as
                `validation_data` and `steps_per_epoch`. Images have no
                weights: `sample_weight` and `class_weight` are refused, and so
                is a third element of a tuple. The held-out loss without
                conditions is in `callbacks.TrainingLog`.

        Returns:
            A Keras `History`. Raises a `FloatingPointError` if the loss becomes
            NaN or infinite. The model then keeps the weights from before that
            step.
        """
        check_no_weights(
            sample_weight=kwargs.get("sample_weight"),
            class_weight=kwargs.get("class_weight"),
        )
        if kwargs.get("steps_per_epoch") is not None:
            # Keras would treat 0 as all batches, and data may be endless.
            check_count(steps_per_epoch=kwargs["steps_per_epoch"])
        x, y = self._check_data(x, y, batch_size or 32)
        if isinstance(self.condition, Labels) and y is not None:
            self.condition = self.condition.counted(y)
        validation = kwargs.get("validation_data")
        if validation is not None:
            validation_size = kwargs.get("validation_batch_size") or batch_size
            checked, labels = self._check_data(
                validation, None, validation_size or 32
            )
            kwargs["validation_data"] = (
                checked if labels is None else (checked, labels)
            )
        if not hasattr(x, "shape") and getattr(x, "num_batches", None) is None:
            # Keras warns that it cannot shuffle streams. Only a finite
            # `PyDataset` has a number of batches.
            kwargs.setdefault("shuffle", False)
        if isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [callbacks]
        # Checkpoints come after the other callbacks.
        callbacks = sorted(
            callbacks or [], key=lambda x: getattr(x, "goes_last", False)
        )
        with backend.keeping_values(self):
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                # These come first, so that NaN is neither logged nor saved.
                callbacks=[
                    step.CountSteps(),
                    step.StopOnNaN(),
                    *callbacks,
                ],
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> float | dict[str, float]:
        """Returns the loss on images, with the averaged weights if kept.

        If the network takes a condition, it is the loss with the conditions.
        `callbacks.TrainingLog` also writes the held-out loss without them.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            sample_weight: Refused, because images have no weights.
            *args: More arguments of `keras.Model.evaluate`.
            **kwargs: More arguments of `keras.Model.evaluate`.

        Returns:
            A float, or with `return_dict` a dictionary.
        """
        check_no_weights(sample_weight=sample_weight)
        x, y = self._check_data(x, y, batch_size or 32)
        with backend.keeping_values(self):
            return super().evaluate(
                x, y, batch_size, verbose, None, *args, **kwargs
            )

    def train_step(self, *args: Any) -> Any:
        return self._stateless_on_jax(step.train_on, *args)

    def test_step(self, *args: Any) -> Any:
        return self._stateless_on_jax(step.test_on, *args)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        check_no_weights(sample_weight=sample_weight, class_weight=class_weight)
        x, y = self._check_data(x, y)
        with backend.keeping_values(self):
            logs = super().train_on_batch(x, y, None, None, *args, **kwargs)
        self.steps_taken += 1
        loss = float(ops.convert_to_numpy(self.loss_tracker.result()))
        if not math.isfinite(loss):
            # Otherwise the running mean would stay NaN and block later steps.
            self.reset_metrics()
            step.check_finite(loss)
        return logs

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        check_no_weights(sample_weight=sample_weight)
        x, y = self._check_data(x, y)
        with backend.keeping_values(self):
            return super().test_on_batch(x, y, None, *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> np.ndarray:
        with backend.keeping_values(self):
            return super().predict(*args, **kwargs)

    def update_ema(self, step: Tensor) -> None:
        """Moves the averaged weights, if kept, towards the trained ones.

        Args:
            step: Integer or scalar tensor, the number of steps taken.
        """
        if self.ema_network is None:
            return
        step = ops.cast(step, "float32")
        momentum = ops.minimum(self.ema_momentum, (1.0 + step) / (10.0 + step))
        rest = 1.0 - momentum
        for average, weight in self._ema_pairs():
            new = weight.value
            if weight.trainable:
                old, new = (ops.cast(x, "float32") for x in (average, new))
                new = momentum * old + rest * new
            average.assign(ops.cast(new, average.dtype))

    def reset_ema(self) -> None:
        """Sets the averaged weights, if kept, to the network's weights."""
        for average, weight in self._ema_pairs():
            # A copy, because JAX would share one buffer and training donates
            # it.
            average.assign(ops.copy(weight.value))

    @property
    def ema_variables(self) -> list[Any]:
        """List of the variables that hold averaged weights."""
        return [average for average, _ in self._ema_pairs()]

    def generate(
        self,
        num_images: int | None = None,
        seed: int | None = None,
        batch_size: int = 64,
        sampler: Sampler | str | None = None,
        return_trajectory: bool = False,
        verbose: int | str = "auto",
        guidance: float | None = None,
        labels: Any = None,
        conditions: Any = None,
        **settings: Any,
    ) -> np.ndarray:
        """Returns new images.

        Image i depends only on the seed, on i and on its own label, not on the
        batch size.

        Args:
            num_images: Integer, at least 1. Defaults to `None`: one image for
                each of `labels` or `conditions`.
            seed: Integer, at least 0. Defaults to `None`, random.
            batch_size: Integer, the number of images that are sampled at a
                time. Defaults to `64`.
            sampler: A `Sampler`, such as `keras_ncsn.samplers.Heun()`, which
                is used unchanged; or a name, such as `"heun"` or `"ddpm"`,
                which is used with the model's settings of that sampler.
                Defaults to `None`, the model's own sampler.
            return_trajectory: Boolean, whether to return the intermediate
                states too. Defaults to `False`.
            verbose: 0 (silent), 1 (a progress bar once sampling has taken some
                seconds) or `"auto"` (such a bar only in a terminal or a
                notebook). Defaults to `"auto"`.
            guidance: Float, at least 1, the strength of the guidance; 1 uses
                the network alone. A model with a condition but without a
                guide uses classifier-free guidance. Defaults to `None`: the
                guide's `weight`, if the model has a guide and its own sampler
                is used, else 1.
            labels: What to draw, if the network takes labels: an integer, a
                name of `class_names` or `"none"` (no label), for all images;
                or a sequence of shape `(num_images,)` or `(num_images, 1)`.
                Defaults to `None`: random labels, as frequent as in the
                training data.
            conditions: What to draw, if the network takes vectors: an array of
                shape `(size,)` or `(num_images, size)`, or `"none"`. Defaults
                to `None`, which means `"none"`.
            **settings: The sampler's settings, such as `steps_per_level`,
                `step_size` and `denoise` of `annealed_langevin`, or
                `num_steps` of `heun`. They default to the model's settings,
                then to the sampler's.

        Returns:
            A float32 NumPy array of shape
            `(num_images, height, width, channels)`, in `value_range`. With
            `return_trajectory` the shape is
            `(num_images, frames, height, width, channels)`, and the last
            frames are the images. Raises a `FloatingPointError` if sampling
            diverges, for example with a step that is too large.
        """
        return sampling.generate(
            self,
            num_images,
            seed,
            batch_size,
            sampler,
            return_trajectory,
            verbose,
            guidance,
            labels,
            conditions,
            settings,
        )

    def inpaint(
        self,
        images: Any,
        known_mask: Any,
        num_samples: int = 1,
        seed: int | None = None,
        batch_size: int = 64,
        sampler: Sampler | str | None = None,
        verbose: int | str = "auto",
        labels: Any = None,
        conditions: Any = None,
        **settings: Any,
    ) -> np.ndarray:
        """Fills in unknown pixels; known pixels keep their values.

        The mask is the paper's: `True` where a pixel is known. KerasHub and
        Stable Diffusion mean the opposite.

        Args:
            images: One image of shape `(height, width, channels)` or a batch
                `(batch, height, width, channels)`; uint8, or floats in
                `value_range`. Unknown pixels may hold any value in that range.
            known_mask: Array of booleans or of zeros and ones, `True` (1)
                where a pixel is known, of shape `(height, width)`,
                `(height, width, 1)`, `(batch, height, width, 1)` or the
                images' own.
            num_samples: Integer, the number of completions of each image.
                Defaults to `1`.
            seed: As in `generate`.
            batch_size: As in `generate`.
            sampler: As in `generate`.
            verbose: As in `generate`.
            labels: As in `generate`, one for each image. Defaults to `None`:
                no label, because random ones may not fit the known pixels.
            conditions: As in `generate`.
            **settings: As in `generate`.

        Returns:
            A float32 NumPy array of shape
            `(batch, num_samples, height, width, channels)`, in `value_range`.
            The first axis is missing if `images` is one image, and the second
            if `num_samples` is 1.
        """
        return sampling.inpaint(
            self,
            images,
            known_mask,
            num_samples,
            seed,
            batch_size,
            sampler,
            verbose,
            labels,
            conditions,
            settings,
        )

    def solve(
        self,
        measurements: Any,
        operator: LinearOperator,
        noise_std: float,
        num_samples: int = 1,
        seed: int | None = None,
        method: Method | str | None = None,
        sampler: Sampler | str | None = None,
        labels: Any = None,
        batch_size: int = 64,
        verbose: int | str = "auto",
        conditions: Any = None,
        **settings: Any,
    ) -> np.ndarray:
        """Returns images that explain measurements (posterior sampling).

        The measurements are `operator(images)` plus normal noise, for images
        in `value_range`. Samples differ where the measurements leave images
        undecided.

        Args:
            measurements: The measurements of one image, of the shape that
                `operator` returns for it, or a batch of them; floats, or
                uint8, which is mapped to `value_range` as in `inpaint`.
            operator: A `LinearOperator` of `keras_ncsn.operators`, such as
                `Downsample(2)`. It is tried on random images first.
            noise_std: Float, at least 0, the standard deviation of the noise,
                in units of the measurements.
            num_samples: Integer, the number of samples for each image.
                Defaults to `1`.
            seed: Integer, at least 0. Defaults to `None`, random. Sample i
                depends only on the seed, on i and on its own measurements.
            method: A `Method` of `keras_ncsn.posterior`, such as
                `MMPS(num_iterations=5)`, or a name: `"mmps"`, `"pigdm"`,
                `"dps"`, `"score_ald"` or `"replacement"`. Defaults to `None`,
                `"mmps"`, the best calibrated where the posterior is known.
            sampler: As in `generate`. Defaults to `None`, the model's own.
            labels: As in `inpaint`.
            batch_size: Integer, the number of samples that are drawn at a
                time. Defaults to `64`.
            verbose: As in `generate`.
            conditions: As in `inpaint`.
            **settings: The sampler's settings, as in `generate`.

        Returns:
            A float32 NumPy array of shape
            `(batch, num_samples, height, width, channels)`, in `value_range`.
            It has no first axis if `measurements` has none, and no second axis
            if `num_samples` is 1.

        Example:

        >>> network = keras_ncsn.networks.MLP(2, width=8)
        >>> model = keras_ncsn.NCSNModel(network, value_range=None)
        >>> mean = keras_ncsn.operators.Matrix([[0.5, 0.5]])
        >>> settings = {"num_samples": 4, "sampler": "heun", "num_steps": 5}
        >>> model.solve([3.0], mean, noise_std=0.1, **settings).shape
        (4, 2)

        Reference:

        - [Rozet et al., 2024](https://arxiv.org/abs/2405.13712), the default
          method. The others state theirs.
        """
        return solving.solve(
            self,
            measurements,
            operator,
            noise_std,
            num_samples,
            seed,
            method,
            sampler,
            labels,
            batch_size,
            verbose,
            conditions,
            settings,
        )

    def log_likelihood(
        self,
        images: Any,
        num_probes: int = 1,
        seed: int | None = None,
        num_steps: int = 40,
        return_error: bool = False,
        labels: Any = None,
        batch_size: int = 64,
        verbose: int | str = "auto",
        conditions: Any = None,
    ) -> Any:
        """Returns ln p(image), in nats, for each image.

        p is the density of the images that the probability flow draws: it
        starts at the largest noise level with normal noise around the middle
        of `value_range`, and ends at the smallest level, without a last step
        to 0. It integrates to 1 over images in the units of `value_range`,
        whatever the network has learned. Three things differ from the density
        of the data:

        - Images have the noise of the smallest level. Where the data vary less
          than that, p is lower than the density of the data.
        - The flow starts with noise alone. This is right only if the largest
          level is far above the spread of the data. For normal data around the
          middle, of variance s**2, the variance of p is too small by the factor
          1 - s**2 / (sigma_max**2 + s**2). NCSN's ladder starts at 1, which is
          not large enough for images in [0, 1].
        - The network is not the exact score.

        Heun's method follows the flow from the image up to the noise. The
        divergence of the flow is estimated by random signs (Hutchinson's
        estimator), without bias, or computed exactly if there are as many
        probes as dimensions.

        Args:
            images: Batch of images of shape `(batch, height, width,
                channels)`; uint8, or floats in `value_range`. uint8 images get
                uniform noise of one grey level: (images + noise) / 256, mapped
                to `value_range`. The mean over this noise is at most the
                log-probability of the uint8 image. Floats are used as they
                are, and so is uint8 if `value_range` is `None`.
            num_probes: Integer, at least 1, the number of random probes. It
                multiplies the cost of the gradients. If it is at least the
                number of values in an image, the divergence is exact. Defaults
                to `1`.
            seed: Integer, at least 0, the seed of the noise and of the probes.
                Those of image i depend only on the seed and on i. Defaults to
                `None`, random.
            num_steps: Integer, at least 1, the number of steps from the
                smallest noise level to the largest. It takes `2 * num_steps +
                1` evaluations of the network, of which `num_steps + 1` also
                take `num_probes` gradients. Defaults to `40`.
            return_error: Boolean, whether to return standard errors too. It
                needs at least two probes. Defaults to `False`.
            labels: As in `inpaint`.
            batch_size: Integer, the number of images that are evaluated at a
                time. Defaults to `64`.
            verbose: As in `generate`.
            conditions: As in `inpaint`.

        Returns:
            A float64 NumPy array of shape `(batch,)`. With `return_error`, a
            tuple of it and of another, the standard error from the choice of
            probes. The errors of the steps and of the uniform noise are not in
            it. Raises a `FloatingPointError` if the flow diverges.

        Example:

        >>> network = keras_ncsn.networks.MLP(2, width=8)
        >>> schedule = keras_ncsn.NoiseSchedule.geometric(20.0, 0.01, 10)
        >>> model = keras_ncsn.NCSNModel(network, schedule, value_range=None)
        >>> points = np.zeros((3, 2), "float32")
        >>> model.log_likelihood(points, num_probes=2, num_steps=5).shape
        (3,)

        Reference:

        - [Song et al., 2021](https://arxiv.org/abs/2011.13456), Appendix D.2.
        """
        return evaluation.log_likelihood(
            self,
            images,
            num_probes,
            seed,
            num_steps,
            return_error,
            labels,
            batch_size,
            verbose,
            conditions,
        )

    def bits_per_dimension(
        self,
        images: Any,
        num_probes: int = 1,
        seed: int | None = None,
        num_steps: int = 40,
        return_error: bool = False,
        labels: Any = None,
        batch_size: int = 64,
        verbose: int | str = "auto",
        conditions: Any = None,
    ) -> Any:
        """Returns -log2 p(image) / dimension, in units of grey levels.

        p is the density of `log_likelihood`, for images whose `value_range` is
        mapped to [0, 256). The bits of uint8 images are, on average over the
        uniform noise, an upper bound on the bits with which the model could
        store them without loss. Without a `value_range`, p is not converted.

        Args:
            images: As in `log_likelihood`.
            num_probes: As in `log_likelihood`.
            seed: As in `log_likelihood`.
            num_steps: As in `log_likelihood`.
            return_error: As in `log_likelihood`.
            labels: As in `log_likelihood`.
            batch_size: As in `log_likelihood`.
            verbose: As in `log_likelihood`.
            conditions: As in `log_likelihood`.

        Returns:
            A float64 NumPy array of shape `(batch,)`; with `return_error`, a
            tuple of it and of another, the standard error.

        Example:

        >>> model = keras_ncsn.NCSNModel(keras_ncsn.networks.MLP(2, width=8))
        >>> pairs_of_pixels = np.zeros((3, 2), "uint8")
        >>> model.bits_per_dimension(pairs_of_pixels, num_probes=2).shape
        (3,)
        """
        return evaluation.bits_per_dimension(
            self,
            images,
            num_probes,
            seed,
            num_steps,
            return_error,
            labels,
            batch_size,
            verbose,
            conditions,
        )

    def typicality_reference(
        self,
        images: Any,
        method: str = "score_norms",
        seed: int | None = None,
        labels: Any = None,
        batch_size: int = 64,
        verbose: int | str = "auto",
        conditions: Any = None,
    ) -> Reference:
        """Returns what is typical of images, for `typicality`.

        It computes a few features of each image, and their mean and
        covariance:

        - `"score_norms"`: the length of the score of the image at ten noise
          levels, evenly spaced in log scale between the ends of the schedule.
        - `"likelihood"`: the log-likelihood, with one probe and 40 steps.

        Args:
            images: Typical images, such as a few hundred of the training data,
                as in `log_likelihood`. At least 12, or 3 for `"likelihood"`.
            method: String, `"score_norms"` or `"likelihood"`. Defaults to
                `"score_norms"`.
            seed: As in `log_likelihood`.
            labels: As in `inpaint`.
            batch_size: As in `log_likelihood`.
            verbose: As in `generate`.
            conditions: As in `inpaint`.

        Returns:
            A `keras_ncsn.typicality.Reference`.

        Reference:

        - [Mahmood et al., 2021](https://arxiv.org/abs/2010.13132), the norms.
          They fit a mixture of normal distributions; this is one.
        - [Nalisnick et al., 2019](https://arxiv.org/abs/1906.02994), the
          likelihood, for one image at a time.
        """
        return evaluation.typicality_reference(
            self, images, method, seed, labels, batch_size, verbose, conditions
        )

    def typicality(
        self,
        images: Any,
        reference: Reference,
        seed: int | None = None,
        labels: Any = None,
        batch_size: int = 64,
        verbose: int | str = "auto",
        conditions: Any = None,
    ) -> np.ndarray:
        """Returns how typical images are, to detect those of other kinds.

        The likelihood alone is no good detector: plain images of another kind
        can be more likely than the training data. Typicality is lower both for
        images that are less likely and for images that are more likely than
        typical ones.

        Args:
            images: As in `log_likelihood`.
            reference: What `typicality_reference` returns for typical images.
            seed: As in `log_likelihood`.
            labels: As in `inpaint`.
            batch_size: As in `log_likelihood`.
            verbose: As in `generate`.
            conditions: As in `inpaint`.

        Returns:
            A float64 NumPy array of shape `(batch,)`, at most 0: minus the
            Mahalanobis distance between the features of an image and those of
            the reference. Of `"likelihood"`, it is the number of standard
            deviations between log-likelihoods.

        Example:

        >>> network = keras_ncsn.networks.MLP(2, width=8)
        >>> model = keras_ncsn.NCSNModel(network, value_range=None)
        >>> points = np.random.default_rng(0).normal(size=(100, 2))
        >>> reference = model.typicality_reference(points)
        >>> near, far = model.typicality([[0.3, -0.2], [9.0, 9.0]], reference)
        >>> bool(near > far)
        True
        """
        return evaluation.typicality(
            self,
            images,
            reference,
            seed,
            labels,
            batch_size,
            verbose,
            conditions,
        )

    def score(
        self,
        noisy: Tensor,
        sigma: Tensor,
        batch_size: int = 64,
        labels: Any = None,
        conditions: Any = None,
    ) -> np.ndarray:
        """Returns the score of noisy images as a NumPy array.

        To differentiate the score, call `model.network` on a list of the
        noisy images, the noise levels and, if it takes them, the conditions.

        Args:
            noisy: Float array of shape `(batch, height, width, channels)`,
                noisy images a(sigma) * (images + sigma * noise), such as
                `schedule.perturb(to_sampled(images), sigma, noise)`.
            sigma: Float or array of shape `(batch,)`, noise levels within the
                schedule.
            batch_size: Integer. Defaults to `64`.
            labels: As in `inpaint`.
            conditions: As in `inpaint`.

        Returns:
            A float32 NumPy array shaped like `noisy`.
        """
        return sampling.score(
            self, noisy, sigma, batch_size, labels, conditions
        )

    def denoise(
        self,
        noisy: Tensor,
        sigma: Tensor,
        batch_size: int = 64,
        labels: Any = None,
        conditions: Any = None,
    ) -> np.ndarray:
        """Returns the mean of the clean images, given noisy ones.

        Args:
            noisy: As in `score`.
            sigma: As in `score`.
            batch_size: As in `score`.
            labels: As in `inpaint`.
            conditions: As in `inpaint`.

        Returns:
            A float32 NumPy array shaped like `noisy`, in about the range of
            the images: it is not clipped.
        """
        return sampling.denoise(
            self, noisy, sigma, batch_size, labels, conditions
        )

    def to_sampled(self, images: Tensor) -> Tensor:
        """Returns images mapped to the range in which noise is added.

        Args:
            images: Float array or tensor, in `value_range`.

        Returns:
            The images mapped to [-1, 1] if the schedule is variance
            preserving; otherwise `images` itself.
        """
        if self.value_range is None or not self.schedule.variance_preserving:
            return images
        low, high = self.value_range
        return (images - low) * (2.0 / (high - low)) - 1.0

    def from_sampled(
        self, samples: np.ndarray, clip: bool = True
    ) -> np.ndarray:
        """Returns images mapped back from the range in which noise is added.

        Args:
            samples: Float NumPy array.
            clip: Boolean, whether to clip to `value_range`. Defaults to
                `True`.

        Returns:
            A float32 NumPy array of the same shape.
        """
        if self.value_range is None:
            return samples
        low, high = self.value_range
        if self.schedule.variance_preserving:
            samples = (samples + 1.0) * ((high - low) / 2.0) + low
        return np.clip(samples, low, high) if clip else samples

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "prediction": self.prediction,
            "objective": self.objective,
            "sigma_distribution": self.sigma_distribution,
            "log_sigma_mean": self.log_sigma_mean,
            "log_sigma_std": self.log_sigma_std,
            "weighting": self.weighting,
            "data_std": self.data_std,
            "dequantize": self.dequantize,
            "ema_momentum": self.ema_momentum,
            "value_range": self.value_range,
            "sampler": self.sampler,
            "sampler_settings": {
                name: dict(settings)
                for name, settings in self.sampler_settings.items()
            },
            "seed": self.seed,
            "guide": keras.saving.serialize_keras_object(self.guide),
            "class_names": self.class_names,
            "class_counts": self.class_counts,
            "condition_dropout": self.condition_dropout,
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> Self:
        config = dict(config)
        for name in ("network", "schedule", "guide"):
            if not isinstance(config.get(name), dict):
                continue
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)

    def _stateless_on_jax(self, step, *args):
        if backend.BACKEND != "jax":
            return step(self, *args)
        state, data = args
        groups = [self.trainable_variables, self.non_trainable_variables]
        if len(state) == 4:
            groups.append(self.optimizer.variables)
        groups.append(self.metrics_variables)
        logs, values = backend.run_stateless(
            lambda: step(self, data), sum(groups, []), sum(state, [])
        )
        left = iter(values)
        return logs, tuple([next(left) for _ in group] for group in groups)

    def _maybe_symbolic_build(self, *args, **kwargs):
        # The model is built already. Under `tf.distribute`, Keras would build
        # it with batches of a generator, which training would then miss.
        pass

    def _check_data(self, x, y, batch_size=None):
        return checked_data(
            x,
            self.image_shape,
            self.value_range,
            batch_size,
            y,
            self.condition,
        )

    def _ema_pairs(self):
        if self.ema_network is None:
            return []
        return list(
            zip(
                self.ema_network.weights,
                self.network.weights,
                strict=True,
            )
        )

    @_ClassProperty
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Returns the zoo: a dictionary from names of presets to metadata."""
        return {
            name: format.read_metadata(folder)
            for name, folder in sources.zoo().items()
        }

    @classmethod
    def from_preset(
        cls,
        preset: StrPath,
        load_weights: bool = True,
        revision: str | None = None,
        token: str | None = None,
        custom_objects: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Returns a model from a preset.

        A preset cannot run code: it may only name classes of this package and
        layers of Keras that only compute. Its weights are checked against
        their SHA-256. A preset on the Hub is downloaded once. The environment
        variables of `huggingface_hub` (`HF_TOKEN`, `HF_HOME`,
        `HF_HUB_OFFLINE`, `HF_ENDPOINT`) have their usual meaning. A download
        fails if the Hub sends nothing for 30 seconds, or for
        `HF_HUB_DOWNLOAD_TIMEOUT` if that is longer. A slow download may take
        as long as it needs.

        Args:
            preset: String, a name of the zoo (see `NCSNModel.presets`),
                `"hf://owner/repo[/subfolder][@revision]"` on the Hugging Face
                Hub, or a folder that `save_to_preset` wrote.
            load_weights: Boolean, `False` for random weights. Defaults to
                `True`.
            revision: String, a branch, tag or commit on the Hub. Defaults to
                `None`, the revision in `preset`.
            token: String, a token of the Hub. Defaults to `None`, which uses
                `HF_TOKEN` or the token of `hf auth login`.
            custom_objects: Dictionary from names to your own classes and
                functions that the network uses. Defaults to `None`.
            **kwargs: Arguments of `NCSNModel` to override, such as a `Guide`
                or `guide=None` for none; and `dtype`, the dtype policy of the
                network.

        Returns:
            An `NCSNModel`. Raises a `ValueError` for an invalid preset, and an
            `OSError` if the Hub fails. Damaged downloads do not stay in the
            cache. Files that were in the cache before stay.

        Example:

        >>> model = keras_ncsn.NCSNModel.from_preset("mnist")
        >>> model.image_shape
        (28, 28, 1)
        """
        folder = sources.find(preset, revision, token, load_weights)
        config = loading.read(cls, folder, custom_objects)
        dtype = kwargs.pop("dtype", None)
        with loading.random_state_kept_if_refused():
            config = loading.build_parts(config, folder, custom_objects, dtype)
            model = loading.make(cls, config, folder, kwargs)
            if load_weights:
                loading.load_weights(model.network, config.get("guide"), folder)
                model.reset_ema()
                model._terms = common_terms(format.read_metadata(folder))
        return model

    def save_to_preset(
        self,
        folder: StrPath,
        metadata: dict[str, Any] | None = None,
        card: str | None = None,
        weights_dtype: str = "float32",
        max_shard_size: float = saving.MAX_SHARD_SIZE,
    ) -> None:
        """Writes the model as a preset, with its averaged weights if kept.

        Args:
            folder: Path of a folder that is new, empty, or a preset to
                replace. A crash leaves the old preset or none.
            metadata: Dictionary of JSON values to add to `metadata.json`, such
                as how the model was trained. A model of a preset with a
                special licence, such as `celeba`, keeps the terms of that
                licence; a `ValueError` refuses others. Defaults to `None`.
            card: String, the text of the card, in Markdown. Defaults to
                `None`.
            weights_dtype: String, the dtype in which weights are stored:
                `"float32"`, `"float16"` (for weights up to 65504) or
                `"bfloat16"`. They can be loaded in any precision. Defaults to
                `"float32"`.
            max_shard_size: Float, in gigabytes. Larger weights are split into
                several files. Defaults to `5.0`.
        """
        metadata = self._keep_terms(metadata, weights_dtype)
        with backend.on_this_process():
            config = self.get_config() | {
                "network": _copy_network(self.network),
                "ema_momentum": None,
            }
            bare = type(self).from_config(config)
            bare.network.set_weights(self.sampling_network.get_weights())
            if self.guide is not None:
                bare.guide.set_weights(self.guide.get_weights())
            saving.save(
                bare, folder, metadata, card, weights_dtype, max_shard_size
            )

    def _keep_terms(self, metadata, weights_dtype):
        saving.check_arguments(metadata, weights_dtype)
        return keep_terms(self._terms, metadata or {})

    def push_to_hub(
        self,
        repo_id: str,
        private: bool = False,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | None = None,
        metadata: dict[str, Any] | None = None,
        weights_dtype: str = "float32",
    ) -> str:
        """Publishes the model on the Hugging Face Hub, in one commit.

        The commit includes a model card and, unless `needs_conditions`, a
        picture of samples. A card that a person wrote, on the Hub or in a
        preset's folder, is not replaced. To publish a `LICENSE` too, push a
        preset's folder with `keras-ncsn push`.

        Args:
            repo_id: String, `"owner/repo"`. A missing repository is created.
            private: Boolean, whether a new repository is private. Defaults to
                `False`.
            revision: String, the branch. Defaults to `None`, the main one.
            create_pr: Boolean, whether to open a pull request instead of
                committing to the branch. Defaults to `False`.
            token: As in `from_preset`.
            metadata: As in `save_to_preset`.
            weights_dtype: As in `save_to_preset`.

        Returns:
            String, the address of the commit or of the pull request.

        Example:

        ```python
        model.push_to_hub("owner/repo", metadata={"license": "apache-2.0"})
        keras_ncsn.NCSNModel.from_preset("hf://owner/repo")
        ```
        """
        metadata = self._keep_terms(metadata, weights_dtype)
        published = publishing.ask(repo_id, revision, token)
        with tempfile.TemporaryDirectory() as made:
            folder = pathlib.Path(made, "preset")
            self.save_to_preset(folder, metadata, weights_dtype=weights_dtype)
            upload = publishing.prepare(folder, made, self, repo_id, published)
            return publishing.push(
                upload, repo_id, private, revision, create_pr, token
            )

    def save(self, *args: Any, **kwargs: Any) -> None:
        # Keras creates an empty optimizer while it saves, to list its parts.
        with backend.on_this_process():
            super().save(*args, **kwargs)

    @functools.cached_property
    def score_function(self) -> ScoreFunction:
        """The `ScoreFunction` that samplers use without guidance."""
        return sampling.score_function(self)

    @functools.cached_property
    def posterior_score_functions(self) -> dict[tuple, tuple]:
        """The latest posterior `ScoreFunction`s, by method and operator."""
        return {}

    @functools.cached_property
    def guided_score_functions(self) -> dict[tuple, ScoreFunction]:
        """The guided `ScoreFunction`s, by network, range, share and weight."""
        return {}


def _check_not_functional(arguments):
    # With these, Keras would change the class itself to a functional model.
    refused = sorted({"inputs", "outputs"} & arguments.keys())
    if refused:
        raise ValueError(
            "`network` must define the inputs and outputs of an `NCSNModel`. "
            f"Received: {', '.join(refused)}. Leave them out."
        )


def _copy_network(network):
    try:
        copy = type(network).from_config(network.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        # The end of Keras' message names the part that it cannot rebuild.
        said = str(error).rpartition("Exception encountered:")[2].split()
        reason = " ".join(said).partition(". ")[0][:200]
        raise ValueError(
            "To be averaged or saved, `network` must consist of classes and "
            "functions that Keras can rebuild. Received: "
            f"{reason}. Decorate your own with "
            "`@keras.saving.register_keras_serializable()`, and give layers "
            "with arguments a `get_config`."
        ) from error
    copy.set_weights(network.get_weights())
    return copy
