"""Regions in PET space: shares, volumes, means."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.mni_regions import MniMask, MniShape
from pipeline.imaging.reference import TrimByDistance
from pipeline.imaging.regions import (
    Anatomy,
    RegionSpec,
    RegionWeights,
    label_fractions,
    region_fractions,
)
from pipeline.imaging.resampling import resample_rigid, smooth
from pipeline.io.atlas import load_atlas

NEAR = TrimByDistance(distance_mm=0, labels=(8,), erosion_mm=2, neighbours=(), least_grey=0)


def anatomy_of(labels, shift, **more):
    """Labels of a head whose anatomical axes are those of its image, all grey matter."""
    grey = labels.with_data(np.ones(labels.shape, np.float32))
    return Anatomy(labels, Field(shift, labels.affine), np.eye(4), more.pop("grey", grey), **more)


@pytest.fixture
def labels():
    """Two boxes and a large one on a 1-mm grid; the first is asymmetric in every axis."""
    data = np.zeros((40, 44, 48), np.int32)
    data[5:15, 8:20, 10:30] = 17
    data[20:30, 8:20, 10:30] = 53
    data[5:35, 24:40, 10:40] = 8
    affine = np.eye(4)
    affine[:3, 3] = [-20, -22, -24]
    return Volume(data, affine)


@pytest.fixture
def grid():
    """A 3-mm PET grid that is flipped in x and off the label grid."""
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [31.2, -33.7, -30.4]
    return Volume(np.zeros((20, 22, 22), np.float32), affine)


def test_volume_survives_rotation_to_within_the_sampling(labels, grid):
    xfm = rigid_matrix(np.array([2.3, -1.1, 0.7]), np.array([0.1, -0.07, 0.12]))
    fractions = label_fractions(labels, grid, xfm, supersampling=3)
    # 27 points a voxel leave an error of a small part of the surface voxels
    assert fractions.volume_mm3((17,)) == pytest.approx(10 * 12 * 20, rel=0.02)
    assert fractions.volume_mm3((8,)) == pytest.approx(30 * 16 * 30, rel=0.01)
    shares = fractions.fractions.toarray()
    assert shares.min() >= 0
    assert shares.sum(axis=0).max() <= 1 + 1e-12


def test_regions_land_where_the_transform_puts_them(labels, grid):
    grid2labels = rigid_matrix(np.array([2.3, -1.1, 0.7]), np.array([0.1, -0.07, 0.12]))
    share = label_fractions(labels, grid, grid2labels, 3).of((17,)).reshape(grid.shape)
    index = np.argwhere(np.ones(grid.shape)).astype(float)
    centre = (index * share.ravel()[:, None]).sum(0) / share.sum()
    in_labels = grid2labels @ grid.affine @ np.array([*centre, 1])
    truth = labels.affine @ np.array([9.5, 13.5, 19.5, 1])
    np.testing.assert_allclose(in_labels[:3], truth[:3], atol=0.05)


def test_a_finer_pattern_never_moves_the_mean_of_a_uniform_region(labels, grid):
    frame = np.full(grid.shape, 7.5, np.float32)
    for supersampling in (1, 2, 4):
        share = label_fractions(labels, grid, np.eye(4), supersampling).of((53,))
        means = RegionWeights.of({"HIP": share}, grid.voxel_volume_mm3).means(frame)
        assert means[0] == pytest.approx(7.5, rel=1e-6)


def test_a_region_outside_the_field_of_view_is_missing_not_zero(labels, grid):
    share = label_fractions(labels, grid, np.eye(4), 2).of((26,))
    regions = RegionWeights.of({"VST": share}, grid.voxel_volume_mm3)
    assert np.isnan(regions.means(np.ones(grid.shape, np.float32))).all()


def test_the_winner_is_the_label_at_the_centre_of_clear_voxels(labels, grid):
    fractions = label_fractions(labels, grid, np.eye(4), 3)
    winner = fractions.winner()
    for label in (17, 53, 8):
        full = fractions.of((label,)).reshape(grid.shape) > 0.99
        assert full.any()
        assert (winner[full] == label).all()


def test_an_mni_shape_goes_through_field_and_transform_together(labels, grid):
    shift = np.zeros((*labels.shape, 3), np.float32)
    shift[...] = [4, -3, 2]  # a T1w point lies at point + shift in MNI
    anatomy = anatomy_of(labels, shift)
    grid2t1w = rigid_matrix(np.array([1.0, 2.0, -1.0]), np.zeros(3))
    shape = MniShape("DBS", (3.0, -2.0, 1.0), (5.0, 6.0, 7.0))
    spec = RegionSpec((("HIP", (17, 53)),), (shape,), "CBL", NEAR, 3)
    fractions = region_fractions(anatomy, grid, grid2t1w, spec).regions
    assert list(fractions) == list(spec.names) == ["HIP", "DBS", "CBL"]
    share = fractions["DBS"]
    volume = share.sum() * grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 5 * 6 * 7, rel=0.03)
    index = np.argwhere(np.ones(grid.shape)).astype(float)
    centre = grid.affine @ np.array([*((index * share[:, None]).sum(0) / share.sum()), 1])
    np.testing.assert_allclose(centre[:3], [3 - 4 - 1, -2 + 3 - 2, 1 - 2 + 1], atol=0.1)


def test_a_mask_in_mni_space_lands_like_an_ellipsoid(labels, grid):
    shift = np.zeros((*labels.shape, 3), np.float32)
    shift[...] = [4, -3, 2]
    data = np.zeros((30, 30, 30), np.int16)
    data[10:22, 8:20, 12:24] = 7
    data[12, 12, 12] = 3
    affine = np.diag([-1.0, 1, 1, 1])  # stored right to left
    affine[:3, 3] = [18, -15, -16]
    image = Volume(data, affine)
    anatomy = anatomy_of(labels, shift, mni_images={"atlas.nii.gz": image})
    spec = RegionSpec((), (MniMask("DBS", "atlas.nii.gz", (7,)),), "CBL", NEAR, 4)
    share = region_fractions(anatomy, grid, np.eye(4), spec).regions["DBS"]
    assert share.sum() * grid.voxel_volume_mm3 == pytest.approx(12**3 - 1, rel=0.02)
    index = np.argwhere(np.ones(grid.shape)).astype(float)
    centre = grid.affine @ np.array([*((index * share[:, None]).sum(0) / share.sum()), 1])
    truth = affine @ np.array([15.5, 13.5, 17.5, 1])
    # its straight edges lie anywhere between samples, which are 0.75 mm apart
    np.testing.assert_allclose(centre[:3], truth[:3] - [4, -3, 2], atol=0.4)


def test_a_label_that_the_image_lacks_is_named(labels, grid):
    anatomy = anatomy_of(
        labels,
        np.zeros((*labels.shape, 3), np.float32),
        mni_images={"atlas.nii.gz": labels},
    )
    spec = RegionSpec((), (MniMask("DBS", "atlas.nii.gz", (99,)),), "CBL", NEAR, 2)
    with pytest.raises(ValueError, match=r"atlas\.nii\.gz holds no voxel .* labels 99"):
        region_fractions(anatomy, grid, np.eye(4), spec)


def test_regions_come_raw_and_masked_by_grey_matter(labels, grid):
    grey = np.zeros(labels.shape, np.float32)
    grey[:, :14] = 0.8  # the front half of the hippocampal boxes, nothing else
    anatomy = anatomy_of(
        labels, np.zeros((*labels.shape, 3), np.float32), grey=labels.with_data(grey)
    )
    spec = RegionSpec((("HIP", (17, 53)),), (), "CBL", NEAR, 3, grey_masked=True)
    fractions = region_fractions(anatomy, grid, np.eye(4), spec).regions
    assert tuple(fractions) == spec.names == ("HIP", "gmHIP", "CBL")
    assert fractions["gmHIP"].sum() == pytest.approx(fractions["HIP"].sum() / 2, rel=0.03)


def test_voxels_may_need_a_least_share(labels, grid):
    spec = RegionSpec((("A", (17,)),), (), "REF", NEAR, 3, least_share=0.5)
    anatomy = anatomy_of(labels, np.zeros((*labels.shape, 3), np.float32))
    full = region_fractions(anatomy, grid, np.eye(4), spec).regions["A"]
    shares = region_fractions(anatomy, grid, np.eye(4), replace(spec, least_share=0)).regions["A"]
    np.testing.assert_array_equal(full, (shares > 0.5 - 1e-6).astype(float))
    assert ((shares > 0) & (shares < 1)).any()


def test_the_field_of_view_is_asked_for_every_kind_of_region(labels):
    """A PET of 2 mm whose voxels end where those of the T1w do, twenty of 48 planes high."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = labels.affine[:3, 3] + 0.5
    cut = Volume(np.zeros((20, 22, 10), np.float32), affine)
    grey = np.zeros(labels.shape, np.float32)
    grey[:, :14] = 1
    anatomy = anatomy_of(
        labels, np.zeros((*labels.shape, 3), np.float32), grey=labels.with_data(grey)
    )
    ball = MniShape("DBS", (0.0, 0.0, -4.5), (5.0, 6.0, 7.0))  # its middle on the last edge
    spec = RegionSpec(
        (("HIP", (17, 53)), ("VST", (26,))), (ball,), "CBL", NEAR, 4, least_share=0.9,
        grey_masked=True,
    )  # fmt: skip
    found = region_fractions(anatomy, cut, np.eye(4), spec)
    assert set(found.t1w_mm3) == set(spec.names)
    assert found.t1w_mm3["HIP"] == 2 * found.t1w_mm3["gmHIP"] == 2 * 10 * 12 * 20
    assert found.t1w_mm3["DBS"] == pytest.approx(4 / 3 * np.pi * 5 * 6 * 7, rel=0.02)
    assert found.in_field["HIP"] == pytest.approx(0.5, rel=1e-9)
    assert found.in_field["gmHIP"] == pytest.approx(0.5, rel=1e-9)
    assert found.in_field["DBS"] == pytest.approx(0.5, rel=0.03)
    # two of 30 planes are worn off either end of the box, which starts ten below the edge
    assert found.in_field["CBL"] == pytest.approx(8 / 26, rel=1e-9)
    assert found.t1w_mm3["VST"] == 0
    assert "VST" not in found.in_field


