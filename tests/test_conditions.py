"""Conditions in closed form: Gaussians whose mean depends on the label."""

import functools

import keras
import numpy as np
import pytest
from contract import assert_equal, check_layer, randomize
from keras import ops

from keras_ncsn import Guide, NCSNModel, NoiseSchedule, conditions, samplers
from keras_ncsn.backend import BACKEND
from keras_ncsn.layers import ConditionEmbedding
from keras_ncsn.networks import MLP, UNet
from keras_ncsn.sampling import guided_score_function
from keras_ncsn.training import step

SCHEDULE = NoiseSchedule.geometric(10.0, 0.01)
MEANS, STDS = np.array([-2.0, 1.0, 0.5]), np.array([0.3, 0.6, 1.5])
NAMES = ("left", "right")


@keras.saving.register_keras_serializable(package="tests")
class GaussianScore(keras.layers.Layer):
    """The exact score of two Gaussians; "none" is a third, wider one."""

    def call(self, noisy, sigma, label):
        means, stds = (ops.array(x, "float32") for x in (MEANS, STDS))
        mean, std = ops.take(means, label), ops.take(stds, label)
        variance = ops.square(std) + ops.square(sigma)
        return (mean[:, None] - noisy) / variance[:, None]

    def compute_output_shape(self, noisy_shape, sigma_shape, label_shape):
        return noisy_shape


def gaussian_network():
    inputs = [
        keras.Input((1,)),
        keras.Input(()),
        keras.Input((), dtype="int32"),
    ]
    return keras.Model(inputs, GaussianScore()(*inputs))


def gaussian_model(**kwargs):
    settings = {"value_range": None, "class_names": NAMES, "sampler": "heun"}
    return NCSNModel(gaussian_network(), SCHEDULE, **settings | kwargs)


def exact_score(x, sigma, label):
    variance = STDS[label] ** 2 + sigma**2
    return ((MEANS[label] - x.T) / variance).T


X = np.linspace(-3.0, 3.0, 6, dtype="float32")[:, None]
SIGMA = np.geomspace(0.05, 5.0, 6).astype("float32")


def test_score_equals_the_exact_score_of_the_label():
    labels = [0, 1, "none", "right", "0", 1]
    expected = exact_score(X, SIGMA, np.array([0, 1, 2, 1, 0, 1]))
    score = gaussian_model().score(X, SIGMA, labels=labels)
    assert_equal(score, expected, rtol=1e-6)
    assert_equal(
        gaussian_model().score(X, SIGMA),
        exact_score(X, SIGMA, np.full(6, 2)),
        rtol=1e-6,
    )


def test_denoised_image_equals_the_exact_one_of_the_label():
    labels = np.array([0, 1, 0, 1, 0, 1])
    clean = gaussian_model().denoise(X, SIGMA, labels=labels, batch_size=4)
    expected = X + (SIGMA**2)[:, None] * exact_score(X, SIGMA, labels)
    assert_equal(clean, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "sampler",
    [
        samplers.Heun(num_steps=20),
        # It ends with a wider distribution, as its finite steps do.
        samplers.AnnealedLangevin(steps_per_level=20),
    ],
)
def test_samples_have_the_mean_of_their_label(sampler):
    labels = np.arange(2000) % 2
    samples = gaussian_model().generate(
        labels=labels, seed=0, batch_size=500, sampler=sampler
    )[:, 0]
    for label in (0, 1):
        of_label = samples[labels == label]
        assert abs(of_label.mean() - MEANS[label]) < 0.08
        assert abs(of_label.std() - STDS[label]) < 0.15


def guided_score(x, sigma, label, weight):
    score, none = exact_score(x, sigma, label), exact_score(x, sigma, 2)
    return score + (weight - 1.0) * (score - none)


def test_guided_score_has_its_closed_form():
    guide = Guide(weight=3.0, sigma_range=(0.1, 1.0))
    model = gaussian_model(guide=guide)
    labels = np.array([0, 1, 0, 1, 0, 2])
    guided = guided_score_function(model, guide, 3.0).bind(labels)
    expected = exact_score(X, SIGMA, labels)
    inside = (SIGMA >= 0.1) & (SIGMA <= 1.0)
    for row in np.flatnonzero(inside & (labels < 2)):
        expected[row] = guided_score(X[row], SIGMA[row], labels[row], 3.0)
    assert inside.sum() == 3
    assert_equal(guided(*map(ops.array, (X, SIGMA))), expected, rtol=1e-6)


