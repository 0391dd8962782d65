"""Maps of a cohort against plain arithmetic, SciPy, nilearn, and simulated truth."""

from itertools import product

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import smooth_img
from scipy import ndimage, stats

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.mni_regions import MniMask, MniShape
from pipeline.io.group_maps import (
    changes,
    common_voxels,
    mean_map,
    regions_in_mni,
    template_mask,
)
from pipeline.io.images import write_array
from pipeline.io.map_inference import Inference, compare_maps, smallest_p

AFFINE = np.array([[4.0, 0, 0, -40], [0, 4, 0, -48], [0, 0, 4, -40], [0, 0, 0, 1]])
SMALL = (10, 12, 10)


@pytest.fixture
def saved(tmp_path):
    """Writes arrays as maps; returns their paths."""

    def save(data, affine=AFFINE):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.nii.gz"
        return str(write_array(path, np.asarray(data, np.float32), affine))

    return save


def smooth_noise(rng, n, shape, sd=0.15, fwhm_mm=8.0):
    """Stationary Gaussian fields (n, X, Y, Z) of a standard deviation, voxels of 4 mm."""
    margin, sigma = 6, fwhm_mm / 2.3548 / 4
    wide = rng.standard_normal((n, *(side + 2 * margin for side in shape)))
    inner = (slice(margin, -margin),) * 3
    fields = np.array([ndimage.gaussian_filter(field, sigma)[inner] for field in wide])
    return sd * fields / (2 * np.sqrt(np.pi) * sigma) ** -1.5


def full_mask(shape):
    return Volume(np.ones(shape, bool), AFFINE)


# means


def test_the_mean_is_that_of_those_with_a_value(saved, rng):
    data = rng.normal(1.0, 0.3, (5, 4, 5, 6)).astype(np.float32)
    data[0, 0], data[1:4, 1], data[:, 2, 0] = np.nan, np.nan, np.nan
    made = mean_map([[saved(volume)] for volume in data])
    known = np.isfinite(data).sum(axis=0)
    np.testing.assert_array_equal(made.count.data, known)
    total = np.where(np.isfinite(data), data, 0).sum(axis=0, dtype=float)
    expected = np.where(known >= 2.5, total / np.maximum(known, 1), np.nan)
    np.testing.assert_allclose(made.mean.data, expected, rtol=1e-6)
    assert np.isnan(made.mean.data[1]).all()  # two of five are fewer than half
    assert made.mean.data.dtype == np.float32


def test_runs_count_once_for_their_subject(saved):
    """(mean(1, 3) + 6) / 2 = 4, and where a run has no value the other one stands."""
    first, second, other = (np.full((2, 2, 2), value) for value in (1.0, 3.0, 6.0))
    second[0, 0, 0] = np.nan
    made = mean_map([[saved(first), saved(second)], [saved(other)]])
    assert made.mean.data[1, 1, 1] == pytest.approx(4.0)
    assert made.mean.data[0, 0, 0] == pytest.approx(3.5)
    assert made.count.data.max() == 2


def test_a_map_on_another_grid_is_named(saved):
    good = [saved(np.ones((3, 3, 3)))]
    moved = AFFINE.copy()
    moved[0, 3] += 1
    for odd in (saved(np.ones((3, 3, 3)), moved), saved(np.ones((3, 3, 4)))):
        with pytest.raises(DataError, match=odd):
            mean_map([good, [odd]])
    with pytest.raises(DataError, match="no map"):
        mean_map([])


# changes


def test_changes_are_smoothed_as_nilearn_does_and_missing_values_spread_nowhere(saved, rng):
    before, after = rng.normal(1.0, 0.2, (2, 16, 16, 16)).astype(np.float32)
    mask = full_mask(before.shape)
    rows = changes([[saved(before)]], [[saved(after)]], mask, 8.0)
    expected = smooth_img(nib.Nifti1Image(after - before, AFFINE), 8.0).get_fdata()
    inner = (slice(5, -5),) * 3  # the two treat the border otherwise
    np.testing.assert_allclose(rows.reshape(mask.shape)[inner], expected[inner], atol=1e-4)
    level = np.full_like(before, 0.3)
    level[8, 8, 8] = np.nan
    zero = saved(np.zeros_like(before))
    rows = changes([[zero]], [[saved(level)]], mask, 8.0).reshape(mask.shape)
    assert np.isnan(rows[8, 8, 8])
    np.testing.assert_allclose(rows[np.isfinite(rows)], 0.3, rtol=1e-5)
    sharp = changes([[zero]], [[saved(after)]], mask, 0.0).reshape(mask.shape)
    np.testing.assert_array_equal(sharp, after)


def test_voxels_without_a_value_or_without_spread_are_left_out():
    mask = Volume(np.array([1, 1, 0, 1], bool).reshape(4, 1, 1), AFFINE)
    first = np.array([[1.0, 2.0, np.nan], [2.0, 2.0, 1.0]])
    kept = common_voxels(mask, first, np.array([[3.0, 2.0, 1.0]]))
    assert kept.data.ravel().tolist() == [True, False, False, False]


