"""NCSNModel: a score network that trains, samples and inpaints."""

import functools
import math
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops

from keras_ncsn import backend, sampling
from keras_ncsn.checks import (
    check_above_zero,
    check_choice,
    check_count,
    check_momentum,
    check_no_weights,
    check_seed,
    check_value_range,
)
from keras_ncsn.networks.contract import (
    check_guide,
    check_prediction,
    check_scaling,
    check_schedule,
    checked_image_shape,
)
from keras_ncsn.noise import NoiseSchedule, expand_like
from keras_ncsn.presets import (
    format,
    loading,
    publishing,
    saving,
    sources,
)
from keras_ncsn.presets.terms import common_terms, keep_terms
from keras_ncsn.training import noise_levels, step
from keras_ncsn.training.data import checked_data


class _ClassProperty(property):
    def __get__(self, instance, owner=None):
        return self.fget(owner)


@keras.saving.register_keras_serializable(package="keras_ncsn")
class NCSNModel(keras.Model):
    """A noise conditional score network, ready to train and to sample.

    The model adds noise to images, trains the network to point back to them
    (denoising score matching), and generates images by following where it
    points (annealed Langevin dynamics, or the probability flow).

    Args:
        network: A Keras model, called on `[noisy, sigma]`, of shapes
            `(batch, ...)` and `(batch,)`, both float32, that returns a tensor
            shaped like the first. Functional models, such as `RefineNet` and
            `UNet`, know their input shape, which the images must have.
        schedule: A `NoiseSchedule`. Defaults to `None`, NCSN's: ten levels
            from 1 to 0.01.
        prediction: What the network returns, `"score"` or `"noise"`, the unit
            noise; the score is -noise / (a * sigma). The networks of this
            package return the score. Defaults to `"score"`.
        objective: What training minimises: `"denoising_score_matching"`, or
            `"sliced_score_matching"`, which differentiates the network by its
            input too. Defaults to `"denoising_score_matching"`.
        sigma_distribution: How training draws noise levels: `"ladder"`, each
            level of the schedule alike, as in the paper; `"log_uniform"`
            between its ends; `"log_normal"`, clipped to its ends. Defaults to
            `"ladder"`.
        log_sigma_mean: Float, the mean of ln(sigma) under `"log_normal"`.
            Defaults to `-1.2`.
        log_sigma_std: Float above 0, its spread. Defaults to `1.2`.
        weighting: How the loss weighs noise levels: `"ncsn"` (the squared
            error of the noise) or `"edm"` (times
            (sigma**2 + data_std**2) / data_std**2). Defaults to `"ncsn"`.
        data_std: Float above 0, the spread of the pixels, for `"edm"`.
            Defaults to `0.5`.
        dequantize: Boolean, whether uint8 images get uniform noise of one
            grey level in training. Defaults to `True`, as in NCSN.
        ema_momentum: Float in (0, 1). The model keeps an average of the
            weights, new = m * old + (1 - m) * weights after step t, and uses
            it for all but training. There m = min(ema_momentum,
            (1 + t) / (10 + t)), so that a young average follows, as in
            `tf.train.ExponentialMovingAverage`; t counts the optimizer's
            steps, from 1 with a new one. Defaults to `None`, no average.
        value_range: Pair of floats, where the images lie, or `None` for data
            that is no image, such as points. Defaults to `(0.0, 1.0)`.
        sampler: The default sampler, a `Sampler` or its name:
            `"annealed_langevin"`, `"heun"` or `"langevin"`. Defaults to
            `"annealed_langevin"`.
        sampler_settings: Dictionary from names of samplers to dictionaries of
            their settings, where they differ from the samplers' own defaults.
            Defaults to `None`.
        seed: Integer, seed of the noise in training. Defaults to `None`,
            random.
        guide: A `Guide`, a worse network for `generate` to go away from.
            Scores, losses and completions are the network's own. Defaults to
            `None`.
        **kwargs: Base model arguments, such as `name`.

    Call arguments:
        inputs: List of noisy images and noise levels, as for the network.

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
        network,
        schedule=None,
        prediction="score",
        objective="denoising_score_matching",
        sigma_distribution="ladder",
        log_sigma_mean=-1.2,
        log_sigma_std=1.2,
        weighting="ncsn",
        data_std=0.5,
        dequantize=True,
        ema_momentum=None,
        value_range=(0.0, 1.0),
        sampler="annealed_langevin",
        sampler_settings=None,
        seed=None,
        guide=None,
        **kwargs,
    ):
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
        check_above_zero(log_sigma_std=log_sigma_std, data_std=data_std)
        check_momentum(ema_momentum)
        check_value_range(value_range)
        schedule = NoiseSchedule.geometric() if schedule is None else schedule
        check_schedule(schedule, network)
        if guide is not None:
            check_guide(guide, network)
            check_scaling(schedule, guide.network)
            check_prediction(prediction, guide.network)
        sampler, sampler_settings = sampling.checked_samplers(
            sampler, sampler_settings, schedule
        )
        # Noisy images stay float32 at the border; each layer casts its own.
        self.autocast = False
        self.network = network
        self.guide = guide
        # The licence of the weights, where a preset they came from has one
        # with a name of its own.
        self._terms = {}
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
        self.value_range = value_range and tuple(value_range)
        self.sampler = sampler
        self.sampler_settings = sampler_settings
        self.seed = None if seed is None else check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        # Over all calls of `fit`, and before the checkpoint that it is
        # restored from.
        self.steps_taken = 0
        self.image_shape = checked_image_shape(network)
        self.ema_network = None
        if ema_momentum is not None:
            self.ema_network = _copy_network(network)
            self.ema_network.trainable = False
        self.built = True

    @property
    def sampling_network(self):
        """The network that all but training uses: the average, if kept."""
        return self.ema_network or self.network

    def call(self, inputs, training=False):
        noisy, sigma = inputs
        network = self.network if training else self.sampling_network
        output = network([noisy, sigma], training=training)
        return self.output_to_score(output, sigma)

    def output_to_score(self, output, sigma):
        output = ops.cast(output, "float32")
        if self.prediction == "noise":
            scale = self.schedule.noise_scale(sigma)
            return -output / expand_like(scale, output)
        return output

    def compile(self, optimizer=None, **kwargs):
        """Configures the model for training.

        Args:
            optimizer: A Keras optimizer, or its name. Defaults to `None`, Adam
                with learning rate 1e-3 and epsilon 1e-8, as in the authors'
                code.
                It is made to scale losses where layers compute in float16.
            **kwargs: Arguments of `keras.Model.compile`, such as
                `jit_compile` and `steps_per_execution`.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    "The loss of the model is its `objective`, and its one "
                    f"metric that loss. Received: {name}={kwargs[name]!r}. "
                    "Leave it out."
                )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
        optimizer = keras.optimizers.get(optimizer)
        half = any(
            layer.compute_dtype == "float16" for layer in self.network.layers
        )
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if half and not scales:
            # Keras does so by the policy of the model, which is float32.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(optimizer=optimizer, **kwargs)
        self.optimizer.build(self.network.trainable_variables)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self):
        return [self.loss_tracker]

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        **kwargs,
    ):
        """Trains the network on images; the model adds the noise itself.

        Args:
            x: Images as an array of shape `(batch, height, width, channels)`,
                uint8 or floats in `value_range`; or batches of them, as a
                `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
                `DataLoader` or a generator. Where a batch is a tuple, its
                first part is the images and the rest is not used.
            y: Not used, as there is nothing to predict from an image.
            batch_size: As in `keras.Model.fit`.
            epochs: As in `keras.Model.fit`.
            verbose: As in `keras.Model.fit`.
            callbacks: A callback or a list of them, in any order. Defaults to
                `None`.
            **kwargs: Arguments of `keras.Model.fit`, such as
                `validation_data` and `steps_per_epoch`. Images have no
                weights: `sample_weight` and `class_weight` are refused.

        Returns:
            A Keras `History`. A loss that is no number stops training with a
            `FloatingPointError`; the weights are then those from before.
        """
        check_no_weights(
            sample_weight=kwargs.get("sample_weight"),
            class_weight=kwargs.get("class_weight"),
        )
        if kwargs.get("steps_per_epoch") is not None:
            # Of 0 Keras makes as many as the data has, which may be endless.
            check_count(steps_per_epoch=kwargs["steps_per_epoch"])
        x = self._check_data(x, batch_size or 32)
        validation = kwargs.get("validation_data")
        if validation is not None:
            # Keras takes a tuple, of which the first part is the images.
            if isinstance(validation, tuple):
                validation = validation[0]
            validation_size = kwargs.get("validation_batch_size") or batch_size
            kwargs["validation_data"] = self._check_data(
                validation, validation_size or 32
            )
        if not hasattr(x, "shape") and getattr(x, "num_batches", None) is None:
            # Keras warns that it does not shuffle streams: it cannot. Only a
            # `PyDataset` has a number of batches, unless it has no end.
            kwargs.setdefault("shuffle", False)
        if isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [callbacks]
        # A checkpoint after the log, whose row it counts on.
        callbacks = sorted(
            callbacks or [], key=lambda x: getattr(x, "goes_last", False)
        )
        with backend.keeping_values(self):
            return super().fit(
                x,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                # First: what is NaN is neither logged nor saved.
                callbacks=[
                    step.CountSteps(),
                    step.StopOnNaN(),
                    *callbacks,
                ],
                **kwargs,
            )

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        *args,
        **kwargs,
    ):
        """Returns the loss on images, with the averaged weights if kept.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            sample_weight: Refused, as images have no weights.
            *args: Arguments of `keras.Model.evaluate`.
            **kwargs: Arguments of `keras.Model.evaluate`.

        Returns:
            A float, or with `return_dict` a dictionary.
        """
        check_no_weights(sample_weight=sample_weight)
        x = self._check_data(x, batch_size or 32)
        with backend.keeping_values(self):
            return super().evaluate(
                x, y, batch_size, verbose, None, *args, **kwargs
            )

    def train_step(self, *args):
        return self._stateless_on_jax(step.train_on, *args)

    def test_step(self, *args):
        return self._stateless_on_jax(step.test_on, *args)

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, *args, **kwargs
    ):
        check_no_weights(sample_weight=sample_weight, class_weight=class_weight)
        x = self._check_data(x)
        with backend.keeping_values(self):
            logs = super().train_on_batch(x, y, None, None, *args, **kwargs)
        self.steps_taken += 1
        loss = float(ops.convert_to_numpy(self.loss_tracker.result()))
        if not math.isfinite(loss):
            # A running mean would stay NaN, and hold later steps back.
            self.reset_metrics()
            step.check_finite(loss)
        return logs

    def test_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        check_no_weights(sample_weight=sample_weight)
        x = self._check_data(x)
        with backend.keeping_values(self):
            return super().test_on_batch(x, y, None, *args, **kwargs)

    def predict(self, *args, **kwargs):
        with backend.keeping_values(self):
            return super().predict(*args, **kwargs)

    def update_ema(self, step):
        """Moves the averaged weights a step towards the trained ones.

        Args:
            step: Integer or scalar tensor, how many steps were taken.
        """
        if self.ema_network is None:
            return
        step = ops.cast(step, "float32")
        momentum = ops.minimum(self.ema_momentum, (1.0 + step) / (10.0 + step))
        for average, weight in self._ema_pairs():
            new = weight.value
            if weight.trainable:
                old, new = (ops.cast(x, "float32") for x in (average, new))
                new = momentum * old + (1.0 - momentum) * new
            average.assign(ops.cast(new, average.dtype))

    def reset_ema(self):
        """Sets the averaged weights, if kept, to those of the network."""
        for average, weight in self._ema_pairs():
            # A copy: JAX would keep one buffer for both, and give it away.
            average.assign(ops.copy(weight.value))

    @property
    def ema_variables(self):
        """List of the variables that hold averaged weights."""
        return [average for average, _ in self._ema_pairs()]

    def generate(
        self,
        num_images,
        seed=None,
        batch_size=64,
        sampler=None,
        return_trajectory=False,
        verbose="auto",
        guidance=None,
        **settings,
    ):
        """Returns new images.

        Image i of seed s depends on (s, i) alone, not on the batch size.

        Args:
            num_images: Integer, at least 1.
            seed: Integer, at least 0. Defaults to `None`, random.
            batch_size: Integer, how many images to sample at a time. Defaults
                to `64`.
            sampler: A `Sampler`, such as `keras_ncsn.samplers.Heun()`, which
                is taken as it is; or its name, `"annealed_langevin"`, `"heun"`
                or `"langevin"`, with the model's settings of that sampler.
                Defaults to `None`, the model's own.
            return_trajectory: Boolean, whether to return the states on the way
                as well. Defaults to `False`.
            verbose: 0, 1 or `"auto"`. 1 shows a progress bar once sampling
                has taken some seconds, `"auto"` does where standard error is
                a terminal. Defaults to `"auto"`.
            guidance: Float, at least 1, how far to go from what the guide
                says; 1 is the network alone. Defaults to `None`, the guide's
                own `weight` with the model's own sampler, 1 with another.
            **settings: The sampler's settings, such as `steps_per_level`,
                `step_size` and `denoise` of `annealed_langevin`, or
                `num_steps` of `heun`. Default to the model's, then the
                sampler's own.

        Returns:
            A float32 NumPy array of shape
            `(num_images, height, width, channels)`, in `value_range`, or with
            `return_trajectory` `(num_images, frames, height, width,
            channels)`, of which the last frames are the images.
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
            settings,
        )

    def inpaint(
        self,
        images,
        known_mask,
        num_samples=1,
        seed=None,
        batch_size=64,
        sampler=None,
        verbose="auto",
        **settings,
    ):
        """Fills in pixels that are not known; known ones stay as they are.

        The mask is the paper's: `True` where a pixel is known. KerasHub and
        Stable Diffusion mean the opposite.

        Args:
            images: One image of shape `(height, width, channels)` or a batch
                `(batch, height, width, channels)`; uint8, or floats in
                `value_range`. What is not known may hold any value in that
                range.
            known_mask: Array of booleans or of zeros and ones, `True` (1)
                where a pixel is known, of shape `(height, width)`,
                `(height, width, 1)`, `(batch, height, width, 1)` or the
                images' own.
            num_samples: Integer, how many completions of each image. Defaults
                to `1`.
            seed: As in `generate`.
            batch_size: As in `generate`.
            sampler: As in `generate`.
            verbose: As in `generate`.
            **settings: As in `generate`.

        Returns:
            A float32 NumPy array of shape
            `(batch, num_samples, height, width, channels)`, in `value_range`;
            without the axis of an argument that has none: one image, one
            sample.
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
            settings,
        )

    def score(self, noisy, sigma, batch_size=64):
        """Returns the score of noisy images, as `predict` would.

        `model.network([noisy, sigma])` is the differentiable way.

        Args:
            noisy: Float array of shape `(batch, height, width, channels)`,
                noisy images a(sigma) * (images + sigma * noise), as
                `schedule.perturb` makes them of `to_sampled(images)`.
            sigma: Float, or an array of shape `(batch,)`, within the schedule.
            batch_size: Integer. Defaults to `64`.

        Returns:
            A float32 NumPy array shaped like `noisy`.
        """
        return sampling.score(self, noisy, sigma, batch_size)

    def denoise(self, noisy, sigma, batch_size=64):
        """Returns the mean of the clean images, given noisy ones.

        Args:
            noisy: As in `score`.
            sigma: As in `score`.
            batch_size: As in `score`.

        Returns:
            A float32 NumPy array shaped like `noisy`, in the range of the
            images but for the network's errors.
        """
        return sampling.denoise(self, noisy, sigma, batch_size)

    def to_sampled(self, images):
        """Returns images in the range that noise is added in.

        Args:
            images: Float array or tensor, in `value_range`.

        Returns:
            The same, or mapped to [-1, 1] for a variance preserving schedule.
        """
        if self.value_range is None or not self.schedule.variance_preserving:
            return images
        low, high = self.value_range
        return (images - low) * (2.0 / (high - low)) - 1.0

    def from_sampled(self, samples, clip=True):
        """Returns images from the range that noise is added in.

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

    def get_config(self):
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
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
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
        values = iter(values)
        return logs, tuple([next(values) for _ in group] for group in groups)

    def _maybe_symbolic_build(self, *args, **kwargs):
        # The model is built. Keras would take batches off a generator for it,
        # under `tf.distribute`, that training would then never see.
        pass

    def _check_data(self, data, batch_size=None):
        return checked_data(
            data, self.image_shape, self.value_range, batch_size
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
    def presets(cls):
        """Returns the zoo: a dictionary from names to what is known of each."""
        return {
            name: format.read_metadata(folder)
            for name, folder in sources.zoo().items()
        }

    @classmethod
    def from_preset(
        cls,
        preset,
        load_weights=True,
        revision=None,
        token=None,
        custom_objects=None,
        **kwargs,
    ):
        """Returns a model from a preset.

        Nothing that a preset holds can run code: it may name classes of this
        package and layers of Keras that only compute, and its weights are
        checked against their SHA-256. From the Hub it is downloaded once; the
        environment variables of `huggingface_hub` (`HF_TOKEN`, `HF_HOME`,
        `HF_HUB_OFFLINE`, `HF_ENDPOINT`) mean what they do there. A Hub that
        says nothing for 30 seconds, or a longer `HF_HUB_DOWNLOAD_TIMEOUT`, is
        given up; a slow one may take as long as it needs.

        Args:
            preset: String, a name of the zoo (see `NCSNModel.presets`),
                `"hf://owner/repo[/subfolder][@revision]"` on the Hugging Face
                Hub, or a folder that `save_to_preset` wrote.
            load_weights: Boolean, `False` for random weights. Defaults to
                `True`.
            revision: String, a branch, tag or commit on the Hub. Defaults to
                `None`, what `preset` says.
            token: String, of the Hub. Defaults to `None`, `HF_TOKEN` or that
                of `hf auth login`.
            custom_objects: Dictionary from names to classes or functions of
                yours that the network is made of. Defaults to `None`.
            **kwargs: Arguments of `NCSNModel` to override, such as a `Guide`
                or `guide=None` for none; and `dtype`, the dtype policy of the
                network.

        Returns:
            An `NCSNModel`. A `ValueError` says what is wrong with a preset, an
            `OSError` what was with the Hub; files that came damaged do not
            stay in the cache, and what was there before does.

        Example:

        >>> model = keras_ncsn.NCSNModel.from_preset("mnist")
        >>> model.image_shape
        (28, 28, 1)
        """
        folder = sources.find(preset, revision, token, load_weights)
        config = loading.read(cls, folder, custom_objects)
        dtype = kwargs.pop("dtype", None)
        config = loading.build_parts(config, folder, custom_objects, dtype)
        model = loading.make(cls, config, folder, kwargs)
        if load_weights:
            loading.load_weights(model.network, config.get("guide"), folder)
            model.reset_ema()
            model._terms = common_terms(format.read_metadata(folder))
        return model

    def save_to_preset(
        self,
        folder,
        metadata=None,
        card=None,
        weights_dtype="float32",
        max_shard_size=saving.MAX_SHARD_SIZE,
    ):
        """Writes the model as a preset, with its averaged weights if kept.

        Args:
            folder: Path of a folder that is new, empty, or a preset to
                replace. A crash on the way leaves the old preset or none.
            metadata: Dictionary of more to be kept in `metadata.json`, of
                what JSON can hold, such as how it was trained. Defaults to
                `None`. What `from_preset` returned keeps the terms of a
                licence such as that of `celeba`; a `ValueError` refuses
                others.
            card: String, the text of the card, in Markdown. Defaults to
                `None`.
            weights_dtype: String, `"float32"`, `"float16"` (of weights within
                65504) or `"bfloat16"`, how weights are stored; they load in
                any precision. Defaults to `"float32"`.
            max_shard_size: Float, gigabytes above which the weights go into
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
        repo_id,
        private=False,
        revision=None,
        create_pr=False,
        token=None,
        metadata=None,
        weights_dtype="float32",
    ):
        """Publishes the model on the Hugging Face Hub, in one commit.

        With a model card and a picture of samples. A card on the Hub that a
        person wrote, there or in a preset's folder, is kept. A `LICENSE` goes
        up from a preset's folder, by `keras-ncsn push`.

        Args:
            repo_id: String, `"owner/repo"`; made if there is none.
            private: Boolean, whether a new repository is private. Defaults to
                `False`.
            revision: String, the branch. Defaults to `None`, the main one.
            create_pr: Boolean, whether to propose the commit rather than make
                it. Defaults to `False`.
            token: As in `from_preset`.
            metadata: As in `save_to_preset`.
            weights_dtype: As in `save_to_preset`.

        Returns:
            String, the address of the commit or of the proposal.

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

    def save(self, *args, **kwargs):
        # Keras makes a bare optimizer on the way, to see what it consists of.
        with backend.on_this_process():
            super().save(*args, **kwargs)

    @functools.cached_property
    def score_function(self):
        """The `ScoreFunction` that samplers work on, without the guide."""
        return sampling.score_function(self)

    @functools.cached_property
    def guided_score_functions(self):
        """Dictionary of the `ScoreFunction`s that were made with a guide."""
        return {}


def _check_not_functional(arguments):
    # Keras would make the class that of functional models, for good.
    odd = sorted({"inputs", "outputs"} & arguments.keys())
    if odd:
        raise ValueError(
            "`network` must hold the inputs and outputs of an `NCSNModel`. "
            f"Received: {', '.join(odd)}. Leave them out."
        )


def _copy_network(network):
    try:
        copy = type(network).from_config(network.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        # What Keras says last is of the part that it could not make.
        said = str(error).rpartition("Exception encountered:")[2].split()
        reason = " ".join(said).partition(". ")[0][:200]
        raise ValueError(
            "To be averaged or saved, `network` must be of classes and "
            "functions that Keras can make anew. Received: "
            f"{reason}. Decorate what is yours with "
            "`@keras.saving.register_keras_serializable()`, and give a layer "
            "that has arguments a `get_config`."
        ) from error
    copy.set_weights(network.get_weights())
    return copy
