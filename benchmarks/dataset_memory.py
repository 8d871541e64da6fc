"""Measures peak memory for few images and for many: does it grow?

Makes data sets of noise, 64 by 64 pixels in colour, as a folder of PNGs, as an
.npz file, as an .npy file and as a set of tensorflow-datasets. For each, a
separate process loads it, computes its mean and spread as at the start of a
run, and reads one shuffled epoch. The peak is that of anonymous memory, which
the machine cannot reclaim, beyond what the imports take. It is sampled every 10
ms (RssAnon in /proc/self/status, so only on Linux).

    python benchmarks/dataset_memory.py --num-images 2000
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import click
import numpy as np
from PIL import Image

SIDE = 64
BATCH_SIZE = 64


def noise(num_images):
    rng = np.random.default_rng(0)
    for _ in range(num_images):
        yield rng.integers(0, 256, (SIDE, SIDE, 3), "uint8")


def make_folder(num_images, folder):
    for index, image in enumerate(noise(num_images)):
        Image.fromarray(image).save(folder / f"{index:06d}.png")
    return folder


def make_npz(num_images, folder):
    np.savez(folder / "noise.npz", images=np.stack(list(noise(num_images))))
    return folder / "noise.npz"


def make_npy(num_images, folder):
    shape = (num_images, SIDE, SIDE, 3)
    images = np.lib.format.open_memmap(
        folder / "noise.npy", "w+", "uint8", shape
    )
    for index, image in enumerate(noise(num_images)):
        images[index] = image
    return folder / "noise.npy"


def make_named(num_images, folder):
    import tensorflow_datasets as tfds

    tfds.dataset_builders.store_as_tfds_dataset(
        name="noise",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(SIDE, SIDE, 3))}
        ),
        split_datasets={
            "train": (
                (index, {"image": image})
                for index, image in enumerate(noise(num_images))
            )
        },
        data_dir=folder,
    )
    return "noise"


MAKERS = {
    "folder": make_folder,
    "npz": make_npz,
    "npy": make_npy,
    "named set": make_named,
}


def anonymous_mib():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024


def measure(source, data_dir):
    """Returns the peak in MiB above the memory at the start, and seconds."""
    from keras_ncsn import datasets
    from keras_ncsn.runs import building

    if source == "noise":
        # The memory of this import does not depend on the number of images.
        import tensorflow_datasets as tfds

        next(
            iter(tfds.builder(source, data_dir=data_dir).as_dataset()["train"])
        )
    peak, done = [anonymous_mib()], threading.Event()
    before = peak[0]

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.monotonic()
    images = datasets.load_images(source, data_dir=data_dir)
    building.mean_and_spread(images)
    batches = datasets.shuffled_batches(images, BATCH_SIZE, seed=0, flip=True)
    for _ in range(len(images) // BATCH_SIZE):
        next(batches)
    seconds = time.monotonic() - started
    done.set()
    watching.join()
    return max(peak[0], anonymous_mib()) - before, seconds


def run(*arguments):
    """Runs this file with arguments and returns the last line it prints."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--num-images", default=2000, show_default=True)
@click.pass_context
def main(context, num_images):
    if context.invoked_subcommand:
        return
    print("| data | images | as an array | peak beyond imports | seconds |")
    print("|---|---|---|---|---|")
    for kind in MAKERS:
        for count in (num_images, 4 * num_images):
            with tempfile.TemporaryDirectory() as folder:
                source = run("make", kind, count, folder)
                peak, seconds = run("measure", source, folder)
            size = count * SIDE * SIDE * 3 / 2**20
            print(
                f"| {kind} | {count:,} | {size:.0f} MiB | {peak:.0f} MiB | "
                f"{seconds:.0f} |",
                flush=True,
            )


@main.command("make")
@click.argument("kind")
@click.argument("count", type=int)
@click.argument("folder", type=pathlib.Path)
def make_command(kind, count, folder):
    print()
    print(json.dumps(str(MAKERS[kind](count, folder))))


@main.command("measure")
@click.argument("source")
@click.argument("folder")
def measure_command(source, folder):
    print()
    print(json.dumps(measure(source, folder)))


if __name__ == "__main__":
    main()