def test_guided_flow_has_its_exact_solution():
    # The flow dx/dsigma = -sigma * score is linear: dx/dsigma = a x - g.
    weight, label = 2.0, 0
    model = gaussian_model(guide=Guide(weight=weight, sigma_range=(0.0, 99.0)))
    samples = model.generate(
        4000, seed=0, labels=label, batch_size=4000, num_steps=60
    )[:, 0]
    sigma = np.geomspace(1e-6, SCHEDULE.sigma_max, 20_000)
    v, v_none = STDS[label] ** 2 + sigma**2, STDS[2] ** 2 + sigma**2
    # The homogeneous solution, and the constant term.
    h = v ** (weight / 2) * v_none ** ((1 - weight) / 2)
    g = weight * MEANS[label] / v - (weight - 1) * MEANS[2] / v_none
    integrand = sigma * g / h
    # The trapezoidal rule, whose name differs between versions of NumPy.
    mean = h[0] * np.diff(sigma) @ (integrand[1:] + integrand[:-1]) / 2
    std = SCHEDULE.sigma_max * h[0] / h[-1]
    assert abs(samples.mean() - mean) < 0.02
    assert abs(samples.std() - std) < 0.01
    # The Gaussian whose score is the guided one at sigma = 0 is another.
    tilted = (weight / STDS[label] ** 2 - (weight - 1) / STDS[2] ** 2) ** -0.5
    assert abs(std - tilted) > 0.1


def test_worse_score_may_mix_both_sources():
    worse = MLP(1, width=4, num_layers=1)
    randomize(worse, 1)
    model = gaussian_model()
    guide = Guide(worse, 3.0, (0.0, 99.0), unconditional_share=0.25)
    labels = np.array([0, 1, 0, 1, 0, 1])
    score, none = (exact_score(X, SIGMA, x) for x in (labels, 2))
    of_network = ops.convert_to_numpy(worse([X, SIGMA]))
    expected = score + 2.0 * (score - 0.25 * none - 0.75 * of_network)
    guided = guided_score_function(model, guide, 3.0).bind(labels)
    assert_equal(guided(*map(ops.array, (X, SIGMA))), expected, rtol=1e-5)


def test_guide_with_a_condition_gets_the_label():
    model = gaussian_model(guide=Guide(gaussian_network(), 2.0, (0.0, 99.0)))
    guided = model.generate(4, seed=1, labels=1)
    assert_equal(guided, model.generate(4, seed=1, labels=1, guidance=1), 1e-6)


def test_guidance_needs_no_guide_in_a_conditional_model():
    model = gaussian_model()
    plain = model.generate(8, seed=0, labels=0)
    assert_equal(plain, model.generate(8, seed=0, labels=0, guidance=1))
    guided = model.generate(8, seed=0, labels=0, guidance=3.0)
    same = gaussian_model(guide=Guide(weight=3.0))
    assert_equal(guided, same.generate(8, seed=0, labels=0))
    assert np.abs(guided - plain).max() > 0.01
    # Where there is no label, there is nothing to move away from.
    assert_equal(
        model.generate(8, seed=0, labels="none"),
        model.generate(8, seed=0, labels="none", guidance=3.0),
        rtol=1e-6,
    )
    assert len(model.guided_score_functions) == 1


def test_labels_are_drawn_as_in_the_training_data():
    model = gaussian_model(class_counts=[1, 3])
    samples = model.generate(400, seed=0, num_steps=12)[:, 0]
    # The classes are four standard deviations apart.
    assert abs((samples > -0.7).mean() - 0.75) < 0.06
    first = model.generate(20, seed=0, num_steps=12, batch_size=7)[:, 0]
    assert_equal(first, samples[:20], rtol=1e-6)


def test_fit_counts_the_labels_of_an_array():
    model = NCSNModel(MLP(num_classes=3), value_range=None)
    model.compile()
    points = np.zeros((8, 2), "float32")
    model.fit(points, np.array([0, 0, 0, 2, 2, 0, 0, 0]), verbose=0)
    assert model.class_counts == (6, 0, 2)
    drawn = model.condition.drawn(seed=3, count=50)
    assert set(drawn.tolist()) == {0, 2}


