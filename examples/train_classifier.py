"""Trains the classifier that judges samples of MNIST or CIFAR-10.

It writes a plain Keras model from images in [0, 1] to the logits of ten
classes. The layer `features` has what the Frechet distance compares.

    python examples/train_classifier.py mnist mnist.keras
    python examples/train_classifier.py cifar10 cifar10.keras

On the 10,000 test images, these are right on 99.64 % and 90.45 %. Training took
7 and 31 minutes of processor time on a processor with AVX-512.

Labels are smoothed, so the mean confidence is lower than that: 94.2 % and
84.9 %. Compare the confidence in samples with the confidence in real images.

The network is a small one after "94% on CIFAR-10 in 3.29 Seconds" (Jordan,
2024, https://arxiv.org/abs/2404.00498). Its first layer is not trained: it
whitens patches of 2x2 pixels.
"""

import io
import pathlib
import zipfile

import click
import h5py
import keras
import numpy as np
from keras import layers, ops

from keras_ncsn.datasets import load_labelled_images
from keras_ncsn.images import to_floats

NUM_CLASSES = 10
WIDTHS = {"mnist": (24, 48, 96), "cifar10": (48, 128, 192)}
EPOCHS = {"mnist": 10, "cifar10": 12}
LABEL_SMOOTHING = 0.05


def main(
    data,
    output,
    epochs=None,
    batch_size=256,
    widths=None,
    train=None,
    test=None,
    data_dir=None,
    seed=0,
):
    """Trains a classifier and saves it as the file `output`.

    `train` and `test` are of the type `LabelledImages`, by default those of
    `data`. Returns the model that the file holds, and its accuracy on `test`.
    """
    output = pathlib.Path(output)
    if output.suffix != ".keras":
        raise ValueError(
            f"`output` must end in .keras. Received: output={str(output)!r}"
        )
    keras.utils.set_random_seed(seed)
    train = train or load_labelled_images(data, "train", data_dir=data_dir)
    test = test or load_labelled_images(data, "test", data_dir=data_dir)
    images = to_floats(train.images)

    model = build_classifier(images.shape[1:], widths or WIDTHS[data])
    model.get_layer("whitening").set_weights(whitening_weights(images[:5000]))
    fit(
        model,
        augmentations(data),
        images,
        train.labels,
        batch_size,
        epochs or EPOCHS[data],
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    save_in_half_precision(model, output)

    model = keras.saving.load_model(output)
    logits = model.predict(to_floats(test.images), batch_size, verbose=0)
    probabilities = ops.convert_to_numpy(ops.softmax(logits))
    accuracy = float(np.mean(probabilities.argmax(axis=1) == test.labels))
    print(
        f"{output}: {model.count_params():,} weights. On {len(test.labels):,} "
        f"test images, the accuracy is {accuracy:.2%} and the mean confidence "
        f"{probabilities.max(axis=1).mean():.2%}."
    )
    return model, accuracy


def augmentations(data):
    """Returns the layers that change training images at random."""
    shift = layers.RandomTranslation(
        # By whole pixels.
        0.1,
        0.1,
        fill_mode="reflect",
        interpolation="nearest",
    )
    if data == "cifar10":
        return [layers.RandomFlip("horizontal"), shift]
    # In parts of a full turn: 10 degrees.
    return [layers.RandomRotation(1 / 36), layers.RandomZoom(0.1), shift]


def build_classifier(image_shape, widths):
    """Returns a network that halves the size of images for each width."""
    images = keras.Input(image_shape, name="images")
    x = layers.Conv2D(
        # Each direction of a patch of 2x2 pixels, and its opposite.
        2 * 4 * image_shape[-1],
        2,
        activation="gelu",
        trainable=False,
        name="whitening",
    )(images)
    for width in widths:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = activate(layers.MaxPooling2D()(x))
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.Add()([x, activate(y)])
    features = layers.GlobalMaxPooling2D(name="features")(x)
    logits = layers.Dense(NUM_CLASSES, name="logits")(features)
    return keras.Model(images, logits)


def activate(x):
    # A mean of few batches, because the weights change fast.
    return layers.Activation("gelu")(layers.BatchNormalization(momentum=0.9)(x))


def whitening_weights(images, epsilon=5e-4):
    """Returns the kernel and bias that give patches of pixels unit covariance.

    `epsilon` is added to the variances, because some are almost 0.
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2))
    # In the order of a kernel: height, width, channels.
    patches = np.moveaxis(patches, 3, -1).reshape(-1, 4 * images.shape[-1])
    variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False))
    kernel = directions / np.sqrt(variances + epsilon)
    kernel = np.concatenate([kernel, -kernel], axis=1)
    bias = -patches.mean(axis=0) @ kernel
    kernel = kernel.reshape(2, 2, images.shape[-1], -1)
    return [kernel.astype("float32"), bias.astype("float32")]


def fit(model, augmentations, images, labels, batch_size, epochs):
    """Trains a model with a rate that rises, and then falls to 0."""
    steps = epochs * -(-len(images) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=steps - steps // 5,
        warmup_target=5e-3,
        warmup_steps=steps // 5,
    )
    # Around the model, because its file must not hold these.
    trained = keras.Sequential([*augmentations, model])
    trained.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=LABEL_SMOOTHING
        ),
        metrics=["accuracy"],
    )
    labels = keras.utils.to_categorical(labels, NUM_CLASSES)
    trained.fit(images, labels, batch_size, epochs, verbose=2)


def save_in_half_precision(model, path):
    """Saves a model in half the bytes. Its weights load as float32."""
    model.save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    name = "model.weights.h5"
    whole, half = io.BytesIO(parts[name]), io.BytesIO()
    with h5py.File(whole, "r") as old, h5py.File(half, "w") as new:

        def copy(place, item):
            if isinstance(item, h5py.Dataset):
                new[place] = item[()].astype("float16")

        old.visititems(copy)
    parts[name] = half.getvalue()
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)


@click.command(help=__doc__)
@click.argument("data", type=click.Choice(sorted(WIDTHS)))
@click.argument("output", type=click.Path(dir_okay=False))
@click.option("--data-dir", help="Folder of tensorflow-datasets.")
@click.option("--epochs", type=int, help=f"Default: {EPOCHS}.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(**arguments):
    main(**arguments)


if __name__ == "__main__":
    command()
