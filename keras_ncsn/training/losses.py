"""The losses of a score network."""

from keras import ops

from keras_ncsn.annotations import Tensor


def denoising_score_matching(scaled_score: Tensor, noise: Tensor) -> Tensor:
    """Returns 0.5 * sum((scaled_score + noise)**2) of each image.

    The score of a noisy image given its clean image is -noise / (a * sigma).
    Scaled by a * sigma it is -noise at every level, so all levels have the
    same weight in the loss. For a network that returns zero, the loss is half
    the number of pixels on average.

    Args:
        scaled_score: Float tensor of shape `(batch, ...)`, the network's score
            times a * sigma.
        noise: Float tensor of that shape, the unit noise that was added.

    Returns:
        A float32 tensor of shape `(batch,)`.

    Example:

    >>> from keras import ops
    >>> loss = denoising_score_matching(ops.zeros((1, 4)), ops.ones((1, 4)))
    >>> float(loss[0])
    2.0

    Reference:

    - [Vincent, 2011](https://doi.org/10.1162/NECO_a_00142);
      [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Equation 5.
    """
    # In float32: squares overflow float16.
    error = ops.cast(scaled_score, "float32") + ops.cast(noise, "float32")
    axes = tuple(range(1, len(error.shape)))
    return 0.5 * ops.sum(ops.square(error), axis=axes)


def sliced_score_matching(
    scaled_score: Tensor, slope: Tensor, projection: Tensor
) -> Tensor:
    """Returns sum(projection * slope + 0.5 * scaled_score**2) of each image.

    It needs no clean image, only the score and its divergence, which is
    estimated along one random direction, the projection. For any network, the
    average over noise and projections is the average of the denoising loss
    minus half the number of pixels. For a network that returns zero, the loss
    is 0.

    Args:
        scaled_score: Float tensor of shape `(batch, ...)`, the network's score
            times a * sigma.
        slope: Float tensor of that shape, a * sigma times the gradient of
            sum(projection * scaled_score) with respect to the noisy images.
        projection: Float tensor of that shape, standard normal.

    Returns:
        A float32 tensor of shape `(batch,)`.

    Example:

    >>> from keras import ops
    >>> score = ops.array([[1.0, -1.0]])  # of the standard normal at (-1, 1)
    >>> projection = ops.array([[1.0, 2.0]])
    >>> loss = sliced_score_matching(score, -projection, projection)
    >>> float(loss[0])
    -4.0

    Reference:

    - [Song et al., 2019](https://arxiv.org/abs/1905.07088), with the variance
      reduced (SSM-VR);
      [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Section 2.1.
    """
    scaled_score, slope, projection = (
        ops.cast(x, "float32") for x in (scaled_score, slope, projection)
    )
    terms = projection * slope + 0.5 * ops.square(scaled_score)
    return ops.sum(terms, axis=tuple(range(1, len(terms.shape))))


def preconditioned_weight(sigma: Tensor, data_std: float) -> Tensor:
    """Returns the weight of each noise level under EDM's weighting.

    EDM multiplies the squared error of the denoised image by
    (sigma**2 + data_std**2) / (sigma * data_std)**2. The error of the scaled
    score is the error of the denoised image divided by sigma, so the weight is
    (sigma**2 + data_std**2) / data_std**2 here.

    Args:
        sigma: Float tensor of noise levels.
        data_std: Float, the standard deviation of the pixels of the data.

    Returns:
        A tensor shaped like `sigma`.

    Example:

    >>> preconditioned_weight(3.0, data_std=1.0)
    10.0

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Table 1.
    """
    return (sigma**2 + data_std**2) / data_std**2