def test_what_is_covered_is_the_share_of_known_voxels(grid):
    rng = np.random.default_rng(5)
    share = rng.random(grid.data.size)
    frame = np.where(rng.random(grid.shape) < 0.3, np.nan, 1.0)
    weights = RegionWeights.of({"A": share, "none": 0 * share}, 2.0, None, {"A": 0.9, "none": 0})
    known = weights.statistics(frame).known
    truth = share[np.isfinite(frame.ravel())].sum() / share.sum()
    np.testing.assert_allclose(known, [truth, 0], rtol=1e-12)
    np.testing.assert_allclose(weights.covered(known), [0.9 * truth, 0], rtol=1e-12)
    least = 2.0 * share.sum() * truth  # exactly what is there
    assert weights.usable(known, least).tolist() == [True, False]
    assert weights.usable(known, 1.001 * least).tolist() == [False, False]
    assert weights.usable(np.array([0.55, 0]), 0.0).tolist() == [False, False]


def test_statistics_are_those_of_weighted_voxels(grid):
    rng = np.random.default_rng(3)
    share = rng.random(grid.data.size) * (rng.random(grid.data.size) < 0.1)
    frame = rng.normal(100, 20, grid.shape)
    frame[rng.random(grid.shape) < 0.05] = np.nan
    weights = RegionWeights.of({"A": share, "none": 0 * share}, grid.voxel_volume_mm3)
    found = weights.statistics(frame)
    known = np.isfinite(frame.ravel())
    described = DescrStatsW(frame.ravel()[known], share[known])
    assert found.mean[0] == pytest.approx(described.mean, rel=1e-12)
    assert found.standard_deviation[0] == pytest.approx(described.std, rel=1e-9)
    assert found.voxels.tolist() == [np.count_nonzero(known & (share > 0)), 0]
    assert np.isnan([found.mean[1], found.standard_deviation[1], found.core_mean[1]]).all()
    core = known & (share >= 0.5)
    assert found.core_voxels.tolist() == [np.count_nonzero(core), 0]
    assert found.core_mean[0] == pytest.approx(frame.ravel()[core].mean(), rel=1e-12)
    assert abs(found.core_mean[0] - found.mean[0]) > 0.01  # the two are not the same