def test_image_depends_on_its_own_label_alone():
    network = UNet((8, 8, 1), widths=(8,), num_blocks=1, num_classes=3)
    randomize(network, 0)
    model = NCSNModel(network, sampler="heun")
    settings = {"seed": 5, "num_steps": 3, "verbose": 0}
    mixed = model.generate(labels=[0, 1, 2, "none"], batch_size=3, **settings)
    for index, label in enumerate([0, 1, 2, "none"]):
        alone = model.generate(4, labels=label, **settings)
        assert_equal(alone[index], mixed[index], rtol=1e-5)
        assert np.abs(alone[index] - alone[index - 1]).max() > 0.01
    same_noise = model.generate(4, labels=0, **settings)[1]
    assert np.abs(same_noise - mixed[1]).max() > 1e-3


def test_one_seed_has_one_noise_whatever_the_label():
    # The flow of a Gaussian is linear in the noise.
    left, right = (
        gaussian_model().generate(50, seed=0, labels=label)[:, 0]
        for label in NAMES
    )
    assert np.corrcoef(left, right)[0, 1] > 0.9999
    other = gaussian_model().generate(50, seed=1, labels="right")[:, 0]
    assert abs(np.corrcoef(left, other)[0, 1]) < 0.5


def test_inpaint_takes_labels():
    model = gaussian_model()
    filled = model.inpaint(
        np.zeros((2, 1), "float32"),
        np.zeros((2, 1), "bool"),
        num_samples=300,
        seed=0,
        labels=["left", "right"],
    )
    assert filled.shape == (2, 300, 1)
    assert_equal(filled.mean((1, 2)), MEANS[:2], rtol=0.1)
    of_none = model.inpaint(
        np.zeros((1, 1), "float32"),
        np.zeros((1, 1), "bool"),
        num_samples=300,
        seed=0,
    )
    assert abs(of_none.mean() - MEANS[2]) < 0.2


def test_network_takes_a_vector():
    network = UNet((8, 8, 1), widths=(8,), num_blocks=1, condition_size=3)
    randomize(network, 0)
    model = NCSNModel(network, sampler="heun")
    vectors = np.random.default_rng(0).standard_normal((2, 3))
    images = model.generate(conditions=vectors, seed=0, num_steps=3)
    one = model.generate(2, conditions=vectors[1], seed=0, num_steps=3)
    assert_equal(one[1], images[1], rtol=1e-5)
    none = model.generate(2, seed=0, num_steps=3)
    assert np.isfinite(none).all()
    assert np.abs(none - images).max() > 1e-3
    # NaN means "none", whatever the vector was.
    nan = np.full((2, 3), np.nan)
    assert_equal(model.generate(conditions=nan, seed=0, num_steps=3), none)


# The score of a corner pixel of each image, computed on TensorFlow.
GOLDEN = {
    "num_classes": [-1.195029, -2.759658, -0.2829171, -0.2832819],
    "condition_size": [-1.192171, -2.72186, -0.3191883, -0.2832819],
}


@pytest.mark.parametrize("name", ["num_classes", "condition_size"])
def test_backends_agree(name):
    network = UNet((4, 4, 1), widths=(8,), num_blocks=1, **{name: 3})
    rng = np.random.default_rng(0)
    network.set_weights(
        [0.3 * rng.standard_normal(w.shape) for w in network.get_weights()]
    )
    noisy = rng.standard_normal((4, 4, 4, 1)).astype("float32")
    sigma = np.array([0.1, 0.5, 1.0, 2.0], "float32")
    condition = rng.standard_normal((4, 3)).astype("float32")
    condition[3] = np.nan
    if name == "num_classes":
        condition = np.array([0, 1, 2, 3])
    score = ops.convert_to_numpy(network([noisy, sigma, condition]))
    assert_equal(score[:, 0, 0, 0], np.array(GOLDEN[name]), rtol=1e-4)


def test_table_starts_around_zero():
    layer = ConditionEmbedding(100, 100)
    layer.build((None,))
    table = layer.get_weights()[0]
    assert abs(table.mean()) < 0.02
    assert table.std() == pytest.approx(0.5, rel=0.05)


def test_labels_may_be_a_tensor():
    model = gaussian_model()
    expected = model.score(X, SIGMA, labels=[0, 1, 0, 1, 0, 1])
    labels = ops.array([0, 1, 0, 1, 0, 1])
    assert_equal(model.score(X, SIGMA, labels=labels), expected)


