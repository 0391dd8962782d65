"""The trimmed reference region on a head of boxes whose planes are known."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.brain import distance_to_others_mm
from pipeline.imaging.reference import (
    Landmarks,
    TrimByDistance,
    TrimByPlanes,
    trim_reference,
)
from pipeline.imaging.warp import resample

AFFINE = np.diag([1.0, 1, 1, 1])
AFFINE[:3, 3] = [-40, -80, -60]
PLANES = TrimByPlanes(erosion_mm=0)


def box(data, x, y, z, label):
    """Fill from low to high, mm, ends included."""
    low = np.array([x[0], y[0], z[0]]) - AFFINE[:3, 3].astype(int)
    high = np.array([x[1], y[1], z[1]]) - AFFINE[:3, 3].astype(int) + 1
    data[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = label


def grey_of(labels):
    return labels.with_data(np.ones(labels.shape, np.float32))


@pytest.fixture
def landmarks():
    """Cerebellar cortex as one block with all landmarks in front of it, axes as the image's."""
    data = np.zeros((81, 100, 100), np.int32)
    box(data, (-36, -1), (-75, -30), (-55, 5), 8)
    box(data, (0, 36), (-75, -30), (-55, 5), 47)
    box(data, (-8, 8), (-50, -40), (-45, -20), 15)
    box(data, (-3, 3), (-55, -51), (-30, -26), 15)  # the tip
    box(data, (-9, 9), (-28, -15), (-58, -10), 16)
    box(data, (-8, 8), (-30, -20), (0, 20), 1023)
    labels = Volume(data, AFFINE)
    stem = np.argwhere(data == 16) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    return Landmarks(labels, np.eye(4), stem[:, 2] >= -49, grey_of(labels))


def millimetres(landmarks, mask):
    return np.argwhere(mask) + landmarks.labels.affine[:3, 3]


def test_every_plane_is_where_its_landmark_is(landmarks):
    found = millimetres(landmarks, trim_reference(landmarks, PLANES).mask)
    # behind the tip, which ends at -55; its last 1 % (50 voxels, 35 a slice) may be ragged
    assert found[:, 1].max() == -55
    assert found[:, 2].max() == -29  # below the middle of the tip, at -28
    assert found[:, 2].min() == -48  # above the pons, which begins at -49
    assert np.abs(found[:, 0]).min() == 9  # beside the ventricle, which ends at 8
    assert found[:, 0].min() == -36
    assert found[:, 0].max() == 36


@pytest.mark.parametrize(
    ("setting", "axis", "reached"),
    [
        ("behind_fourth_ventricle", 1, -30),
        ("above_pons_floor", 2, -55),
        ("beside_fourth_ventricle", 0, 0),
    ],
)
def test_every_rule_can_be_left_out(landmarks, setting, axis, reached):
    found = trim_reference(landmarks, replace(PLANES, **{setting: False}))
    assert reached in millimetres(landmarks, found.mask)[:, axis]
    assert len(found.left) == len(trim_reference(landmarks, PLANES).left) - 1


def test_posterior_cingulate_is_a_ceiling(landmarks):
    only = replace(PLANES, behind_fourth_ventricle=False, above_pons_floor=False,
                   beside_fourth_ventricle=False)  # fmt: skip
    assert millimetres(landmarks, trim_reference(landmarks, only).mask)[:, 2].max() == -1


def test_counts_tell_what_each_rule_took(landmarks):
    found = trim_reference(landmarks, TrimByPlanes(erosion_mm=2))
    counts = [count for _, count in found.left]
    assert counts[0] == np.isin(landmarks.labels.data, (8, 47)).sum()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == found.mask.sum() > 0
    assert [name for name, _ in found.left][-1] == "2 mm from other tissue"


