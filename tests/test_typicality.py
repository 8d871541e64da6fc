import numpy as np
import pytest
from contract import assert_equal
from exact_scores import MEAN, SPREAD, gaussian_score

from keras_ncsn.score_function import ScoreFunction
from keras_ncsn.typicality import Reference, score_norm

RNG = np.random.default_rng(0)


def test_norms_equal_those_of_the_exact_score():
    x = RNG.random((5, 3), "float32")
    norms = ScoreFunction(gaussian_score).run(score_norm, x, 0.3)
    lengths = np.linalg.norm(x - MEAN, axis=1)
    assert_equal(norms, 0.3 * lengths / (SPREAD**2 + 0.3**2), rtol=1e-6)


def test_typicality_is_the_distance_in_standard_deviations():
    mixing = RNG.standard_normal((3, 3))
    features = 7.0 + RNG.standard_normal((20_000, 3)) @ mixing.T
    z = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 2.0], [0.0, 5.0, 0.0]])
    found = Reference.of("score_norms", features).typicality(7.0 + z @ mixing.T)
    np.testing.assert_allclose(found, [0.0, -3.0, -5.0], atol=0.15)


def test_features_that_never_vary_are_left_out():
    features = np.column_stack([RNG.standard_normal(2000), np.ones(2000)])
    reference = Reference.of("score_norms", features)
    found = reference.typicality(np.array([[2.0, 1.0]]))
    assert found[0] == pytest.approx(-2.0, abs=0.15)