def test_number_in_a_string_is_the_name_of_a_class():
    labels = conditions.Labels(("1", "2", "3"))
    assert labels.chosen(["1", 1], count=2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="A label must be"):
        labels.index("0")


def test_most_classes_have_names_that_a_preset_can_store():
    names = conditions.checked_class_names(None, 2**16)
    assert conditions.checked_class_names(names, 2**16) == names
    with pytest.raises(ValueError, match="at most 65,536"):
        MLP(num_classes=2**16 + 1)


def test_embedding_keeps_the_layer_contract():
    check_layer(ConditionEmbedding(5, 4), np.array([0, 3, 5]))
    vectors = np.array([[0.1, 2.0], [np.nan, np.nan]], "float32")
    check_layer(ConditionEmbedding(2, 4), vectors)


def table_after_training(condition_dropout, labels):
    keras.utils.set_random_seed(0)
    model = NCSNModel(
        MLP(width=8, num_layers=1, num_classes=2),
        value_range=None,
        seed=0,
        condition_dropout=condition_dropout,
    )
    model.compile(keras.optimizers.SGD(0.1))
    layer = model.network.get_layer("embed_condition")
    before = layer.get_weights()[0]
    points = np.random.default_rng(0).standard_normal((16, 2), "float32")
    model.fit(points, labels, batch_size=8, verbose=0)
    return before, layer.get_weights()[0], model.loss_tracker.result()


def test_condition_dropout_of_0_and_1():
    labels = np.arange(16) % 2
    before, after, _ = table_after_training(0.0, labels)
    assert_equal(before[2], after[2])
    assert np.abs(before - after)[:2].max() > 1e-4
    before, after, loss = table_after_training(1.0, labels)
    assert_equal(before[:2], after[:2])
    assert np.abs(before - after)[2].max() > 1e-4
    # Without their labels, images do not depend on them.
    _, again, same_loss = table_after_training(1.0, labels[::-1].copy())
    assert_equal(again, after)
    assert float(same_loss) == float(loss)


def test_the_given_share_of_conditions_is_dropped():
    model = gaussian_model(condition_dropout=0.3, seed=0)
    labels = np.arange(4000) % 2
    dropped = step.prepare_condition(model, (None, labels), 0.3)
    dropped = ops.convert_to_numpy(dropped)
    kept = dropped == labels
    assert abs(kept.mean() - 0.7) < 0.03
    assert (dropped[~kept] == 2).all()


def test_the_given_share_of_vectors_is_dropped():
    model = NCSNModel(MLP(condition_size=3), value_range=None, seed=0)
    vectors = np.random.default_rng(0).standard_normal((4000, 3), "float32")
    dropped = step.prepare_condition(model, (None, vectors), 0.3)
    dropped = ops.convert_to_numpy(dropped)
    missing = np.isnan(dropped)
    assert (missing.any(1) == missing.all(1)).all()
    assert abs(missing.mean() - 0.3) < 0.03
    assert_equal(dropped[~missing], vectors[~missing])


def network_without_none(kind):
    noisy, sigma = keras.Input((2,)), keras.Input(())
    if kind == "labels":
        condition = keras.Input((), dtype="int32")
        embedded = keras.layers.Embedding(3, 2)(condition)
    else:
        condition = keras.Input((2,))
        embedded = keras.layers.Dense(2)(condition)
    score = keras.layers.Add()([noisy, embedded])
    return keras.Model([noisy, sigma, condition], score)


@pytest.mark.parametrize("kind", ["labels", "vectors"])
def test_network_that_does_not_know_none_is_refused(kind):
    settings = {"value_range": None}
    conditions = np.zeros((4, 2), "float32")
    if kind == "labels":
        settings["class_names"] = ["a", "b", "c"]
        conditions = np.arange(4) % 3
    network = network_without_none(kind)
    model = NCSNModel(network, **settings)
    with pytest.raises(ValueError, match="unless.*`condition_dropout=0`"):
        model.compile()
    model = NCSNModel(network, condition_dropout=0.0, **settings)
    model.compile()
    model.fit(POINTS, conditions, verbose=0)


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return self.images[rows], self.labels[rows]


def as_dataset(images, labels):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


