"""Trains the classifier that judges samples of MNIST or CIFAR-10 presets.

It is a convolutional network. The script prints its accuracy on the 10,000 test
images. `sample_quality.py` and `face_quality.py` read the file that it writes.

    python benchmarks/classifier.py mnist classifier.keras
"""

import pathlib

import click
import keras
import numpy as np

from keras_ncsn.images import to_floats

EPOCHS = {"mnist": 4, "cifar10": 5}


def load_labelled(data, split, data_dir=None):
    """Returns uint8 images and their classes."""
    import tensorflow_datasets as tfds

    data = tfds.as_numpy(
        tfds.load(data, split=split, data_dir=data_dir, batch_size=-1)
    )
    return np.asarray(data["image"]), np.asarray(data["label"])


def convolve(x, filters):
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation("relu")(x)


def residual(x):
    return keras.layers.add(
        [x, convolve(convolve(x, x.shape[-1]), x.shape[-1])]
    )


def mnist_body(x):
    x = convolve(x, 16)
    x = keras.layers.MaxPooling2D()(x)
    x = convolve(x, 32)
    x = convolve(x, 64)
    x = keras.layers.MaxPooling2D()(x)
    x = convolve(x, 64)
    return keras.layers.Flatten()(x)


def cifar10_body(x):
    # A narrow ResNet-9 that shrinks images early, for speed on CPUs. Shifts and
    # mirrors are drawn again in each epoch.
    x = keras.layers.RandomFlip("horizontal")(x)
    x = keras.layers.RandomTranslation(0.125, 0.125, fill_mode="reflect")(x)
    x = keras.layers.MaxPooling2D()(convolve(x, 32))
    x = residual(convolve(x, 64))
    x = convolve(keras.layers.MaxPooling2D()(x), 128)
    x = convolve(keras.layers.MaxPooling2D()(x), 256)
    x = residual(x)
    return keras.layers.GlobalMaxPooling2D()(x)


BODIES = {"mnist": mnist_body, "cifar10": cifar10_body}


def build_classifier(data, image_shape):
    """Returns a classifier. Its layer `features` has 64 units."""
    images = keras.Input(image_shape)
    x = BODIES[data](images)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(64, "relu", name="features", dtype="float32")(x)
    classes = keras.layers.Dense(
        10, "softmax", name="classes", dtype="float32"
    )(x)
    return keras.Model(images, classes)


@click.command()
@click.argument("data", type=click.Choice(sorted(BODIES)))
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option("--data-dir", help="Folder of tensorflow-datasets.")
@click.option("--epochs", type=int, help=f"Default: {EPOCHS}.")
@click.option("--batch-size", default=128, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of the layers in training.",
)
def main(data, output, data_dir, epochs, batch_size, seed, dtype):
    """Train a classifier of DATA and save it as OUTPUT (.keras)."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(dtype)
    images, labels = load_labelled(data, "train", data_dir)
    test_images, test_labels = load_labelled(data, "test", data_dir)
    epochs = epochs or EPOCHS[data]
    steps = epochs * -(-len(images) // batch_size)
    model = build_classifier(data, images.shape[1:])
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(2e-3, steps)
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        to_floats(images),
        labels,
        batch_size=batch_size,
        epochs=epochs,
        verbose=2,
    )
    predictions = model.predict(to_floats(test_images), verbose=0)
    right = float(np.mean(predictions.argmax(-1) == test_labels))
    output.parent.mkdir(parents=True, exist_ok=True)
    model.save(output)
    print(f"Test accuracy {right:.4f} on {len(test_labels)} images: {output}")


if __name__ == "__main__":
    main()
