"""Measures what checking a preset costs, compared with Keras' own loading.

Saves a U-Net of about thirty million parameters as a preset. Separate processes
load its weights with Keras' `model.load_weights`, and as `from_preset` does:
after a check of the SHA-256, and that the file holds only numbers.

    KERAS_BACKEND=torch python benchmarks/preset_loading.py
"""

import multiprocessing
import pathlib
import resource
import statistics
import tempfile
import time

import click

WAYS = ("Keras", "checked")


def make_model(width):
    import keras_ncsn

    network = keras_ncsn.networks.UNet(
        (32, 32, 3), widths=(width, 2 * width, 2 * width), num_blocks=3
    )
    return keras_ncsn.NCSNModel(network)


def save(folder, width):
    make_model(width).save_to_preset(folder)


def load(pipe, folder, width, way):
    from keras_ncsn.presets import format, loading

    model = make_model(width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    if way == "Keras":
        model.load_weights(pathlib.Path(folder, format.WEIGHTS_FILE))
    else:
        format.check_whole(pathlib.Path(folder))
        loading.load_weights(model, folder)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = model.network.count_params()
    pipe.send((seconds, (after - before) / 1024, after / 1024, parameters))


@click.command()
@click.option("--width", default=120, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(width, rounds):
    """Print seconds and memory of both ways, and their ratios."""
    context = multiprocessing.get_context("spawn")

    def run(function, *args):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=function, args=(sender, *args))
        process.start()
        result = receiver.recv()
        process.join()
        return result

    with tempfile.TemporaryDirectory() as folder:
        preset = str(pathlib.Path(folder, "preset"))
        process = context.Process(target=save, args=(preset, width))
        process.start()
        process.join()
        results = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                results[way].append(run(load, preset, width, way))
    click.echo(f"{results['Keras'][0][3]:,} parameters")
    click.echo("| way | seconds | MiB more at the peak | MiB at the peak |")
    click.echo("|---|---|---|---|")
    medians = {}
    for way in WAYS:
        columns = list(zip(*results[way], strict=True))[:3]
        medians[way] = [statistics.median(column) for column in columns]
        seconds, more, peak = medians[way]
        click.echo(f"| {way} | {seconds:.2f} | {more:.0f} | {peak:.0f} |")
    time_ratio = medians["checked"][0] / medians["Keras"][0]
    peak_ratio = medians["checked"][2] / medians["Keras"][2]
    click.echo(f"ratios: time {time_ratio:.2f}, peak memory {peak_ratio:.2f}")


if __name__ == "__main__":
    main()
