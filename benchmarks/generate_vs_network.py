"""Measures how much of the time of sampling is not the network's.

KERAS_BACKEND=tensorflow python benchmarks/generate_vs_network.py
"""

import time

import click
import numpy as np
from keras import ops

import keras_ncsn
from keras_ncsn import backend


def seconds(function, repeats):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@click.command()
@click.option("--num-images", default=64, show_default=True)
@click.option("--repeats", default=3, show_default=True)
def main(num_images, repeats):
    """Compare annealed Langevin dynamics and Heun with bare network calls."""
    model = keras_ncsn.NCSNModel.from_preset("mnist")
    images = np.zeros((num_images, *model.image_shape), "float32")
    sigma = np.ones(num_images, "float32")
    network = backend.compile_inference(
        lambda noisy, sigma: model.network([noisy, sigma]),
        model.network.variables,
    )
    call = seconds(
        lambda: ops.convert_to_numpy(network(images, sigma)),
        5 * repeats,
    )
    num_levels = model.schedule.num_levels
    runs = {
        "annealed_langevin": ({"steps_per_level": 1}, num_levels + 1),
        "heun": ({"num_steps": 18, "churn": 0.0}, 35),
    }
    print(f"On {backend.BACKEND}:\n")
    print("| sampler | calls | generate | its calls alone | ratio |")
    print("|---|---|---|---|---|")
    for sampler, (settings, calls) in runs.items():
        total = seconds(
            lambda sampler=sampler, settings=settings: model.generate(
                num_images,
                seed=0,
                batch_size=num_images,
                sampler=sampler,
                # No guide: the bare calls do not include it.
                guidance=1.0,
                **settings,
            ),
            repeats,
        )
        print(
            f"| {sampler} | {calls} | {total:.2f} s | {calls * call:.2f} s "
            f"| {total / (calls * call):.2f} |"
        )


if __name__ == "__main__":
    main()
