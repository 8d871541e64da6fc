"""Measures the samples and completions of a preset of faces.

- Generates faces and compares them with held-out ones, by the features of a
  CIFAR-10 classifier (from `examples/train_classifier.py`).
- Fills in the right half of held-out faces in several ways.
- Looks for copies of training images.
- Measures the loss at several noise levels.

It writes a report and pictures to a folder. No picture contains an image of the
data, because CelebA's must not be published. With `--try`, it compares settings
of the sampler instead.

    python benchmarks/face_quality.py celeba celeba32/train celeba32/test \
        --classifier classifier.keras --output quality
    python benchmarks/face_quality.py celeba celeba32/train celeba32/test \
        --classifier classifier.keras --output tries --try guidance=2
"""

import pathlib

import click
import numpy as np
import sample_quality as quality

from keras_ncsn import NCSNModel
from keras_ncsn.datasets import load_images
from keras_ncsn.images import save_grid, to_floats

# Number of held-out faces that are completed, and of completions of each.
NUM_INPAINTED = 500
NUM_COMPLETIONS = 16
GRID_SIDE = 10


def load_shuffled(folder):
    """Returns the images of a folder in [0, 1], shuffled."""
    images = to_floats(load_images(folder))
    return images[np.random.default_rng(0).permutation(len(images))]


def root_mean_square(errors, hidden):
    """Returns the root mean square of errors in hidden pixels, over all axes.

    `errors` has the shape `(..., height, width, channels)`, and `hidden`
    `(height, width)`.
    """
    return float(np.sqrt(np.mean(np.square(errors[..., hidden, :]))))


def completion_errors(images, completions, hidden, mean_image):
    """Returns root mean square errors in the hole, for each way to fill it.

    `completions` has the shape
    `(num_images, num_samples, height, width, channels)`. The spread is the
    unbiased standard deviation between the completions of one image. If
    completions are drawn from the true distribution, the error of one is
    sqrt(2) times the spread, and that of the mean of n is sqrt(1 + 1 / n)
    times the spread.
    """
    guesses = {
        "mean of the completions": completions.mean(axis=1),
        "one completion": completions[:, 0],
        "the mean face": mean_image,
        "the mirrored half": images[:, :, ::-1],
    }
    errors = {
        name: root_mean_square(guess - images, hidden)
        for name, guess in guesses.items()
    }
    deviations = completions - completions.mean(axis=1, keepdims=True)
    num_samples = completions.shape[1]
    unbiased = np.sqrt(num_samples / (num_samples - 1))
    errors["spread between completions"] = unbiased * root_mean_square(
        deviations, hidden
    )
    return errors


def sharpness(images, hidden):
    """Returns the mean step to the next pixel on the right, in the hole."""
    steps = np.abs(np.diff(images, axis=-2))
    return float(steps[..., hidden[:, 1:] & hidden[:, :-1], :].mean())


def nearest_distances(images, pool):
    """Returns distances to the nearest image of the pool, mirrored or not."""
    return quality.nearest_images(images, pool, mirrored=True)[1]