# regions and masks


def test_regions_lie_where_they_are_drawn(saved):
    labels = np.zeros((40, 40, 40), np.int16)
    labels[10:20], labels[20:30] = 17, 53
    affine = np.eye(4)
    affine[:3, 3] = -20
    image = np.zeros((20, 20, 20))
    image[8, 10, 6:10] = 3
    shapes = [
        MniShape("DBS", (0.5, 0.0, 0.0), (6.0, 6.0, 8.0)),
        MniMask("seed", saved(image), (3,)),
        MniShape("beyond", (300.0, 0.0, 0.0), (2.0, 2.0, 2.0)),
    ]
    made = regions_in_mni(Volume(labels, affine), {"HIP": (17, 53), "none": (10,)}, shapes)
    assert made.names == ("HIP", "none", "DBS", "seed", "beyond")
    assert made.empty == ("none", "beyond")
    count = np.bincount(made.labels.data.ravel(), minlength=6)
    assert count[3] == pytest.approx(4 / 3 * np.pi * 6 * 6 * 8, rel=0.03)  # over the larger HIP
    assert count[4] == 4 * 4**3
    assert count[1] == 20 * 40 * 40 - count[3] - count[4]
    assert np.argwhere(made.labels.data == 3).mean(axis=0) - 20 == pytest.approx(
        [0.5, 0, 0], abs=0.1
    )
    with pytest.raises(DataError, match=r"seed.*9"):
        regions_in_mni(Volume(labels, affine), {}, [MniMask("seed", shapes[1].image, (9,))])


def test_masks_are_on_the_grid_of_the_maps():
    template = Volume(np.zeros((40, 40, 40), np.float32), np.eye(4))
    template.data[10:30, 10:30, 10:30] = 0.7
    atlas = template.with_data(np.where(template.data > 0, 2, 0).astype(np.int16))
    atlas.data[20:30][template.data[20:30] > 0] = 1035
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5
    grid = Volume(np.zeros((20, 20, 20)), affine)
    assert template_mask(template, atlas, grid, "brain").data.sum() == 1000
    grey = template_mask(template, atlas, grid, "grey").data
    assert grey.sum() == 500
    assert not grey[:10].any()


# tests


def test_t_and_z_are_those_of_scipy(rng):
    first, second = rng.normal(0.1, 0.3, (9, 240)), rng.normal(0.0, 0.3, (7, 240))
    mask = full_mask((6, 8, 5))
    one = compare_maps(first, None, mask, Inference())
    two = compare_maps(first, second, mask, Inference())
    for made, reference, df in (
        (one, stats.ttest_1samp(first, 0), 8),
        (two, stats.ttest_ind(first, second), 14),
    ):
        assert made.degrees_of_freedom == df
        np.testing.assert_allclose(made.t.data.ravel(), reference.statistic, rtol=1e-6, atol=1e-6)
        z = -np.sign(reference.statistic) * stats.norm.ppf(reference.pvalue / 2)
        np.testing.assert_allclose(made.z.data.ravel(), z, atol=1e-5)
        assert made.logp is made.thresholded is None
    np.testing.assert_allclose(
        two.effect.data.ravel(), first.mean(axis=0) - second.mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(one.effect.data.ravel(), first.mean(axis=0), atol=1e-6)


def test_outside_the_mask_is_missing_and_its_shape_does_not_matter(rng):
    mask = full_mask((7, 6, 5))
    mask.data[:2], mask.data[:, :, 4] = False, False
    values = rng.normal(size=(5, int(mask.data.sum())))
    made = compare_maps(values, None, mask, Inference())
    np.testing.assert_array_equal(np.isfinite(made.t.data), mask.data)
    np.testing.assert_allclose(
        made.t.data[mask.data], stats.ttest_1samp(values, 0).statistic, rtol=1e-5
    )
    np.testing.assert_array_equal(made.t.affine, AFFINE)


_DRAWS = {"mass": 400, "tfce": 80}


@pytest.mark.parametrize("method", ["mass", "tfce"])
def test_few_subjects_give_no_smaller_p_than_their_permutations(method, rng):
    """However large the effect: 2 of 2^4 sign flips, 2 of 20 permutations reach it."""
    shape = (4, 5, 4)
    noise = smooth_noise(rng, 7, shape, sd=0.01).reshape(7, -1)
    inference = Inference(method, n_permutations=_DRAWS[method], cluster_p=0.02)
    one = compare_maps(noise[:4] + 1, None, full_mask(shape), inference)
    two = compare_maps(noise[:3] + 1, noise[4:], full_mask(shape), inference)
    for made, least in ((one, 2 / 16), (two, 2 / 20)):
        assert made.smallest_p == pytest.approx(least)
        p = 10.0 ** -np.nanmax(made.logp.data)
        assert p == pytest.approx(least, abs=4 * np.sqrt(least * (1 - least) / _DRAWS[method]))
        assert not made.thresholded.data.any()


def test_p_of_the_largest_cluster_is_that_of_every_sign_flip(rng):
    """Mass by hand over all 2^6 flips, against 1000 random ones."""
    shape, threshold = (6, 7, 6), stats.t.isf(0.02, 5)
    values = smooth_noise(rng, 6, shape).reshape(6, -1) + 0.06
    found = compare_maps(values, None, full_mask(shape), Inference("mass", 1000, cluster_p=0.04))

    def largest_mass(signs):
        t = stats.ttest_1samp(values * np.array(signs)[:, None], 0).statistic.reshape(shape)
        best = 0.0
        for side in (t, -t):
            clusters, n = ndimage.label(side > threshold)
            for mass in ndimage.sum(side - threshold, clusters, range(1, n + 1)):
                best = max(best, mass)
        return best

    null = np.array([largest_mass(signs) for signs in product((1, -1), repeat=6)])
    exact = np.mean(null >= null[0] * (1 - 1e-9))
    assert 0.03 < exact < 0.6, "an uninformative case"
    p = 10.0 ** -np.nanmax(found.logp.data)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 1000))


