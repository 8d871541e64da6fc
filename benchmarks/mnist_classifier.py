"""Trains the classifier of digits that judges samples of MNIST presets.

A small convolutional network, trained on the 60,000 digits of MNIST's train
set; prints the share of the 10,000 test digits that it gets right, which is at
least 99 %. `mnist_quality.py` takes the file that it writes.

    python benchmarks/mnist_classifier.py classifier.keras
"""

import pathlib

import click
import keras
import numpy as np

from keras_ncsn.images import to_floats


def load_labelled_mnist(split, data_dir=None):
    """Returns digits, uint8 as `datasets.load_images`, and their classes."""
    import tensorflow_datasets as tfds

    data = tfds.as_numpy(
        tfds.load("mnist", split=split, data_dir=data_dir, batch_size=-1)
    )
    return np.asarray(data["image"]), np.asarray(data["label"])


def convolve(x, filters):
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation("relu")(x)


def build_classifier():
    """Returns a classifier whose layer `features` has 64 units."""
    images = keras.Input((28, 28, 1))
    x = convolve(images, 16)
    x = keras.layers.MaxPooling2D()(x)
    x = convolve(x, 32)
    x = convolve(x, 64)
    x = keras.layers.MaxPooling2D()(x)
    x = convolve(x, 64)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(64, "relu", name="features")(x)
    classes = keras.layers.Dense(10, "softmax", name="classes")(x)
    return keras.Model(images, classes)


@click.command()
@click.argument("output", type=click.Path(path_type=pathlib.Path))
@click.option("--data-dir", help="Folder of tensorflow-datasets.")
@click.option("--epochs", default=4, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(output, data_dir, epochs, batch_size, seed):
    """Train a classifier of MNIST's digits and save it as OUTPUT (.keras)."""
    keras.utils.set_random_seed(seed)
    images, labels = load_labelled_mnist("train", data_dir)
    test_images, test_labels = load_labelled_mnist("test", data_dir)
    steps = epochs * -(-len(images) // batch_size)
    model = build_classifier()
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
    print(f"Test accuracy {right:.4f} on {len(test_labels)} digits: {output}")


if __name__ == "__main__":
    main()
