"""Pictures of samples while a model trains."""

import numpy as np
import pytest
from PIL import Image

import keras_ncsn
from keras_ncsn.callbacks import SamplePictures


def test_pictures_show_the_whole_range_of_a_model(make_model, images, tmp_path):
    model = make_model(value_range=(-1.0, 1.0), sampler="heun")
    model.compile()
    shown = []
    pictures = SamplePictures(
        tmp_path, 1, num_images=1, on_picture=lambda *args: shown.append(args)
    )
    model.fit(2.0 * images - 1.0, batch_size=16, callbacks=pictures, verbose=0)
    ((step, drawn),) = shown
    expected = (model.generate(1, seed=0) + 1.0) / 2.0
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    with Image.open(tmp_path / f"{step:07d}.png") as picture:
        np.testing.assert_allclose(picture, expected[0, ..., 0] * 255, atol=0.6)


def test_pictures_of_points_are_refused_before_training(tmp_path):
    network = keras_ncsn.networks.MLP(2, width=4)
    model = keras_ncsn.NCSNModel(network, value_range=None)
    model.compile()
    with pytest.raises(ValueError, match="without `SamplePictures`"):
        model.fit(
            np.zeros((8, 2), "float32"),
            callbacks=SamplePictures(tmp_path, 1),
            verbose=0,
        )
    assert int(model.optimizer.iterations.value) == 0


def test_training_goes_on_where_sampling_diverges(make_model, images, tmp_path):
    settings = {"annealed_langevin": {"step_size": 1e12, "steps_per_level": 1}}
    model = make_model(sampler_settings=settings)
    model.compile()
    pictures = SamplePictures(tmp_path / "samples", 1, num_images=1)
    with pytest.warns(match="No picture of step 1. Sampling diverged at noise"):
        model.fit(images, batch_size=16, callbacks=pictures, verbose=0)
    assert int(model.optimizer.iterations.value) == 1
    assert not (tmp_path / "samples").exists()