def test_distances_count_from_the_faces_of_voxels_of_any_shape():
    size_mm = np.array([1.0, 2.0, 4.0])
    mask = np.zeros((13, 9, 7), bool)
    mask[1:12, 1:8, 1:6] = True
    found = distance_to_others_mm(mask, size_mm, 4.0)
    # centres lie (n + 1/2) voxels from the faces of a block
    depths = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in (11, 7, 5)]
    expected = np.minimum.reduce(
        np.meshgrid(*(d * s for d, s in zip(depths, size_mm, strict=True)), indexing="ij")
    )
    expected[expected > 4.0] = np.inf
    np.testing.assert_array_equal(found[1:12, 1:8, 1:6], expected)
    assert not found[~mask].any()


def test_distances_are_those_of_every_pair_of_voxels():
    size_mm = np.array([1.0, 1.5, 3.0])
    mask = np.random.default_rng(4).random((9, 8, 5)) < 0.97
    others = np.argwhere(~mask)
    gaps = np.abs(np.argwhere(mask)[:, None] - others[None]) - 0.5
    expected = np.linalg.norm(np.maximum(gaps, 0) * size_mm, axis=2).min(axis=1)
    found = distance_to_others_mm(mask, size_mm, 20.0)
    np.testing.assert_allclose(found[mask], expected, rtol=1e-12)


def test_a_strand_of_the_ventricle_moves_no_plane(landmarks):
    data = landmarks.labels.data.copy()
    box(data, (0, 0), (-62, -56), (-40, -40), 15)  # 7 voxels, behind and below the tip
    frayed = replace(landmarks, labels=landmarks.labels.with_data(data))
    whole, found = trim_reference(landmarks, PLANES), trim_reference(frayed, PLANES)
    assert dict(found.left)["behind and below the fourth ventricle's tip"] == pytest.approx(
        dict(whole.left)["behind and below the fourth ventricle's tip"], rel=0.001
    )
    assert found.mask.sum() == whole.mask.sum()


@pytest.mark.parametrize(
    ("label", "setting"),
    [
        (15, "behind_fourth_ventricle"),
        (16, "above_pons_floor"),
        (174, "above_pons_floor"),
        (1023, "below_posterior_cingulate"),
    ],
)
def test_a_speck_is_no_landmark(landmarks, label, setting):
    data = np.where(landmarks.labels.data == label, 0, landmarks.labels.data)
    box(data, (0, 0), (-10, -10), (-40, -35), label)
    speck = replace(landmarks, labels=landmarks.labels.with_data(data))
    with pytest.raises(ValueError, match=rf"0\.006 mL .*{label}.*regions\.reference\.{setting}"):
        trim_reference(speck, PLANES)


def test_a_label_of_the_pons_goes_before_the_atlas(landmarks):
    data = landmarks.labels.data.copy()
    box(data, (-8, 8), (-27, -16), (-40, -25), 174)
    named = replace(landmarks, labels=landmarks.labels.with_data(data))
    assert millimetres(named, trim_reference(named, PLANES).mask)[:, 2].min() == -39


def test_the_pons_stays_a_neighbour_as_part_of_the_brain_stem(landmarks):
    data = landmarks.labels.data.copy()
    box(data, (-9, 9), (-31, -15), (-58, -10), 16)  # up to the cerebellum
    rules = TrimByDistance(neighbours=(16,), distance_mm=4, erosion_mm=0, least_grey=0)
    whole = replace(landmarks, labels=landmarks.labels.with_data(data))
    parted = data.copy()
    parted[(data == 16) & (np.indices(data.shape)[2] > 40)] = 174
    assert (parted == 174).any()
    named = replace(landmarks, labels=landmarks.labels.with_data(parted))
    found = trim_reference(named, rules).mask
    np.testing.assert_array_equal(found, trim_reference(whole, rules).mask)
    assert found.sum() < np.isin(data, (8, 47)).sum()