@pytest.mark.parametrize("method", ["mass", "tfce"])
def test_the_same_input_gives_the_same_bits(method, rng):
    values = smooth_noise(rng, 8, SMALL).reshape(8, -1)
    first, second = (
        compare_maps(values[:4], values[4:], full_mask(SMALL), Inference(method, 10))
        for _ in range(2)
    )
    for name in ("t", "z", "effect", "logp", "thresholded"):
        a, b = getattr(first, name), getattr(second, name)
        assert a.data.tobytes() == b.data.tobytes()
    turned = compare_maps(values[4:], values[:4], full_mask(SMALL), Inference(method, 10))
    np.testing.assert_allclose(turned.t.data, -first.t.data, atol=1e-5)


def test_too_few_subjects_are_refused():
    with pytest.raises(ValueError, match="3 subjects"):
        compare_maps(np.ones((2, 8)), None, full_mask((2, 2, 2)), Inference())


@pytest.mark.parametrize(
    ("n", "expected"), [((3, 0), 0.25), ((4, 3), 1 / 35), ((20, 0), 1 / 5001), ((4, 4), 2 / 70)]
)
def test_smallest_p(n, expected):
    assert smallest_p(*n, 5000) == pytest.approx(expected)


SHAPE = (20, 24, 20)
BP_ND, FALL = 1.0, 0.30


def planted(seed):
    """A ball of 12 mm radius where BPND falls by 30 %, and changes of 12 + 12 subjects."""
    rng = np.random.default_rng(seed)
    distance_mm = 4 * np.linalg.norm(
        np.indices(SHAPE) - np.array([12, 9, 11])[:, None, None, None], axis=0
    )
    effect = -FALL * BP_ND * (distance_mm <= 12)
    treated = smooth_noise(rng, 12, SHAPE, sd=0.2) + effect
    untreated = smooth_noise(rng, 12, SHAPE, sd=0.2)
    return distance_mm, treated.reshape(12, -1), untreated.reshape(12, -1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mass", "tfce"])
@pytest.mark.parametrize("design", ["paired", "two-sample"])
def test_a_planted_fall_is_found_where_it_is(method, design):
    """At least half of the ball is found, and nothing 10 mm and more beside it."""
    distance_mm, treated, untreated = planted(1)
    second = None if design == "paired" else untreated
    made = compare_maps(treated, second, full_mask(SHAPE), Inference(method, 399))
    found = made.thresholded.data
    print(method, design, np.mean(found[distance_mm <= 12] < 0), made.significant_voxels)
    assert np.mean(found[distance_mm <= 12] < 0) > 0.5
    assert not found[distance_mm > 22].any()
    assert (found <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "n_sets", "n_permutations"),
    [("mass", 160, 39), pytest.param("tfce", 60, 19, marks=pytest.mark.long)],
)
def test_false_positives_come_at_their_nominal_rate(method, n_sets, n_permutations):
    """Sets without effect, paired and two-sample in turn: the rate is alpha, since alpha times
    the draws and one is whole."""
    rng = np.random.default_rng(5)
    inference = Inference(method, n_permutations, cluster_p=0.01)
    n_false = 0
    for place in range(n_sets):
        values = smooth_noise(rng, 16, SMALL).reshape(16, -1)
        first, second = (values[:8], values[8:]) if place % 2 else (values[:12], None)
        made = compare_maps(first, second, full_mask(SMALL), inference)
        n_false += bool(made.significant_voxels)
    print(method, n_false, "of", n_sets)
    low, high = stats.binom.interval(0.99, n_sets, inference.alpha)
    assert low <= n_false <= high
