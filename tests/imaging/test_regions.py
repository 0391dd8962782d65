"""Regions in PET space: shares, volumes, means."""

import numpy as np
import pytest

from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.regions import (
    Anatomy,
    MniShape,
    RegionSpec,
    RegionWeights,
    label_fractions,
    region_fractions,
    trimmed_reference,
)


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


def test_trimming_keeps_the_stated_distance(labels):
    trimmed = trimmed_reference(labels, (8,), erosion_mm=3)
    where = np.argwhere(trimmed)
    # the box spans 30 x 16 x 30 mm; three millimetres are lost on each side
    assert trimmed.sum() == 24 * 10 * 24
    np.testing.assert_array_equal(where.min(0), [8, 27, 13])


def test_trimming_everything_away_is_an_error_that_names_the_setting(labels):
    with pytest.raises(ValueError, match="reference_erosion_mm"):
        trimmed_reference(labels, (8,), erosion_mm=10)


def test_an_mni_shape_goes_through_field_and_transform_together(labels, grid):
    shift = np.zeros((*labels.shape, 3), np.float32)
    shift[...] = [4, -3, 2]  # a T1w point lies at point + shift in MNI
    anatomy = Anatomy(labels, Field(shift, labels.affine))
    grid2t1w = rigid_matrix(np.array([1.0, 2.0, -1.0]), np.zeros(3))
    shape = MniShape("DBS", (3.0, -2.0, 1.0), (5.0, 6.0, 7.0))
    spec = RegionSpec((("HIP", (17, 53)),), (shape,), "CBL", (8,), 2.0, 3)
    fractions, _ = region_fractions(anatomy, grid, grid2t1w, spec)
    assert list(fractions) == list(spec.names) == ["HIP", "DBS", "CBL"]
    share = fractions["DBS"]
    volume = share.sum() * grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 5 * 6 * 7, rel=0.03)
    index = np.argwhere(np.ones(grid.shape)).astype(float)
    centre = grid.affine @ np.array([*((index * share[:, None]).sum(0) / share.sum()), 1])
    np.testing.assert_allclose(centre[:3], [3 - 4 - 1, -2 + 3 - 2, 1 - 2 + 1], atol=0.1)
