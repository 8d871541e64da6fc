"""The data that `fit` takes and refuses."""

import itertools

import keras
import numpy as np
import pytest
from conftest import needs_torch

from keras_ncsn.training import data

SHAPE = (8, 8, 1)


class Batches(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.images[8 * index : 8 * index + 8], np.zeros(8)


class EndlessBatches(Batches):
    """Without a length: Keras has it so."""

    __len__ = None
    num_batches = None

    def __getitem__(self, index):
        return super().__getitem__(index % 2)


def tf_data(images):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(images).batch(8)


def torch_loader(images):
    import torch

    dataset = torch.utils.data.TensorDataset(torch.tensor(images))
    return torch.utils.data.DataLoader(dataset, batch_size=8)


def bare_torch_loader(images):
    import torch

    return torch.utils.data.DataLoader(torch.tensor(images), batch_size=8)


def generator(images):
    yield images[:8]
    yield images[8:]


@pytest.mark.parametrize(
    "make",
    [
        lambda images: images,
        lambda images: (images * 255).astype("uint8"),
        lambda images: images.astype("float64"),
        Batches,
        tf_data,
        pytest.param(torch_loader, marks=needs_torch),
        pytest.param(bare_torch_loader, marks=needs_torch),
    ],
)
def test_fit_takes(make_model, images, make):
    model = make_model()
    model.compile()
    model.fit(make(images), verbose=0)
    steps = 1 if isinstance(make(images), np.ndarray) else 2
    assert int(model.optimizer.iterations.value) == steps
    assert np.isfinite(model.evaluate(make(images), None, None, 0))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="The others see arrays."
)
@pytest.mark.parametrize("shape", [None, (None, None, None, None)])
def test_a_stream_without_a_shape_is_refused(make_model, images, shape):
    import tensorflow as tf

    model = make_model()
    model.compile()
    stream = tf.data.Dataset.from_generator(
        lambda: generator(images), output_signature=tf.TensorSpec(shape)
    )
    with pytest.raises(ValueError, match=r"TensorSpec\(\(None, 8, 8, 1"):
        model.fit(stream, verbose=0)


@needs_torch
def test_persistent_workers_of_the_given_loader_are_not_reused(images):
    import torch

    loader = torch.utils.data.DataLoader(
        torch.tensor(images),
        batch_size=8,
        num_workers=1,
        persistent_workers=True,
    )
    # They would yield as the loader does whose workers they are.
    loader._iterator = "with workers"
    assert data._of_tuples(loader)._iterator is None
    assert loader._iterator == "with workers"


def test_fit_takes_a_generator(make_model, images):
    model = make_model()
    model.compile()
    batches = itertools.cycle([images[:8], images[8:]])
    model.fit((x for x in batches), steps_per_epoch=2, epochs=2, verbose=0)
    assert int(model.optimizer.iterations.value) == 4


def test_fit_takes_endless_data(make_model, images):
    model = make_model()
    model.compile()
    model.fit(EndlessBatches(images), steps_per_epoch=3, verbose=0)
    assert int(model.optimizer.iterations.value) == 3


@pytest.mark.parametrize(
    "step",
    ["fit", "evaluate", "train_on_batch", "test_on_batch"],
)
def test_a_failed_step_loses_no_weights(make_model, images, monkeypatch, step):
    def fail(model, data):
        raise RuntimeError("no step")

    model = make_model()
    model.compile()
    before = model.network.get_weights()
    monkeypatch.setattr("keras_ncsn.training.step.prepare_images", fail)
    with pytest.raises(RuntimeError, match="no step"):
        getattr(model, step)(images)
    monkeypatch.undo()
    for old, new in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(model.score(images, 0.5)).all()


def test_a_failed_later_step_loses_no_weights(make_model, images):
    def batches():
        yield images[:8]
        yield images[:8]
        raise RuntimeError("no more")

    model = make_model()
    model.compile()
    before = model.network.get_weights()
    with pytest.raises(Exception, match="no more"):
        model.evaluate(batches(), steps=3, verbose=0)
    for old, new in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(model.evaluate(images, verbose=0))
    with pytest.raises(Exception, match="8"):
        model.predict([images[:, :7], np.ones(16, "float32")], verbose=0)
    assert np.isfinite(model.score(images, 0.5)).all()


def test_generator_keeps_its_first_batch():
    batches, _ = data.checked_data(
        iter([np.zeros((1, 8, 8, 1))] * 3), SHAPE, None
    )
    assert len(list(batches)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"shape \(batch, 8, 8, 1\).*\(8, 8, 1\)"),
        (lambda x: x[:, :7], r"images.shape=\(16, 7, 8, 1\)"),
        (lambda x: np.repeat(x, 3, -1), r"images.shape=\(16, 8, 8, 3\)"),
        (lambda x: x * 255, r"lie in \[0, 1\].*max\(images\)=.*uint8"),
        (lambda x: x - 1, r"lie in \[0, 1\].*min\(images\)=-1"),
        (lambda x: np.where(x == x.max(), np.nan, x), "must be finite.*nan"),
        (lambda x: x.astype(str), "must be floats"),
        (lambda x: [x], "one array of images.*Received: a list"),
        (lambda x: iter([]), "at least one batch"),
        (lambda x: x[:0], "at least one image"),
        (lambda x: None, "array of images.*a NoneType"),
        (lambda x: iter([{"image": x}]), "a dictionary of image"),
        (lambda x: generator(x * 2), r"lie in \[0, 1\]"),
        (lambda x: Batches(x * 2), r"lie in \[0, 1\]"),
        pytest.param(
            lambda x: torch_loader(x * 2),
            r"lie in \[0, 1\]",
            marks=needs_torch,
        ),
    ],
)
def test_fit_refuses(make_model, images, change, message):
    model = make_model()
    model.compile()
    before = model.network.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(change(images), verbose=0)
    after = model.network.get_weights()
    assert all(map(np.array_equal, before, after))