def as_loader(images, labels):
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(x) for x in (images, labels)]
    dataset = torch.utils.data.TensorDataset(*tensors)
    return torch.utils.data.DataLoader(dataset, batch_size=8)


def as_generator(images, labels):
    batches = Batches(images, labels)
    return (batches[index] for index in range(2))


FORMS = {
    "tuple": lambda images, labels: ((images, labels),),
    "arrays": lambda images, labels: (images, labels),
    "tensors": lambda images, labels: (ops.array(images), ops.array(labels)),
    "tf.data": lambda *data: (as_dataset(*data),),
    "PyDataset": lambda *data: (Batches(*data),),
    "DataLoader": lambda *data: (as_loader(*data),),
    "generator": lambda *data: (as_generator(*data),),
}


@pytest.mark.parametrize(
    ("form", "kind"),
    [(form, "labels") for form in FORMS] + [("tuple", "vectors")],
)
def test_fit_takes_conditions_in_each_form(form, kind):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((16, 2), "float32")
    labels = np.arange(16) % 2
    network = MLP(width=8, num_layers=1, num_classes=2)
    if kind == "vectors":
        labels = rng.standard_normal((16, 3), "float32")
        network = MLP(width=8, num_layers=1, condition_size=3)
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    model = NCSNModel(network, value_range=None, seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    arguments = FORMS[form](points, labels)
    kwargs = {}
    if form in ("tuple", "arrays", "tensors"):
        kwargs = {"batch_size": 8}
    elif form == "generator":
        kwargs = {"steps_per_epoch": 2}
    model.fit(*arguments, shuffle=False, verbose=0, **kwargs)
    expected = NCSNModel(copy, value_range=None, seed=0)
    expected.compile(keras.optimizers.SGD(0.01))
    expected.fit(points, labels, batch_size=8, shuffle=False, verbose=0)
    for ours, theirs in zip(
        model.get_weights(), expected.get_weights(), strict=True
    ):
        assert_equal(ours, theirs, rtol=1e-5)


def test_evaluate_and_validation_use_the_condition():
    model = gaussian_model(seed=0)
    model.compile()
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    points = MEANS[labels] + STDS[labels] * rng.standard_normal(2000)
    points = points[:, None].astype("float32")
    right = model.evaluate(points, labels, batch_size=500, verbose=0)
    wrong = model.evaluate((points, 1 - labels), batch_size=500, verbose=0)
    assert right < 0.8 * wrong
    on_batch = model.test_on_batch(points, labels)
    assert abs(float(on_batch) - right) < 0.1 * right
    history = NCSNModel(MLP(1, num_classes=2), value_range=None)
    history.compile()
    losses = history.fit(
        points,
        labels,
        batch_size=500,
        validation_data=(points, labels),
        verbose=0,
    ).history
    assert np.isfinite(losses["val_loss"]).all()


def test_unconditional_model_still_ignores_labels():
    points = np.zeros((8, 2), "float32")
    model = NCSNModel(MLP(width=4), value_range=None)
    model.compile()
    model.fit(points, np.full(8, -7), verbose=0)
    model.fit((points, np.full(8, -7)), verbose=0)
    assert model.condition is None


POINTS = np.zeros((4, 2), "float32")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "images alone"),
        (np.zeros(3, int), "one label for each image"),
        (np.zeros(4), "integers"),
        (np.array([0, 1, 2, 3]), "from 0 to 2"),
        (np.array([0, 1, 2, -1]), "from 0 to 2"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_labels_that_do_not_fit_are_refused(labels, message, stream):
    model = NCSNModel(MLP(width=4, num_classes=3), value_range=None)
    model.compile()
    data = (POINTS, labels)
    if stream:
        data = (iter([POINTS if labels is None else (POINTS, labels)]),)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(*data, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert_equal(old, new)


@pytest.mark.parametrize("labels", [np.full(4, 99), np.full(4, 0.7)])
def test_later_labels_of_a_generator_are_checked(labels):
    model = NCSNModel(MLP(width=4, num_classes=3), value_range=None)
    model.compile()
    batches = iter([(POINTS, np.zeros(4, int)), (POINTS, labels)])
    # On TensorFlow it is an error of the data pipeline that quotes ours.
    with pytest.raises(Exception, match="`labels` must be"):
        model.fit(batches, steps_per_epoch=2, verbose=0)


def test_labels_of_a_step_must_be_integers():
    model = gaussian_model()
    with pytest.raises(ValueError, match="`labels` must be integers.*float"):
        step.prepare_condition(model, (None, np.full(4, 0.7)))


@pytest.mark.parametrize("num_classes", [None, 2])
def test_weights_in_the_data_are_refused(num_classes):
    model = NCSNModel(MLP(width=4, num_classes=num_classes), value_range=None)
    model.compile()
    data = POINTS, np.zeros(4, int)
    weighted = *data, np.ones(4)
    for arguments in (
        {"x": weighted},
        {"x": iter([weighted])},
        {"x": data, "validation_data": weighted},
    ):
        with pytest.raises(ValueError, match="no weights.*sample_weight"):
            model.fit(**arguments, verbose=0)


@pytest.mark.parametrize("form", ["tuple", "tf.data", "generator"])
@pytest.mark.parametrize("num_classes", [None, 2])
def test_labels_that_are_given_twice_are_refused(form, num_classes):
    model = NCSNModel(MLP(width=4, num_classes=num_classes), value_range=None)
    model.compile()
    (x,) = FORMS[form](POINTS, np.zeros(4, int))
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="only if `x` is one array.*: `y`"):
            method(x, np.ones(4, int), verbose=0)
    for method in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="only if `x` is one array.*: `y`"):
            method(x, np.ones(4, int))


