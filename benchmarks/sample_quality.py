"""Measures the samples and inpaintings of an MNIST or CIFAR-10 preset.

- Generates images and compares them with test images, by a classifier (from
  `classifier.py`).
- Fills in hidden parts of test images.
- Measures the loss at several noise levels.

It writes a report and pictures to a folder. With `--try`, it compares settings
of the sampler instead.

    python benchmarks/sample_quality.py mnist mnist \
        --classifier classifier.keras --output quality
    python benchmarks/sample_quality.py mnist mnist \
        --classifier classifier.keras --output tries --num-images 300 \
        --try num_steps=12 --try num_steps=24,churn=5,guidance=2
"""

import pathlib
import time

import click
import keras
import numpy as np
from keras import ops

from keras_ncsn import NCSNModel
from keras_ncsn.datasets import load_images
from keras_ncsn.images import save_grid, to_floats
from keras_ncsn.samplers.settings import chosen_sampler
from keras_ncsn.training import step

BATCH_SIZE = 250
# Number of test images to compare with, and to compute the loss of.
NUM_REAL = 1000
NUM_LEVELS = 10
# Images per side in pictures of samples.
GRID_SIDES = {"mnist": 16, "cifar10": 10}
NUM_INPAINTED_SHOWN = 8
NUM_COMPLETIONS_SHOWN = 6


class Judge:
    """A classifier that also returns the features of its last layers."""

    def __init__(self, path):
        model = keras.saving.load_model(path)
        features = model.get_layer("features").output
        self.model = keras.Model(model.inputs, [*model.outputs, features])

    def __call__(self, images):
        """Returns class probabilities and features, in float64."""
        results = self.model.predict(images, batch_size=BATCH_SIZE, verbose=0)
        return [np.asarray(result, "float64") for result in results]


def frechet_distance(first, second):
    """Returns the Frechet distance between normal fits to sets of features."""
    first_covariance = np.cov(first, rowvar=False)
    second_covariance = np.cov(second, rowvar=False)
    # The trace of the root of the product is the sum of the roots of its
    # eigenvalues. Up to rounding, these are real and at least 0.
    eigenvalues = np.linalg.eigvals(first_covariance @ second_covariance)
    root_trace = np.sqrt(np.clip(eigenvalues.real, 0, None)).sum()
    difference = first.mean(axis=0) - second.mean(axis=0)
    return float(
        difference @ difference
        + np.trace(first_covariance)
        + np.trace(second_covariance)
        - 2 * root_trace
    )


def losses_by_level(model, images, seed=0):
    """Returns pairs of a noise level and its loss, largest level first."""
    schedule = model.schedule
    images = model.to_sampled(images)
    noise = np.random.default_rng(seed).standard_normal(images.shape, "float32")
    losses = []
    for level in np.geomspace(
        schedule.sigma_max, schedule.sigma_min, NUM_LEVELS
    ):
        parts = [
            step.loss_per_image(
                model,
                images[first : first + BATCH_SIZE],
                np.full(len(images[first : first + BATCH_SIZE]), level, "f4"),
                noise[first : first + BATCH_SIZE],
            )
            for first in range(0, len(images), BATCH_SIZE)
        ]
        parts = [ops.convert_to_numpy(part) for part in parts]
        losses.append((level, float(np.concatenate(parts).mean())))
    return losses


def generate(model, num_images, settings, seed=0):
    """Returns samples and the seconds they took, including compilation."""
    started = time.perf_counter()
    images = model.generate(
        num_images, seed=seed, batch_size=BATCH_SIZE, **settings
    )
    return images, time.perf_counter() - started


def num_evaluations(model, settings):
    """Returns the number of network evaluations per image."""
    changes = {k: v for k, v in settings.items() if k != "guidance"}
    sampler = chosen_sampler(
        None, changes, model.sampler, model.sampler_settings
    )
    return sampler.num_evaluations(model.schedule)


def nearest_images(images, pool, mirrored=False):
    """Returns the nearest image of the pool for each image, and its distance.

    The distance is the root mean square per pixel. With `mirrored`, the mirror
    images of the pool count too.
    """
    flat = images.reshape(len(images), -1)
    nearest, least = np.empty_like(images), np.full(len(images), np.inf)
    for first in range(0, len(pool), BATCH_SIZE):
        part = pool[first : first + BATCH_SIZE]
        for seen in (part, part[:, :, ::-1])[: 1 + mirrored]:
            others = seen.reshape(len(seen), -1)
            squares = (
                np.square(flat).sum(axis=1)[:, None]
                - 2 * flat @ others.T
                + np.square(others).sum(axis=1)
            )
            rows, found = squares.argmin(axis=1), squares.min(axis=1)
            nearer = found < least
            nearest[nearer], least[nearer] = seen[rows[nearer]], found[nearer]
    return nearest, np.sqrt(np.maximum(least, 0) / flat.shape[1])