def plot_distances(distances, path):
    """Plots the distances of sets of images to the nearest training image."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    bins = np.linspace(0, max(map(np.max, distances.values())), 50)
    for name, values in distances.items():
        axes.hist(values, bins, alpha=0.6, label=name)
    axes.set_xlabel("distance to the nearest training image (RMS of a pixel)")
    axes.set_ylabel("images")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def report_distances(features, held_out, train):
    return [
        f"| Frechet distance | to {len(held_out)} held-out faces |",
        "|---|---|",
        f"| {len(features)} samples "
        f"| {quality.frechet_distance(features, held_out):.2f} |",
        f"| {len(train)} training images "
        f"| {quality.frechet_distance(train, held_out):.2f} |",
        "",
    ]


def report_copies(distances):
    lines = [
        "Distance to the nearest training image (root mean square per pixel "
        "in [0, 1], mirrored images included):",
        "",
        "| images | smallest | 1st percentile | median |",
        "|---|---|---|---|",
    ]
    for name, values in distances.items():
        low, median = np.percentile(values, [1, 50])
        lines.append(
            f"| {name} | {values.min():.4f} | {low:.4f} | {median:.4f} |"
        )
    return [*lines, ""]


def report_completions(model, images, mean_image):
    known_mask = quality.known_masks(*images.shape[1:3])["left half known"]
    filled = model.inpaint(
        images,
        known_mask,
        num_samples=NUM_COMPLETIONS,
        seed=0,
        batch_size=quality.BATCH_SIZE,
    )
    hidden = ~known_mask[..., 0]
    errors = completion_errors(images, filled, hidden, mean_image)
    filled = filled.reshape(-1, *images.shape[1:])
    return [
        f"Right half of {len(images)} held-out faces, {NUM_COMPLETIONS} "
        "completions of each. Root mean square errors per pixel in [0, 1]:",
        "",
        "| | inside the hole |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in errors.items()),
        "",
        "Steps from pixel to pixel:",
        "",
        "| | mean step, inside the hole | mean squared step into it |",
        "|---|---|---|",
        *(
            f"| {name} | {sharpness(part, hidden):.4f} "
            f"| {quality.border_jump(part, known_mask):.4f} |"
            for name, part in {"completions": filled, "faces": images}.items()
        ),
        "",
    ]


@click.command()
@click.argument("preset")
@click.argument("train", type=click.Path(exists=True))
@click.argument("held_out", type=click.Path(exists=True))
@click.option(
    "--classifier",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="File written by examples/train_classifier.py for CIFAR-10.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    required=True,
    help="Folder for the report and the pictures.",
)
@click.option("--num-images", default=1000, show_default=True)
@click.option("--num-inpainted", default=NUM_INPAINTED, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the samples.")
@click.option(
    "--try",
    "tries",
    multiple=True,
    callback=quality.parse_settings,
    metavar="NAME=NUMBER[,...]",
    help="Only compare samples with these settings. Repeatable.",
)
def main(preset, train, held_out, classifier, output, **options):
    """Measure PRESET, trained on TRAIN, against the faces in HELD_OUT."""
    model = NCSNModel.from_preset(preset)
    train, held_out = load_shuffled(train), load_shuffled(held_out)
    judge = quality.Judge(classifier)
    report = sections(model, preset, train, held_out, judge, output, options)
    quality.write_report(report, output)


def sections(model, preset, train, held_out, judge, output, options):
    """Yields the parts of the report as lists of lines, and saves pictures."""
    num_images, seed = options["num_images"], options["seed"]
    if options["tries"]:
        real = judge(held_out[: quality.NUM_REAL])[1]
        yield from quality.report_tries(
            model, judge, num_images, seed, real, options["tries"]
        )
        return
    images, seconds = quality.generate(model, num_images, {}, seed)
    save_grid(images[: GRID_SIDE**2], output / "samples.png", columns=GRID_SIDE)
    yield quality.report_sampling(model, preset, num_images, seed, seconds)
    some = train[: quality.NUM_REAL], held_out[: quality.NUM_REAL]
    features = [judge(part)[1] for part in (images, held_out, some[0])]
    yield report_distances(*features)
    distances = {
        "samples": nearest_distances(images, train),
        # The same number: more images would have a smaller minimum.
        "held-out faces": nearest_distances(held_out[:num_images], train),
    }
    plot_distances(distances, output / "nearest.png")
    yield report_copies(distances)
    losses = {
        name: quality.losses_by_level(model, part)
        for name, part in zip(("train", "held out"), some, strict=True)
    }
    yield quality.report_losses(losses, len(some[0]))
    shown = images[: quality.NUM_INPAINTED_SHOWN]
    quality.save_inpaintings(model, shown, output / "inpaintings.png")
    yield report_completions(
        model, held_out[: options["num_inpainted"]], train.mean(axis=0)
    )


if __name__ == "__main__":
    main()
