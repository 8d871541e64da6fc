"""Measures how fast a U-Net trains, compared with its convolutions alone.

The network is that of the preset `cifar10`, and a step is the whole step of
`fit`: reading and mirroring of images, noise, loss, gradients, Adam, the
average of the weights. The convolutions alone run forward and compute both
gradients, on TensorFlow. Each contender is a process. They are timed in turn in
each round. A ratio is the median of the ratios of the rounds, of clock time and
of processor time. Prints a Markdown table.

    python benchmarks/unet_training.py
    python benchmarks/unet_training.py --first-step
"""

import os
import statistics

import click
import contenders
import numpy as np

CONVOLUTIONS = ("convolutions alone", "float32")
PLAIN = ("plain PyTorch", "float32")
CONTENDERS = (
    CONVOLUTIONS,
    PLAIN,
    ("tensorflow", "float32"),
    ("torch", "float32"),
    ("jax", "float32"),
    ("convolutions alone", "mixed_bfloat16"),
    ("tensorflow", "mixed_bfloat16"),
    ("torch", "mixed_bfloat16"),
    ("jax", "mixed_bfloat16"),
)
BACKENDS = {"convolutions alone": "tensorflow", "plain PyTorch": "torch"}
SHAPE = (32, 32, 3)


def make_images():
    images = np.random.default_rng(0).normal(121, 64, (2048, *SHAPE))
    return images.clip(0, 255).astype("uint8")


def make_model(dtype):
    """Returns the compiled model of a run that trains the preset's network."""
    from keras_ncsn.runs import building, recipes

    settings = {
        "width": 32,
        "width_multipliers": (1, 2, 4),
        "patch_size": 2,
        "num_blocks": 2,
        "attention_stages": (2,),
        "dropout": 0.0,
        "ema_momentum": 0.999,
        "dtype": dtype,
    }
    recipe = recipes.find("unet-cifar10", settings)
    model = building.make_model(recipe, make_images(), seed=0)
    model.compile(building.make_optimizer(recipe))
    return model


def fit(dtype, batch_size):
    """Returns a function that takes a number of steps of `fit`."""
    from keras_ncsn import datasets

    model = make_model(dtype)
    batches = datasets.shuffled_batches(make_images(), batch_size, 0, flip=True)

    def run(steps):
        model.fit(batches, steps_per_epoch=steps, verbose=0)

    return run


def convolve(dtype, batch_size):
    """Returns a function that runs the convolutions of the network alone."""
    import tensorflow as tf
    from keras import layers, ops

    network = make_model(dtype).network
    work = []
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            x, y = (
                tf.random.normal((batch_size, *end.shape[1:]))
                for end in (layer.input, layer.output)
            )
            dtype = layer.compute_dtype
            work.append((layer, ops.cast(x, dtype), ops.cast(y, dtype)))

    @tf.function
    def step(work=work):
        gradients = []
        for layer, x, target in work:
            with tf.GradientTape() as tape:
                tape.watch(x)
                output = layer(x)
            watched = [x, layer.kernel.value]
            gradients += tape.gradient(output, watched, target)
        return gradients

    def run(steps):
        for _ in range(steps):
            step()

    return run


def train_plainly(dtype, batch_size):
    """Returns a function that takes a number of steps in plain PyTorch."""
    import torch
    from plain_unet import PlainUNet, training_step

    torch.manual_seed(0)
    plain = PlainUNet(3, (32, 64, 128), 2, 2, mean=0.47, std=0.25)
    average = [x.detach().clone() for x in plain.parameters()]
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200_000)
    images = torch.as_tensor(make_images()).permute(0, 3, 1, 2)

    def run(steps):
        for _ in range(steps):
            batch = images[torch.randint(len(images), (batch_size,))]
            batch = torch.where(
                torch.rand(batch_size, 1, 1, 1) < 0.5, batch, batch.flip(3)
            )
            training_step(plain, average, optimizer, schedule, batch, 0.25)

    return run


def work(name, dtype, batch_size, steps):
    make = {"convolutions alone": convolve, "plain PyTorch": train_plainly}
    run = make.get(name, fit)(dtype, batch_size)
    contenders.serve({"steps": lambda: run(steps), "first": lambda: run(2)})


def measure_first_steps(start, keys, rounds):
    seconds = {key: [] for key in keys}
    for _ in range(rounds):
        for key in keys:
            contender = start(key)
            seconds[key].append(contender.run("first")["wall"])
            contender.stop()
    print("| | dtype | seconds to the end of the second step |")
    print("|---" * 3 + "|")
    for key in keys:
        middle = statistics.median(seconds[key])
        print(f"| {' | '.join(key)} | {middle:.1f} |")


def measure_steps(start, keys, rounds, images):
    seconds = contenders.measure(start, keys, ["steps"], rounds)
    of_key = {key: seconds[key, "steps"] for key in keys}
    print(
        "| | dtype | ms an image | to the convolutions | processor "
        "| to plain PyTorch | processor |"
    )
    print("|---" * 7 + "|")
    for key, records in of_key.items():
        cells = [*key, f"{1000 * contenders.median(records) / images:.1f}"]
        for baseline in (CONVOLUTIONS, PLAIN):
            for clock in ("wall", "processor"):
                ratio = contenders.ratio(records, of_key[baseline], clock)
                cells.append(f"{ratio:.2f}")
        print(f"| {' | '.join(cells)} |")


@click.command()
@click.option("--batch-size", default=64, show_default=True)
@click.option("--steps", default=4, show_default=True, help="Of each turn.")
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--cores",
    type=int,
    help="Processor cores that a contender may use: with 1, PyTorch's threads "
    "do not wait for each other on a busy machine. Default: all.",
)
@click.option(
    "--only",
    default="",
    help='Backends and dtypes, such as "tensorflow jax float32", beside the '
    "two baselines. Default: all.",
)
@click.option(
    "--first-step",
    is_flag=True,
    help="Instead, seconds from `fit` to the end of its second step.",
)
@click.option("--worker", hidden=True)
def main(batch_size, steps, rounds, cores, only, first_step, worker):
    """Time the training of a U-Net on each backend."""
    if worker is not None:
        import json

        work(*json.loads(worker))
        return
    if cores is not None:
        # Child processes inherit this, and set their threads by it.
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, available[-cores:])

    def start(key):
        settings = [*key, batch_size, steps]
        backend = BACKENDS.get(key[0], key[0])
        return contenders.Contender(__file__, backend, settings)

    keys = [
        key
        for key in CONTENDERS
        if not only or set(key) <= set(only.split()) or key in CONTENDERS[:2]
    ]
    load = os.getloadavg()[0]
    if first_step:
        keys = [key for key in keys if key != CONVOLUTIONS]
        measure_first_steps(start, keys, rounds)
    else:
        measure_steps(start, keys, rounds, steps * batch_size)
    print(
        f"\nBatches of {batch_size}, {rounds} rounds, "
        f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after"
    )


if __name__ == "__main__":
    main()