def test_a_tilted_head_gives_the_same_region(landmarks):
    tilt = rigid_matrix(
        np.array([3.0, -2, 4]), np.radians([14, -9, 11]), np.array([0, -45, -25.0])
    )
    # the same head lying otherwise, resampled; its axes are what the anatomy would find
    grid = Volume(np.zeros((110, 120, 120), np.uint8), AFFINE.copy())
    grid.affine[:3, 3] -= 12
    turned = resample(landmarks.labels, grid, np.linalg.inv(tilt), order=0)
    stem = np.argwhere(turned.data == 16) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    upright = stem @ np.linalg.inv(tilt)[:3, :3].T + np.linalg.inv(tilt)[:3, 3]
    lying = Landmarks(turned, np.linalg.inv(tilt), upright[:, 2] >= -49, grey_of(turned))
    rules = TrimByPlanes(erosion_mm=1)
    straight = trim_reference(landmarks, rules).mask
    back = resample(
        turned.with_data(trim_reference(lying, rules).mask.astype(np.float32)),
        landmarks.labels,
        tilt,
    )
    overlap = 2 * (straight & (back.data > 0.5)).sum() / (straight.sum() + (back.data > 0.5).sum())
    # half a voxel of nearest-neighbour labels on every side of a block of 27 x 20 x 19 mm
    assert overlap > 0.93


def test_a_missing_landmark_is_named_with_its_setting(landmarks):
    data = np.where(landmarks.labels.data == 15, 0, landmarks.labels.data)
    bare = replace(landmarks, labels=landmarks.labels.with_data(data))
    with pytest.raises(ValueError, match=r"fourth ventricle \(15\).*behind_fourth_ventricle"):
        trim_reference(bare, PLANES)


def test_nothing_left_names_rule_and_setting(landmarks):
    told = r"empty after the rule 'behind .*change regions\.reference\.behind_fourth_ventricle"
    with pytest.raises(ValueError, match=told):
        trim_reference(landmarks, replace(PLANES, labels=(16,)))


def test_the_setting_named_is_the_one_that_asks(landmarks):
    data = np.where(landmarks.labels.data == 15, 0, landmarks.labels.data)
    bare = replace(landmarks, labels=landmarks.labels.with_data(data))
    with pytest.raises(ValueError, match=r"set regions\.reference\.beside_fourth_ventricle"):
        trim_reference(bare, replace(PLANES, behind_fourth_ventricle=False))


def test_neighbours_that_are_nowhere_are_told(landmarks):
    with pytest.raises(ValueError, match="none of the neighbours"):
        trim_reference(landmarks, TrimByDistance(neighbours=(7, 46)))


def test_labels_without_the_region_are_told_as_such(landmarks):
    data = np.where(np.isin(landmarks.labels.data, (8, 47)), 3, landmarks.labels.data)
    other = replace(landmarks, labels=landmarks.labels.with_data(data))
    with pytest.raises(ValueError, match=r"none of the reference region's numbers \(8, 47\)"):
        trim_reference(other, PLANES)


def test_distance_recipe_keeps_away_from_neighbours_and_from_doubt(landmarks):
    data = landmarks.labels.data.copy()
    box(data, (-10, 10), (-60, -58), (-40, -30), 7)
    grey = np.where(np.arange(100) < 40, 0.7, 0.9) * np.ones(data.shape)
    marks = replace(
        landmarks,
        labels=landmarks.labels.with_data(data),
        grey=landmarks.labels.with_data(grey.astype(np.float32)),
    )
    found = trim_reference(marks, TrimByDistance(erosion_mm=0, distance_mm=3))
    mm = millimetres(marks, found.mask)
    assert mm[:, 2].min() == -20  # below, grey matter is in doubt
    white = np.argwhere(data == 7) + AFFINE[:3, 3]
    loose = trim_reference(marks, TrimByDistance(erosion_mm=0, distance_mm=3, least_grey=0))
    close = millimetres(marks, loose.mask)
    near = np.linalg.norm(close[:, None, :] - white[None, ::7], axis=2).min()
    assert near > 3
    assert len(found.left) == 4
