"""The log of losses, and the preset of the lowest."""

import json
import time

import numpy as np
import pytest
from conftest import files_may_grow_to, two_convolutions
from training_runs import read_rows

import keras_ncsn
from keras_ncsn import datasets
from keras_ncsn.backend import BACKEND
from keras_ncsn.callbacks import TrainingLog, log_file
from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.runs import run_file


def test_best_is_the_lowest_loss_on_held_out_images(tmp_path, images):
    class Worsen(EverySteps):
        """After the second step the network is worse than before."""

        def on_step(self, step, logs):
            if step > 2:
                for weight in self.model.network.trainable_variables:
                    weight.assign(weight + 10.0)

    model = keras_ncsn.NCSNModel(two_convolutions(), seed=0)
    model.compile("sgd")
    log = TrainingLog(
        tmp_path, 2, 4, validation_images=images, validate_every=2
    )
    model.fit(
        datasets.shuffled_batches(images, 4, seed=0),
        steps_per_epoch=6,
        callbacks=[Worsen(1), log],
        verbose=0,
    )
    losses = [float(row["validation_loss"]) for row in read_rows(tmp_path)]
    assert losses[0] < min(losses[1:])
    metadata = json.loads((tmp_path / "best" / "metadata.json").read_text())
    assert metadata["steps"] == 2


def log_of(tmp_path, model, images, num_fits=1, steps=4, epochs=1, **options):
    """Returns the steps of the rows, and the history of the last `fit`."""
    options = {"validation_images": images, "validate_every": 4} | options
    log = TrainingLog(tmp_path, 2, 4, **options)
    for seed in range(num_fits):
        history = model.fit(
            datasets.shuffled_batches(images, 4, seed),
            steps_per_epoch=steps,
            epochs=epochs,
            callbacks=[log],
            verbose=0,
        )
    return read_rows(tmp_path), history.history["loss"]


def test_an_epoch_that_ends_on_a_row_has_its_loss(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    rows, losses = log_of(tmp_path, model, images, epochs=2)
    # The mean since the row before.
    expected = [float(rows[index]["loss"]) for index in (1, 3)]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert min(losses) > 0


def test_a_log_continues_in_the_next_fit(tmp_path, make_model, images):
    model = make_model()
    model.compile("sgd")
    rows, _ = log_of(tmp_path, model, images, num_fits=2, steps=5)
    # Each `fit` has its last step in the log.
    assert [row["step"] for row in rows] == ["2", "4", "5", "6", "8", "10"]
    validated = [row["step"] for row in rows if row["validation_loss"]]
    assert validated == ["4", "5", "8", "10"]


@pytest.mark.skipif(
    BACKEND == "torch", reason="Keras takes one step at a time on PyTorch"
)
def test_several_steps_per_execution_are_validated(
    tmp_path, make_model, images
):
    model = make_model()
    model.compile("sgd", steps_per_execution=3)
    rows, _ = log_of(tmp_path, model, images, steps=9)
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    validated = [row["step"] for row in rows if row["validation_loss"]]
    assert validated == ["6", "9"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda images: images[:, :4], "validation_images.shape"),
        (lambda images: 200.0 * images, r"`validation_images` must lie in"),
    ],
)
def test_invalid_held_out_images_are_refused_at_once(
    tmp_path, make_model, images, wrong, message
):
    model = make_model()
    model.compile("sgd")
    held_out = wrong(images.astype("float32"))
    with pytest.raises(ValueError, match=message):
        log_of(tmp_path, model, images, validation_images=held_out)
    assert not (tmp_path / "log.csv").exists()


@pytest.mark.parametrize("name", ["best", ".best.abcd1234.old"])
def test_a_persons_folder_in_place_of_best_is_refused_at_once(
    tmp_path, make_model, images, name
):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("mine")
    model = make_model()
    model.compile("sgd")
    with pytest.raises(ValueError, match="must be saved to a new or empty"):
        log_of(tmp_path, model, images)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_images_per_second_leave_out_other_work(tmp_path, make_model, images):
    class Dawdle(EverySteps):
        def on_step(self, step, logs):
            time.sleep(0.25)

    model = make_model()
    model.compile("sgd")
    log = TrainingLog(tmp_path, 2, batch_size=4)
    model.fit(images, batch_size=4, callbacks=[Dawdle(1), log], verbose=0)
    # The first row has the compilation.
    assert float(read_rows(tmp_path)[1]["images_per_second"]) > 2 * 4 / 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 2, "validate_every": 3}, "validate_every=3, every=2"),
        ({"every": 2, "validate_every": 4}, "validation_images.*=4"),
        ({"every": 0}, "every=0"),
    ],
)
def test_log_rejects(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingLog(tmp_path, batch_size=4, **arguments)


def test_a_log_on_a_full_disk_says_so_and_is_read_without_half_a_row(tmp_path):
    path, columns = tmp_path / "log.csv", ["step", "seconds"]
    log_file.write_log(path, columns, [{"step": 1, "seconds": 2.0}])
    with files_may_grow_to(path.stat().st_size + 3):
        with pytest.raises(OSError, match=r"log could not.*\.csv: F.*Make"):
            log_file.write_log(path, columns, [{"step": 10**9}])
        with pytest.raises(OSError, match=r"run could not.*\.json: F.*Make"):
            run_file.write(tmp_path, {"data": "x" * 99})
        with pytest.raises(OSError, match=r"row of step 2 could not.*\.csv: F"):
            log_file.append_row(path, columns, {"step": 2, "seconds": 3.0})
    rows = list(log_file.read_log(path))
    assert rows == [{"step": "1", "seconds": "2.0"}]