def test_vectors_that_do_not_fit_are_refused():
    model = NCSNModel(MLP(width=4, condition_size=2), value_range=None)
    model.compile()
    half = np.full((4, 2), np.nan)
    half[0, 0] = 1.0
    for wrong in (np.zeros((4, 3)), np.full((4, 2), np.inf), half):
        with pytest.raises(ValueError, match="`conditions` must"):
            model.fit(POINTS, wrong, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": 2}, "from 0 to 1"),
        ({"labels": -1}, "from 0 to 1"),
        ({"labels": "frog"}, "left, right"),
        ({"labels": [0, 1, 0]}, "one label, or one for each"),
        ({"labels": 1.0}, "from 0 to 1"),
        ({"labels": [[0], [0, 1]]}, "`labels` must have elements of one"),
        (
            {"num_images": None, "labels": [[0], [0, 1]]},
            "`labels` must have elements of one shape",
        ),
        ({"conditions": [1.0]}, "takes labels"),
    ],
)
def test_wrong_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_model().generate(**{"num_images": 2} | arguments)


@pytest.mark.parametrize("num_images", [None, 2])
def test_conditions_of_unequal_lengths_are_refused(num_images):
    model = NCSNModel(MLP(width=4, condition_size=2), value_range=None)
    with pytest.raises(ValueError, match="`conditions` must have elements of"):
        model.generate(num_images, conditions=[[0.0, 1.0], [0.0]])


def test_labels_may_be_a_column():
    model = gaussian_model()
    expected = model.generate(labels=[0, 1], seed=0, num_steps=3)
    for column in (np.array([[0], [1]]), [["left"], ["right"]]):
        images = model.generate(labels=column, seed=0, num_steps=3)
        assert_equal(images, expected)


def test_label_is_refused_where_the_network_takes_none():
    model = NCSNModel(MLP(width=4), value_range=None)
    for method in (model.score, model.denoise):
        with pytest.raises(ValueError, match="takes no condition"):
            method(POINTS, 0.1, labels=1)
    with pytest.raises(ValueError, match="guidance"):
        model.generate(1, guidance=2.0)