def known_masks(height, width, seed=0):
    """Returns masks by name, `(height, width, 1)`, True where known."""
    left = np.zeros((height, width, 1), bool)
    left[:, : width // 2] = True
    frame = np.ones((height, width, 1), bool)
    frame[height // 4 : -(height // 4), width // 4 : -(width // 4)] = False
    random = np.random.default_rng(seed).random((height, width, 1)) < 0.5
    return {
        "left half known": left,
        "centre square hidden": frame,
        "random half known": random,
    }


def border_jump(images, known_mask):
    """Returns the mean squared step from known pixels to hidden neighbours.

    `known_mask` has the shape `(height, width, 1)`.
    """
    jumps = []
    for axis in (1, 2):
        border = np.diff(known_mask.astype("int8"), axis=axis - 1) != 0
        steps = np.square(np.diff(images, axis=axis))
        jumps.append(steps[:, border[..., 0]])
    return float(np.concatenate(jumps, axis=1).mean())


def measure_inpainting(model, judge, images, known_mask):
    """Returns the share that keep their class, the jump, and the real jump."""
    filled = model.inpaint(images, known_mask, seed=0, batch_size=BATCH_SIZE)
    before, after = judge(images)[0], judge(filled)[0]
    kept = float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))
    return (
        kept,
        border_jump(filled, known_mask),
        border_jump(images, known_mask),
    )


def save_inpaintings(model, images, path):
    """Draws a row for each image: the image, its known part, completions.

    This is repeated for each mask of `known_masks`, with a white column
    between them.
    """
    columns = []
    for known_mask in known_masks(*images.shape[1:3]).values():
        filled = model.inpaint(
            images,
            known_mask,
            num_samples=NUM_COMPLETIONS_SHOWN,
            seed=0,
            batch_size=BATCH_SIZE,
        )
        known = np.where(known_mask, images, 0.5)
        white = np.ones_like(images)
        columns += [white, images, known, *filled.swapaxes(0, 1)]
    rows = np.stack(columns[1:], axis=1)
    save_grid(rows.reshape(-1, *images.shape[1:]), path, columns=rows.shape[1])


def report_sampling(model, preset, num_images, seed, seconds):
    return [
        f"# Quality of {preset}",
        "",
        f"Sampler: {model.sampler}, {num_evaluations(model, {})} evaluations "
        f"an image, {num_images} images (seed {seed}) in {seconds:.1f} s on "
        f"{keras.backend.backend()}.",
        "",
    ]


def report_classes(sets):
    """Returns a table of the classifier's confidence and classes by set."""
    classes = " | ".join(str(number) for number in range(10))
    lines = [
        f"| set | mean confidence | > 0.5 | > 0.9 | {classes} |",
        "|---" * 14 + "|",
    ]
    for name, probabilities in sets.items():
        confidence = probabilities.max(axis=1)
        counts = np.bincount(probabilities.argmax(axis=1), minlength=10)
        lines.append(
            f"| {name} | {confidence.mean():.3f} "
            f"| {np.mean(confidence > 0.5):.1%} "
            f"| {np.mean(confidence > 0.9):.1%} | "
            + " | ".join(str(count) for count in counts)
            + " |"
        )
    return [*lines, ""]


def report_distances(features, real):
    """Returns a table of Frechet distances to test images.

    The same number of real images gives the floor, the best possible value.
    """
    near, others = real[:NUM_REAL], real[NUM_REAL:]
    floor = others[: len(features)]
    rest = np.concatenate([near, others[len(floor) :]])
    return [
        f"| Frechet distance | to {NUM_REAL} test images "
        f"| to all {len(real)} |",
        "|---|---|---|",
        f"| {len(features)} samples | {frechet_distance(features, near):.2f} "
        f"| {frechet_distance(features, real):.2f} |",
        f"| {len(floor)} other test images "
        f"| {frechet_distance(floor, near):.2f} "
        f"| {frechet_distance(floor, rest):.2f} (to the others) |",
        "",
    ]


def report_losses(losses, num_images):
    """Returns a table of losses by set and noise level."""
    levels = [level for level, _ in next(iter(losses.values()))]
    lines = [
        f"Loss of {num_images} images by noise level:",
        "",
        "| sigma | " + " | ".join(f"{level:.3g}" for level in levels) + " |",
        "|---" * (len(levels) + 1) + "|",
    ]
    for name, pairs in losses.items():
        cells = " | ".join(f"{loss:.2f}" for _, loss in pairs)
        lines.append(f"| {name} | {cells} |")
    return [*lines, ""]


