"""Slices show the world the right way round, whatever way voxels are stored."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.reports.slices import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Box,
    Plane,
    bounding_box,
    region_planes,
    spread_planes,
    values_inside,
)

BOX = Box(np.array([-30.0, -40.0, -20.0]), np.array([30.0, 40.0, 20.0]))

# RAS, LPS and an axis order as scanners write sagittal series
AFFINES = {
    "RAS": np.array([[2.0, 0, 0, -38], [0, 2, 0, -48], [0, 0, 2, -28], [0, 0, 0, 1]]),
    "LPS": np.array([[-2.0, 0, 0, 40], [0, -2, 0, 50], [0, 0, 3, -28], [0, 0, 0, 1]]),
    "PSR": np.array([[0.0, 0, 1.5, -38], [-2, 0, 0, 50], [0, 2, 0, -28], [0, 0, 0, 1]]),
}


def world_image(affine, function, shape=(56, 56, 56)):
    """A volume whose voxels hold a function of their world coordinates."""
    indices = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    return Volume(function(apply_affine(affine, indices)).astype(np.float32), affine)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize(
    ("axis", "across", "up"), [(AXIAL, 0, 1), (CORONAL, 0, 2), (SAGITTAL, 1, 2)]
)
def test_pixels_are_at_their_place_in_the_world(affine, axis, across, up):
    """Right (or anterior) is right in the picture, and up is up: a linear image is itself."""
    plane = Plane(axis, 4.0, BOX)
    columns, rows = plane.grid_mm
    for world_axis, expected in (
        (across, np.broadcast_to(columns, (rows.size, columns.size))),
        (up, np.broadcast_to(rows[:, None], (rows.size, columns.size))),
        (axis, np.full((rows.size, columns.size), 4.0)),
    ):
        image = world_image(affine, lambda points, i=world_axis: points[..., i])
        pixels = plane.sample(image)
        inside = np.isfinite(pixels)
        assert inside.mean() > 0.9
        np.testing.assert_allclose(pixels[inside], expected[inside], atol=1e-3)


def test_oblique_voxels_are_shown_upright():
    """A ball is round and in its place, though its voxels lie oblique and are not cubes."""
    affine = rigid_matrix(np.array([-40.0, -45, -35]), np.array([0.2, -0.3, 0.4])) @ np.diag(
        [1.5, 2.0, 3.0, 1.0]
    )
    centre = np.array([5.0, -6.0, 3.0])
    ball = world_image(
        affine,
        lambda p: np.clip(12.5 - np.linalg.norm(p - centre, axis=-1), 0, 1),
        (60, 55, 40),
    )
    plane = Plane(AXIAL, 3.0, Box(np.full(3, -30.0), np.full(3, 30.0)), step_mm=0.5)
    shown = np.nan_to_num(plane.sample(ball)) > 0.5
    columns, rows = plane.grid_mm
    y, x = ndimage.center_of_mass(shown)
    assert np.interp(x, np.arange(columns.size), columns) == pytest.approx(5.0, abs=0.5)
    assert np.interp(y, np.arange(rows.size), rows) == pytest.approx(-6.0, abs=0.5)
    # area of a disc of radius 12, within what voxels of 3 mm blur
    assert shown.sum() * 0.25 == pytest.approx(np.pi * 144, rel=0.05)


def test_outside_the_field_of_view_is_missing_not_zero():
    image = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
    pixels = Plane(AXIAL, 1.0, BOX).sample(image)
    assert np.isnan(pixels[0, 0])
    assert np.nanmax(pixels) == 1.0


def test_labels_are_not_mixed():
    labels = world_image(AFFINES["LPS"], lambda p: np.where(p[..., 0] > 0, 1035, 8))
    pixels = Plane(CORONAL, 0.0, BOX).sample(labels, order=0)
    assert set(np.unique(pixels[np.isfinite(pixels)])) == {8.0, 1035.0}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_the_box_holds_the_mask_and_little_more(affine):
    mask = world_image(affine, lambda p: (np.abs(p - [2, 3, 4]) < [10.5, 12.5, 8.5]).all(-1))
    box = bounding_box(mask, margin_mm=0)
    points = apply_affine(affine, np.argwhere(mask.data > 0).astype(float))
    np.testing.assert_allclose(box.low_mm, points.min(axis=0))
    np.testing.assert_allclose(box.high_mm, points.max(axis=0))


def test_an_empty_mask_shows_the_whole_field_of_view():
    box = bounding_box(Volume(np.zeros((5, 6, 7)), np.eye(4)), margin_mm=0)
    assert box.high_mm.tolist() == [4, 5, 6]


def test_slices_meet_every_region_however_small():
    """A region of 1/1000 of the largest one is still in one of the slices."""
    data = np.zeros((40, 40, 60), np.int16)
    data[:, :, :20] = 1
    data[20, 20, 40:44] = 2
    data[5:8, 5:8, 50:54] = 3
    volume = Volume(data, np.eye(4))
    planes = region_planes(volume, bounding_box(volume), AXIAL, 7)
    seen = set()
    for plane in planes:
        seen |= set(np.unique(np.nan_to_num(plane.sample(volume, order=0))))
    assert seen == {0.0, 1.0, 2.0, 3.0}


def test_spread_planes_keep_clear_of_the_ends():
    positions = [plane.position_mm for plane in spread_planes(BOX, AXIAL, 5)]
    assert positions == pytest.approx([-40 / 3, -20 / 3, 0, 20 / 3, 40 / 3])


def test_values_inside_a_mask_of_another_grid():
    image = world_image(AFFINES["RAS"], lambda p: p[..., 0])
    mask = world_image(AFFINES["PSR"], lambda p: (np.abs(p) < 15).all(-1))
    values = values_inside(image, mask)
    assert np.abs(values).max() <= 16.0
    assert values.mean() == pytest.approx(0.0, abs=1.0)
