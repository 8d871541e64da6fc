import keras
import numpy as np
import pytest
from keras import ops

from keras_ncsn import noise
from keras_ncsn.noise import NoiseSchedule

NCSN_LADDER = [
    1.0, 0.599484, 0.359381, 0.215443, 0.129155,
    0.0774264, 0.0464159, 0.0278256, 0.0166810, 0.01,
]  # fmt: skip


def test_geometric_sigmas_equal_the_paper_s():
    sigmas = noise.geometric_sigmas()
    assert sigmas.dtype == np.float64
    np.testing.assert_allclose(sigmas, NCSN_LADDER, rtol=5e-6)


def test_geometric_ratio_is_constant_to_float64():
    sigmas = noise.geometric_sigmas(50.0, 0.01, 232)
    ratios = sigmas[1:] / sigmas[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    assert (sigmas[0], sigmas[-1]) == (50.0, 0.01)


def test_variance_preserving_sigmas_equal_ddpm_s():
    sigmas = noise.variance_preserving_sigmas()
    alpha_bar = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    assert len(sigmas) == 1000
    np.testing.assert_allclose(
        1.0 / (1.0 + sigmas[::-1] ** 2), alpha_bar, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_levels": 1}, "at least 2.*Received: num_levels=1"),
        ({"num_levels": 2.5}, "integer of at least 2.*num_levels=2.5"),
        ({"sigma_min": 0.0}, r"0 < `sigma_min`.*Received: sigma_min=0\.0"),
        ({"sigma_min": 2.0}, "Swap the two"),
        ({"sigma_max": float("nan")}, "sigma_max=nan"),
    ],
)
def test_geometric_sigmas_rejects(kwargs, message):
    valid = {"sigma_max": 1.0, "sigma_min": 0.01, "num_levels": 10}
    with pytest.raises(ValueError, match=message):
        noise.geometric_sigmas(**(valid | kwargs))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_levels": 1}, "at least 2.*Received: num_levels=1"),
        ({"num_levels": 2.5}, "integer of at least 2.*num_levels=2.5"),
        ({"beta_max": 1.0}, r"`beta_max` < 1.*beta_max=1\.0"),
        ({"beta_min": 0.1}, r"beta_min=0\.1"),
    ],
)
def test_variance_preserving_sigmas_rejects(kwargs, message):
    with pytest.raises(ValueError, match=message):
        noise.variance_preserving_sigmas(**kwargs)


@pytest.mark.parametrize(
    "sigmas", [[1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 1.0], [np.nan, 1.0]]
)
def test_schedule_rejects_invalid_ladders(sigmas):
    with pytest.raises(ValueError, match="strictly decreasing.*Received"):
        NoiseSchedule(sigmas)


@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.geometric(), NoiseSchedule.linear_beta()]
)
def test_schedule_survives_its_config(schedule):
    copy = NoiseSchedule.from_config(schedule.get_config())
    assert copy.sigmas.tolist() == schedule.sigmas.tolist()
    assert copy.variance_preserving == schedule.variance_preserving


def test_perturb_explodes_or_preserves_the_variance():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2000, 10), "float32")
    unit = rng.standard_normal((2000, 10), "float32")
    sigma = np.full(2000, 3.0, "float32")
    exploding = NoiseSchedule.geometric(5.0).perturb(images, sigma, unit)
    preserving = NoiseSchedule.linear_beta().perturb(images, sigma, unit)
    assert float(ops.std(exploding)) == pytest.approx(10**0.5, rel=0.02)
    assert float(ops.std(preserving)) == pytest.approx(1.0, rel=0.02)


def test_perturb_takes_the_schedule_s_own_levels():
    schedule = NoiseSchedule.geometric()
    images = np.zeros((2, 10), "float32")
    noisy = schedule.perturb(images, schedule.sigmas[:2], images + 1.0)
    assert keras.backend.standardize_dtype(noisy.dtype) == "float32"
    np.testing.assert_allclose(noisy[:, 0], schedule.sigmas[:2], rtol=1e-6)


@pytest.mark.parametrize("sigma", [1.1, 0.009, float("nan"), [0.5, 2.0]])
def test_check_sigma_rejects_levels_outside_the_schedule(sigma):
    with pytest.raises(ValueError, match="within the schedule.*Received"):
        NoiseSchedule.geometric().check_sigma(sigma)


def test_check_sigma_tolerates_rounding():
    NoiseSchedule.geometric().check_sigma(np.float32([1.0, 0.01]))