def test_model_without_dropout_needs_labels():
    model = gaussian_model(condition_dropout=0.0)
    assert model.generate(2, labels="left", seed=0, num_steps=3).shape == (2, 1)
    assert model.generate(2, seed=0, num_steps=3).shape == (2, 1)
    for labels in ("none", [0, "none"]):
        with pytest.raises(ValueError, match="condition_dropout=0"):
            model.generate(2, labels=labels)
    with pytest.raises(ValueError, match="condition_dropout=0"):
        model.score(X, SIGMA)
    with pytest.raises(ValueError, match="condition_dropout"):
        model.generate(2, guidance=2.0)
    with pytest.raises(ValueError, match="condition_dropout"):
        gaussian_model(condition_dropout=0.0, guide=Guide())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": None}, "needs `class_names`"),
        ({"class_names": ["a", "a"]}, "different strings"),
        ({"class_names": ["a", "none"]}, "different strings"),
        ({"class_names": "ab"}, "different strings"),
        ({"class_counts": [1, 2, 3]}, "class_counts"),
        ({"class_counts": [0, 0]}, "class_counts"),
        ({"class_counts": [-1, 2]}, "class_counts"),
        ({"condition_dropout": 1.5}, "condition_dropout"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_model(**arguments)


def test_hostile_names_of_classes_are_shown_short_and_harmless():
    names = ["cat\nError: all is lost\x1b[31m", "x" * 10_000]
    with pytest.raises(ValueError, match="A label must be") as raised:
        gaussian_model(class_names=names).generate(1, labels="frog")
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()
    with pytest.raises(ValueError, match="at most 786,432 bytes"):
        gaussian_model(class_names=["a", "b" * 2**20])


def test_wrong_networks_are_refused():
    with pytest.raises(ValueError, match="label or a vector"):
        UNet((8, 8, 1), num_classes=2, condition_size=3)
    with pytest.raises(ValueError, match="3 names, and 2 classes"):
        NCSNModel(MLP(num_classes=2), class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="takes labels"):
        NCSNModel(MLP(condition_size=2), class_names=["a", "b"])
    inputs = [keras.Input((1,)), keras.Input(()), keras.Input((3, 3))]
    network = keras.Model(inputs, keras.layers.Identity()(inputs[0]))
    with pytest.raises(ValueError, match="third input"):
        NCSNModel(network)
    with pytest.raises(ValueError, match="same condition"):
        NCSNModel(MLP(num_classes=2), guide=Guide(MLP(num_classes=3)))
    with pytest.raises(ValueError, match="unconditional_share"):
        Guide(unconditional_share=0.5)
    model = NCSNModel(MLP(num_classes=2), value_range=None)
    with pytest.raises(ValueError, match="one tensor for each input"):
        model([POINTS, np.ones(4, "float32")])


@pytest.mark.parametrize("network", [MLP, functools.partial(UNet, (8, 8, 1))])
@pytest.mark.parametrize("name", ["num_classes", "condition_size"])
@pytest.mark.parametrize("size", [-1, 0, 2.5, True, "3", 2**16 + 1])
def test_sizes_of_conditions_are_refused_by_their_names(network, name, size):
    with pytest.raises(ValueError, match=f"`{name}` must.*: {name}={size!r}"):
        network(**{name: size})


def test_preset_keeps_labels_and_guide(tmp_path):
    network = MLP(width=8, num_layers=1, num_classes=2)
    randomize(network, 0)
    model = NCSNModel(
        network,
        value_range=None,
        sampler="heun",
        sampler_settings={"heun": {"num_steps": 3}},
        class_names=NAMES,
        class_counts=[5, 2],
        condition_dropout=0.2,
        guide=Guide(weight=2.5),
        ema_momentum=0.9,
    )
    model.save_to_preset(tmp_path / "preset")
    copy = NCSNModel.from_preset(tmp_path / "preset")
    assert copy.class_names == NAMES
    assert copy.class_counts == (5, 2)
    assert copy.condition_dropout == 0.2
    assert (copy.guide.network, copy.guide.weight) == (None, 2.5)
    expected = model.generate(labels=["left", "none"], seed=0)
    assert_equal(copy.generate(labels=["left", "none"], seed=0), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(loaded.generate(labels=["left", "none"], seed=0), expected)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
@pytest.mark.parametrize(
    "sampler",
    [samplers.Heun(num_steps=3), samplers.AnnealedLangevin(steps_per_level=2)],
)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_other_labels_do_not_recompile_the_network(
    sampler, guidance, monkeypatch
):
    traced = []
    call = GaussianScore.call

    def count(self, noisy, sigma, label):
        traced.append(label)
        return call(self, noisy, sigma, label)

    # Python runs it when a compiled function is traced, and never after.
    monkeypatch.setattr(GaussianScore, "call", count)
    model = gaussian_model(sampler=sampler)
    for method in (
        functools.partial(model.generate, seed=0, guidance=guidance),
        functools.partial(model.score, X[:2], 0.5),
    ):
        method(labels=[0, 1])
        assert traced
        traced.clear()
        method(labels=[1, 1])
        method(labels=["none", 0])
        assert not traced