def test_a_voxel_that_is_half_full_is_in_the_core():
    share = np.array([1.0, 0.5, 13 / 27, 0.0])
    weights = RegionWeights.of({"A": share}, 8.0)
    found = weights.statistics(np.array([1.0, 3, 100, 1000]).reshape(4, 1, 1))
    assert found.core_mean.tolist() == [2.0]
    assert found.core_voxels.tolist() == [2]


@pytest.mark.slow
def test_curves_are_those_of_a_much_finer_sampling():
    """Regions of over 1 mL, oblique to a PET of 2 mm, a scanner of 2.5 mm FWHM."""
    labels = load_atlas()
    levels = 1 + np.random.default_rng(8).random(int(labels.data.max()) + 1)
    levels[0] = 0.1
    image = smooth(labels.with_data(levels[labels.data].astype(np.float32)), 2.5)
    affine = labels.affine @ np.diag([2.0, 2, 2, 1])
    grid = Volume(np.zeros([n // 2 for n in labels.shape], np.float32), affine)
    xfm = rigid_matrix(np.array([3.0, -2, 4]), np.radians([8, -6, 5]))
    pet = resample_rigid(image, grid, xfm, order=1)
    regions = {"ACC": (1002, 2002, 1026, 2026), "HIP": (17, 53), "VST": (26, 58), "PUT": (12, 51),
               "AMY": (18, 54), "PAL": (13, 52), "PHG": (1016,), "ENT": (2006,)}  # fmt: skip
    usual, fine = (label_fractions(labels, grid, xfm, points) for points in (3, 10))
    assert all(fine.volume_mm3(members) > 1000 for members in regions.values())
    means, truth = (
        RegionWeights.of({n: carried.of(m) for n, m in regions.items()}, 8.0).means(pet)
        for carried in (usual, fine)
    )
    print(np.round(100 * (means / truth - 1), 3))
    np.testing.assert_allclose(means, truth, rtol=0.005)


def test_the_pons_is_a_landmark_and_part_of_the_brain_stem(labels, grid):
    """Told apart or not, regions are the same; only the planes of the reference region see it."""
    stem = labels.with_data(np.where(labels.data == 53, 16, labels.data))
    pons = (stem.data == 16) & (np.indices(stem.shape)[2] < 20)
    shift = np.zeros((*labels.shape, 3))
    spec = RegionSpec((("STEM", (16,)), ("HIP", (17,))), (), "CBL", NEAR, 3)
    plain, told = (
        region_fractions(anatomy_of(stem, shift, pons=known), grid, np.eye(4), spec)
        for known in (None, pons)
    )
    assert plain.t1w_mm3 == told.t1w_mm3
    for name in ("STEM", "HIP"):
        np.testing.assert_array_equal(plain.regions[name], told.regions[name])
    seen = anatomy_of(stem, shift, pons=pons).landmarks().labels.data
    np.testing.assert_array_equal(seen == 174, pons)
    np.testing.assert_array_equal(np.where(seen == 174, 16, seen), stem.data)
