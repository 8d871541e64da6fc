"""Measures how fast RefineNet is, compared with plain PyTorch.

Each contender is a process with its backend, precision and compiler. They are
timed in turn in each round, so that a busy machine slows all of them. A ratio
is the median of the ratios of the rounds. Prints a Markdown table.

    python benchmarks/training_vs_pytorch.py
    python benchmarks/training_vs_pytorch.py --image-size 32 --channels 3 \
        --width 128 --batch-size 8
"""

import json
import os

import click
import contenders
import numpy as np

PASSES = ("forward", "training step")
BASELINE = ("plain PyTorch", "float32", "eager")
CONTENDERS = (
    BASELINE,
    ("tensorflow", "float32", "graph"),
    ("tensorflow", "float32", "jit_compile"),
    ("tensorflow", "mixed_bfloat16", "graph"),
    ("tensorflow", "mixed_bfloat16", "jit_compile"),
    ("jax", "float32", "jit_compile"),
    ("jax", "mixed_bfloat16", "jit_compile"),
    ("torch", "float32", "eager"),
    ("torch", "mixed_bfloat16", "eager"),
)


def plain_passes(images):
    """Returns functions that run the plain network once."""
    import torch
    from plain_refinenet import PlainRefineNet, training_step

    width = images["width"]
    torch.manual_seed(0)
    network = PlainRefineNet(images["channels"], width)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, eps=1e-8)
    x = torch.rand(
        images["batch_size"],
        images["channels"],
        images["size"],
        images["size"],
    )
    levels = torch.randint(0, 10, (len(x),))
    sigmas = torch.logspace(0, -2, 10)

    @torch.inference_mode()
    def forward():
        network(x, levels).numpy()

    return {
        "forward": forward,
        "training step": lambda: training_step(network, optimizer, sigmas, x),
    }


def keras_passes(images, dtype, compiler):
    """Returns functions that run a model of this package once."""
    import keras

    import keras_ncsn

    keras.utils.set_random_seed(0)
    schedule = keras_ncsn.NoiseSchedule.geometric()
    shape = (images["size"], images["size"], images["channels"])
    network = keras_ncsn.networks.RefineNet(
        shape, images["width"], schedule.sigmas, dtype=dtype
    )
    model = keras_ncsn.NCSNModel(network, schedule, seed=0)
    model.compile(jit_compile=compiler == "jit_compile")
    rng = np.random.default_rng(0)
    x = rng.random((images["batch_size"], *shape), "float32")
    sigma = rng.choice(schedule.sigmas, len(x)).astype("float32")
    return {
        "forward": lambda: model.predict_on_batch([x, sigma]),
        "training step": lambda: model.train_on_batch(x),
    }


def work(name, dtype, compiler, images):
    if name == "plain PyTorch":
        contenders.serve(plain_passes(images))
    else:
        contenders.serve(keras_passes(images, dtype, compiler))


def row(seconds, key, batch_size):
    """Returns a line of the table."""
    cells = list(key)
    for name in PASSES:
        own, baseline = seconds[key, name], seconds[BASELINE, name]
        cells.append(f"{1000 * contenders.median(own) / batch_size:.1f}")
        for clock in ("wall", "processor"):
            cells.append(f"{contenders.ratio(own, baseline, clock):.2f}")
    return f"| {' | '.join(cells)} |"


@click.command()
@click.option("--image-size", default=28, show_default=True)
@click.option("--channels", default=1, show_default=True)
@click.option("--width", default=64, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--cores",
    type=int,
    help="Processor cores that a contender may use. Default: all.",
)
@click.option(
    "--only",
    default="",
    help="Only contenders with these words in their name, dtype or compiler, "
    'such as "tensorflow float32". Default: all.',
)
@click.option("--worker", hidden=True)
def main(image_size, channels, width, batch_size, rounds, cores, only, worker):
    """Time RefineNet on each backend against plain PyTorch."""
    if worker is not None:
        work(*json.loads(worker))
        return
    if cores is not None:
        # Child processes inherit this, and set their threads by it.
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, available[-cores:])
    images = {
        "size": image_size,
        "channels": channels,
        "width": width,
        "batch_size": batch_size,
    }
    load = os.getloadavg()[0]
    keys = [
        key
        for key in CONTENDERS
        if key == BASELINE or set(only.split()) <= set(key)
    ]

    def start(key):
        backend = "torch" if key == BASELINE else key[0]
        return contenders.Contender(__file__, backend, [*key, images])

    seconds = contenders.measure(start, keys, PASSES, rounds)
    print(
        f"{batch_size} images of {image_size}x{image_size}x{channels}, width "
        f"{width}, {len(os.sched_getaffinity(0))} cores, load {load:.1f} before"
        f" and {os.getloadavg()[0]:.1f} after, {rounds} rounds; milliseconds "
        "an image, and ratios to plain PyTorch, of the time by the clock and "
        "of processor time\n"
    )
    print(
        "| network | dtype | runs as | forward, ms | ratio | processor "
        "| training step, ms | ratio | processor |"
    )
    print("|---" * 9 + "|")
    for key in keys:
        print(row(seconds, key, batch_size))


if __name__ == "__main__":
    main()
