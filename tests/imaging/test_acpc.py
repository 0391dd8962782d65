"""Anatomical axes: the commissures decide, however the head lies."""

import numpy as np
import pytest

from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.acpc import (
    ANTERIOR_COMMISSURE_MM,
    POSTERIOR_COMMISSURE_MM,
    acpc_alignment,
    realigned,
)
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import grid_points_mm
from pipeline.io.atlas import load_template

COMMISSURES = np.array([ANTERIOR_COMMISSURE_MM, POSTERIOR_COMMISSURE_MM])


def field_of(template2image):
    """The field of an affine, on a coarse grid of MNI space."""
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = [-96, -132, -78]
    points = grid_points_mm((25, 29, 25), affine)
    moved = apply_affine(template2image, np.moveaxis(points, 0, 3).astype(float))
    return Field((moved - np.moveaxis(points, 0, 3)).astype(np.float32), affine)


@pytest.fixture(params=[(0, 0, 0), (25, -12, 8)], ids=["upright", "tilted"])
def template2image(request):
    """A smaller head, sheared a little, that lies as it likes."""
    matrix = rigid_matrix(np.array([30.0, -80, 12]), np.radians(request.param))
    matrix[:3, :3] = matrix[:3, :3] @ (np.diag([0.9, 0.94, 0.88]))
    return matrix


def test_commissures_lie_on_the_y_axis(template2image):
    image2acpc = acpc_alignment(field_of(template2image))
    anterior, posterior = apply_affine(image2acpc @ template2image, COMMISSURES)
    np.testing.assert_allclose(anterior, 0, atol=1e-3)
    length = np.linalg.norm(template2image[:3, :3] @ (COMMISSURES[0] - COMMISSURES[1]))
    np.testing.assert_allclose(posterior, [0, -length, 0], atol=1e-3)


def test_axes_are_rigid_and_not_mirrored(template2image):
    image2acpc = acpc_alignment(field_of(template2image))
    np.testing.assert_allclose(image2acpc[:3, :3] @ image2acpc[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(image2acpc[:3, :3]) == pytest.approx(1)
    right = image2acpc[:3, :3] @ template2image[:3, 0]
    above = image2acpc[:3, :3] @ template2image[:3, 2]
    assert right[0] > 0.85
    assert above[2] > 0.8


def test_the_realigned_image_shows_the_same_head_however_it_lay():
    template = load_template()
    step = (slice(None, None, 3),) * 3
    affine = template.affine @ np.diag([3.0, 3, 3, 1])
    images = []
    for turn in ((0, 0, 0), (20, -10, 15)):
        lie = rigid_matrix(np.array([10.0, 20, -30]), np.radians(turn))
        image = Volume(template.data[step].astype(np.float32), lie @ affine)
        brain = image.with_data(image.data > 0)
        images.append(realigned(image, brain, acpc_alignment(field_of(lie))))
    straight, tilted = images
    # boxes differ: compare where both are
    shift = np.round((straight.affine[:3, 3] - tilted.affine[:3, 3]) / 3).astype(int)
    assert (shift >= 0).all()
    box = tuple(slice(s, s + n) for s, n in zip(shift, straight.shape, strict=True))
    other = tilted.data[box]
    assert other.shape == straight.shape
    assert np.abs(other - straight.data).max() < 0.02 * straight.data.max()
    np.testing.assert_allclose(straight.affine[:3, 3] / 3 % 1, 0, atol=1e-9)
    np.testing.assert_allclose(np.diag(straight.affine)[:3], 3)
    assert straight.data.min() >= 0
