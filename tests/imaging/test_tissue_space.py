"""Brains and spaces from another program's tissues, and the grids on which SPM12 fails."""

import numpy as np
import pytest

from pipeline.core.transforms import apply_affine, nearest_rigid, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.multigrid import diverges, padded, pads_to_try, unpadded
from pipeline.imaging.tissue_masks import brain_of_tissues
from pipeline.imaging.tissue_space import align_tissue_space
from pipeline.imaging.warp import compose_fields, displacement_at, moved_grid, moved_places
from pipeline.io.atlas import load_template


def grid(shape, edge_mm=1.0):
    return Volume(np.zeros(shape, np.uint8), np.diag([edge_mm, edge_mm, edge_mm, 1.0]))


# seen with the program itself, r7771: a warp without a number, or a sound one
@pytest.mark.parametrize(
    ("shape", "edge_mm", "sampling_mm", "lost"),
    [
        ((181, 217, 181), 1.0, 3, True),
        ((195, 217, 181), 1.0, 3, False),
        ((188, 256, 190), 0.88, 3, True),
        ((188, 256, 190), 0.88, 2.5, True),
        ((188, 256, 190), 0.88, 5, True),
        ((188, 256, 190), 0.88, 2, False),
        ((188, 256, 190), 0.88, 3.5, False),
        ((188, 256, 190), 0.88, 4, False),
    ],
)
def test_grids_that_lose_the_warp_are_those_that_did(shape, edge_mm, sampling_mm, lost):
    assert diverges(grid(shape, edge_mm), sampling_mm) is lost


@pytest.mark.parametrize("shape", [(181, 217, 181), (188, 256, 190), (120, 200, 150)])
def test_the_first_try_is_the_image_itself_and_the_others_leave_such_grids(shape):
    none, *more = pads_to_try(grid(shape), 3)
    assert none == 0
    assert len(more) == 2
    assert not any(diverges(padded(grid(shape), pad), 3) for pad in more)


def test_padding_keeps_every_voxel_in_its_place():
    data = np.arange(24.0).reshape(2, 3, 4)
    affine = rigid_matrix(np.array([3.0, -7, 9]), np.array([0.2, 0.1, -0.3])) @ np.diag(
        [-1.1, 2, 0.7, 1]
    )
    image = Volume(data, affine)
    more = padded(image, 5)
    assert more.shape == (12, 3, 4)
    np.testing.assert_allclose(
        apply_affine(more.affine, np.array([5.0, 1, 2])),
        apply_affine(affine, np.array([0.0, 1, 2])),
    )
    back = unpadded(more, 5)
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)


def test_brain_and_shares_of_tissues():
    x, y, z = np.indices((40, 40, 40)) - 19.5
    r = np.sqrt(x**2 + y**2 + z**2)
    grey, white = (r < 14) & (r >= 9), r < 9
    fluid = (r >= 14) & (r < 16)
    parts = [part.astype(np.float32) for part in (grey, white, fluid)]
    parts[2][:, 19:21, 0:4] = 1  # a thread to elsewhere
    parts[0][20, 20, 0] = 1  # a speck
    for part in parts:
        part *= 0.9
    parts[1][19:21, 19:21, 19:21] = 0.1  # a vessel
    brain, shares = brain_of_tissues(*(Volume(p, np.eye(4)) for p in parts))
    inside = brain.data
    # corners of a cubic opening: the outermost layer may lose single voxels
    assert np.mean(inside[r < 16]) > 0.97
    assert not inside[r > 17].any()
    total = sum(v.data for v in (shares.grey, shares.white, shares.fluid))
    np.testing.assert_allclose(total[inside], 1, atol=1e-6)
    assert not total[~inside].any()
    assert (shares.fluid.data[19:21, 19:21, 19:21] == 1).all()
    assert shares.grey.data[20, 20, 8] == 1


def test_the_rigid_part_of_an_affine():
    rigid = rigid_matrix(np.array([10.0, -20, 5]), np.array([0.3, -0.1, 0.2]))
    stretch = np.diag([1.1, 0.9, 1.05, 1])
    np.testing.assert_allclose(nearest_rigid(rigid @ stretch), rigid, atol=1e-12)


def smooth_field(shape, affine, size):
    """Displacements of some millimetres that are linear in space, so that grids do not matter."""
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1).astype(float))
    shear = size * np.array([[0.1, 0.02, 0], [0, -0.1, 0.05], [0.03, 0, 0.08]])
    return Field((points @ shear.T + size).astype(np.float32), affine)


def test_fields_one_after_another_and_moved():
    shape, affine = (12, 14, 10), np.diag([4.0, 4, 4, 1])
    first, second = smooth_field(shape, affine, 1.0), smooth_field(shape, affine, -0.5)
    points = np.array([[10.0, 12, 9], [20, 30, 14], [15, 22, 20]], np.float32).T
    there = points + displacement_at(first, points)
    there = there + displacement_at(second, there)
    both = compose_fields(first, second, grid((20, 20, 14), 2.0))
    np.testing.assert_allclose(points + displacement_at(both, points), there, atol=1e-4)
    xfm = rigid_matrix(np.array([5.0, -8, 3]), np.array([0.1, 0.3, -0.2]))
    expected = apply_affine(xfm, (points + displacement_at(first, points)).T).T
    found = points + displacement_at(moved_places(first, xfm), points)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    elsewhere = apply_affine(xfm, points.T).T.astype(np.float32)
    found = elsewhere + displacement_at(moved_grid(first, xfm), elsewhere)
    np.testing.assert_allclose(found, points + displacement_at(first, points), atol=1e-4)


@pytest.mark.slow
def test_the_way_to_the_template_from_priors_that_lie_elsewhere():
    """Tissues made from the template itself, moved by a known affine, lead back to it."""
    template = load_template()
    level = template.data / np.percentile(template.data[template.data > 0], 95)
    inside = template.data > 0
    white = np.clip((level - 0.74) / 0.26, 0, 1) * inside
    fluid = np.clip((0.74 - level) / 0.5, 0, 1) * inside
    away = rigid_matrix(np.array([2.0, -1.5, 3]), np.radians([2.0, -1, 1.5])) @ np.diag(
        [1.03, 0.98, 1.02, 1]
    )
    tissues = [
        Volume(part.astype(np.float32), away @ template.affine)
        for part in (inside - white - fluid, white, fluid)
    ]
    space = align_tissue_space(*tissues, template)
    points = apply_affine(template.affine, np.argwhere(inside)[::997].astype(float))
    there = points + displacement_at(space.template2priors, points.T.astype(np.float32)).T
    off_mm = np.linalg.norm(there - apply_affine(away, points), axis=1)
    # a quarter of the 2 mm grid on average; edges of the brain slide
    assert off_mm.mean() < 0.5
    assert np.percentile(off_mm, 99) < 1.5
    back = there + displacement_at(space.priors2template, there.T.astype(np.float32)).T
    assert np.percentile(np.linalg.norm(back - points, axis=1), 99) < 0.2