def report_inpainting(model, judge, images, num_inpainted):
    """Returns a table of the quality of inpaintings, for each mask."""
    lines = [
        f"Inpaintings of {num_inpainted} test images. The jump is the mean "
        "squared step from a known pixel to a hidden neighbour:",
        "",
        "| known | class kept | jump | jump in the real images |",
        "|---|---|---|---|",
    ]
    for name, known_mask in known_masks(*images.shape[1:3]).items():
        kept, jump, real_jump = measure_inpainting(
            model, judge, images[:num_inpainted], known_mask
        )
        lines.append(f"| {name} | {kept:.1%} | {jump:.4f} | {real_jump:.4f} |")
    return [*lines, ""]


def report_tries(model, judge, num_images, seed, real, tries):
    """Yields a table of quality by sampler settings, one row at a time."""
    yield [
        f"{num_images} samples (seed {seed}) with each of these settings:",
        "",
        "| settings | evaluations | seconds | mean confidence | > 0.9 "
        f"| Frechet distance to all {len(real)} |",
        "|---|---|---|---|---|---|",
    ]
    for settings in tries:
        images, seconds = generate(model, num_images, settings, seed)
        probabilities, features = judge(images)
        confidence = probabilities.max(axis=1)
        described = ", ".join(f"{k} {v:g}" for k, v in settings.items())
        yield [
            f"| {described} | {num_evaluations(model, settings)} "
            f"| {seconds:.1f} | {confidence.mean():.3f} "
            f"| {np.mean(confidence > 0.9):.1%} "
            f"| {frechet_distance(features, real):.2f} |"
        ]


def parse_settings(context, parameter, texts):
    """Returns dictionaries of settings from texts such as `churn=5`."""
    try:
        return [
            {
                name: int(value) if value.isdigit() else float(value)
                for name, value in (item.split("=") for item in text.split(","))
            }
            for text in texts
        ]
    except ValueError as error:
        raise click.BadParameter(
            f"must be like num_steps=24,churn=5: {error}"
        ) from None


def load_shuffled(data, split, data_dir):
    """Returns the images of a set in [0, 1], shuffled."""
    images = to_floats(load_images(data, split, data_dir=data_dir))
    return images[np.random.default_rng(0).permutation(len(images))]


def write_report(sections, folder):
    """Prints the parts of a report as they come, and writes them to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "report.md", "w", encoding="utf-8") as file:
        for section in sections:
            text = "\n".join(section)
            print(text, flush=True)
            print(text, file=file, flush=True)


@click.command()
@click.argument("data", type=click.Choice(sorted(GRID_SIDES)))
@click.argument("preset")
@click.option(
    "--classifier",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="File written by classifier.py.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    required=True,
    help="Folder for the report and the pictures.",
)
@click.option("--data-dir", help="Folder of tensorflow-datasets.")
@click.option("--num-images", default=1000, show_default=True)
@click.option("--num-inpainted", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of the network's layers.",
)
@click.option(
    "--try",
    "tries",
    multiple=True,
    callback=parse_settings,
    metavar="NAME=NUMBER[,...]",
    help="Only compare samples with these settings. Repeatable.",
)
def main(data, preset, classifier, output, **options):
    """Measure the samples and inpaintings of PRESET, trained on DATA."""
    model = NCSNModel.from_preset(preset, dtype=options["dtype"])
    judge = Judge(classifier)
    write_report(sections(data, model, preset, judge, output, options), output)


def sections(data, model, preset, judge, output, options):
    """Yields the parts of the report as lists of lines, and saves pictures."""
    num_images, data_dir = options["num_images"], options["data_dir"]
    test = load_shuffled(data, "test", data_dir)
    real_probabilities, real = judge(test)
    if options["tries"]:
        yield from report_tries(
            model, judge, num_images, options["seed"], real, options["tries"]
        )
        return
    train = load_shuffled(data, "train", data_dir)
    images, seconds = generate(model, num_images, {}, options["seed"])
    probabilities, features = judge(images)
    side = GRID_SIDES[data]
    save_grid(images[: side**2], output / "samples.png", columns=side)
    # Training mirrors the images of CIFAR-10, but not those of MNIST.
    nearest, _ = nearest_images(images[:8], train, mirrored=data == "cifar10")
    save_grid(
        np.concatenate([images[:8], nearest]), output / "nearest.png", columns=8
    )
    yield report_sampling(model, preset, num_images, options["seed"], seconds)
    yield report_classes(
        {
            f"{num_images} samples": probabilities,
            f"{NUM_REAL} test images": real_probabilities[:NUM_REAL],
        }
    )
    yield report_distances(features, real)
    losses = {
        "train": losses_by_level(model, train[:NUM_REAL]),
        "test": losses_by_level(model, test[:NUM_REAL]),
    }
    yield report_losses(losses, NUM_REAL)
    save_inpaintings(
        model, test[:NUM_INPAINTED_SHOWN], output / "inpaintings.png"
    )
    yield report_inpainting(model, judge, test, options["num_inpainted"])


if __name__ == "__main__":
    main()
