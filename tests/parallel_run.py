"""Trains a small model and saves what came of it, for `test_parallel.py`."""

import sys

import keras
import numpy as np
from keras import ops

import keras_ncsn
from keras_ncsn import parallel, samplers
from keras_ncsn.backend import BACKEND
from keras_ncsn.datasets import shuffled_batches
from keras_ncsn.samplers.noise_stream import NoiseStream

LABELS = np.arange(32, dtype="int32") % 4
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 4, 4, 1), "uint8")


def make_model():
    keras.utils.set_random_seed(0)
    noisy, sigma = keras.Input((4, 4, 1)), keras.Input(())
    label = keras.Input((), dtype="int32")
    level = keras.layers.Reshape((1,))(ops.log(sigma))
    embedded = keras_ncsn.layers.ConditionEmbedding(4, 8)(label)
    x = keras.layers.Flatten()(noisy)
    x = keras.layers.Concatenate()([x, level, embedded])
    x = keras.layers.Dense(32, "silu", kernel_regularizer="l2")(x)
    x = keras.layers.Reshape((4, 4, 1))(keras.layers.Dense(16)(x))
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma, label], x),
        sigma_distribution="log_normal",
        weighting="edm",
        ema_momentum=0.9,
        seed=0,
        class_names=["a", "b", "c", "d"],
        condition_dropout=0.5,
    )
    model.compile(keras.optimizers.Adam(1e-2, global_clipnorm=1.0))
    return model


def train(folder=None):
    """Returns what must not depend on the number of devices.

    Files are written to `folder`, if there is one, by the main process.
    """
    model = make_model()
    losses = []
    model.fit(
        batches(),
        steps_per_epoch=4,
        epochs=2,
        verbose=0,
        callbacks=keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs: losses.append(logs["loss"])
        ),
    )
    result = {"losses": losses} | {
        f"weight {index}": weight
        for index, weight in enumerate(model.network.get_weights())
    }
    result |= {
        f"average {index}": weight
        for index, weight in enumerate(model.ema_network.get_weights())
    }
    result["evaluate"] = model.evaluate(batches(), steps=2, verbose=0)
    if parallel.is_main_process():
        run = {"seed": 0, "labels": [0, 1, 2, 3, 0, 1], "batch_size": 4}
        few = {
            "annealed_langevin": {"steps_per_level": 1},
            "ddpm": {},
            "heun": {"num_steps": 3, "churn": 1.0},
        }
        for name, settings in few.items():
            images = model.generate(sampler=name, **run, **settings)
            result[f"images by {name}"] = images
        if folder is not None:
            model.save_to_preset(f"{folder}/preset")
            model.save(f"{folder}/model.keras")
    model.optimizer.learning_rate = 1e38
    result["nan"] = message(
        lambda: model.fit(batches(), steps_per_epoch=9, verbose=0)
    )
    result["finite"] = all(map(np.all, map(np.isfinite, model.get_weights())))
    result["steps"] = ops.convert_to_numpy(model.optimizer.iterations)
    return result


def devices_of_samples(model):
    """Returns how many devices share a batch of samples."""
    shared = [1]
    samplers.Heun(num_steps=2).sample(
        model.score_function.bind(LABELS[:8]),
        model.schedule,
        NoiseStream(0, 0, (8, 4, 4, 1)),
        on_progress=lambda x, *rest: shared.append(
            len(x.sharding.device_set) if BACKEND == "jax" else 1
        ),
    )
    return shared[-1]


def batches():
    return parallel.process_share(
        shuffled_batches(IMAGES, 16, seed=0, labels=LABELS)
    )


def message(function):
    try:
        function()
    except (ValueError, FloatingPointError) as error:
        return str(error)
    return ""


def main(folder):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 4,
        )
    devices = parallel.data_parallel()
    result = train(folder) | {"devices": devices}
    model = make_model()
    result["devices of samples"] = devices_of_samples(model)
    result["uneven"] = message(
        lambda: model.fit(IMAGES[:15], LABELS[:15], batch_size=5)
    )
    result["rest"] = message(
        lambda: model.evaluate(IMAGES[:17], LABELS[:17], 16)
    )
    result["share"] = message(lambda: next(parallel.process_share([[1, 2, 3]])))
    name = "main" if parallel.is_main_process() else "other"
    np.savez(f"{folder}/{name}.npz", **result)


if __name__ == "__main__":
    main(sys.argv[1])
