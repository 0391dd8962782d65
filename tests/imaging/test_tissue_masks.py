"""Shares of tissue in the brain mask of others."""

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.bias import WHITE_MATTER_LEVEL, at_white_level
from pipeline.imaging.tissue_masks import shares_within


@pytest.fixture
def parts(rng):
    """A mask and three probabilities that do not add up, some of them impossible."""
    brain = Volume(rng.random((9, 8, 7)) < 0.6, np.eye(4))
    likely = rng.uniform(0, 1, (3, 9, 8, 7)).astype(np.float32)
    likely[:, :2] = 0
    likely[0, 3], likely[1, 4] = 1.2, np.nan
    return brain, tuple(brain.with_data(part) for part in likely)


def test_shares_add_up_to_one_in_the_mask_and_are_nothing_outside(parts):
    brain, tissues = parts
    shares = shares_within(brain, *tissues)
    total = shares.grey.data + shares.white.data + shares.fluid.data
    np.testing.assert_allclose(total, brain.data, atol=1e-6)
    for share in (shares.grey, shares.white, shares.fluid):
        assert share.data.min() >= 0
        assert not share.data[~brain.data].any()


def test_shares_keep_their_proportions(parts):
    brain, tissues = parts
    shares = shares_within(brain, *tissues)
    inside = brain.data[5:]
    ratio = shares.grey.data[5:][inside] * tissues[1].data[5:][inside]
    np.testing.assert_allclose(
        ratio, shares.white.data[5:][inside] * tissues[0].data[5:][inside], rtol=1e-5, atol=1e-6
    )


def test_brain_without_tissue_counts_as_fluid(parts):
    brain, tissues = parts
    shares = shares_within(brain, *tissues)
    empty = brain.data[:2]
    assert empty.any()
    assert (shares.fluid.data[:2][empty] == 1).all()
    assert not shares.grey.data[:2].any()


def test_white_matter_gets_the_common_level(rng):
    image = Volume(rng.uniform(0, 3000, (20, 20, 20)).astype(np.float32), np.eye(4))
    image.data[0, 0, 0] = np.nan
    brain = image.with_data(np.arange(20)[:, None, None] + np.zeros(image.shape) > 9)
    scaled = at_white_level(image, brain)
    assert np.percentile(scaled.data[brain.data], 90) == pytest.approx(WHITE_MATTER_LEVEL)
    assert np.isfinite(scaled.data).all()
    assert np.corrcoef(scaled.data[brain.data], image.data[brain.data])[0, 1] > 1 - 1e-6


def test_a_brain_in_the_dark_is_refused():
    black = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    with pytest.raises(DataError, match="dark where its brain should be"):
        at_white_level(black, black.with_data(np.ones(black.shape, bool)))
