"""What the files mean is tested with ITK itself, on an asymmetric phantom."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.io.transforms import (
    read_itk_transform,
    read_itk_transforms,
    write_itk_transform,
    write_itk_transforms,
)

A2B = rigid_matrix(np.array([7.0, -11.0, 4.0]), np.array([0.25, -0.4, 0.6]))
BLOBS_RAS = np.array([[12.0, -20.0, 9.0], [-25.0, 14.0, -6.0], [5.0, 22.0, 20.0]])
WEIGHTS = np.array([1.0, 2.0, 3.0])
RAS2LPS = np.diag([-1.0, -1.0, 1.0])


def sitk_image(points_ras: np.ndarray) -> sitk.Image:
    """Gaussian blobs of unequal height at world points, on an oblique 2-mm grid of 64^3."""
    direction = rigid_matrix(np.zeros(3), np.array([0.1, 0.05, -0.15]))[:3, :3]
    grid = np.stack(np.meshgrid(*[np.arange(64.0)] * 3, indexing="ij"), axis=-1)
    origin = -direction @ np.full(3, 63.0)
    world_lps = origin + 2 * grid @ direction.T
    data = np.zeros(grid.shape[:3])
    for point, weight in zip(points_ras @ RAS2LPS, WEIGHTS, strict=True):
        data += weight * np.exp(-((world_lps - point) ** 2).sum(-1) / (2 * 4.0**2))
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing((2.0, 2.0, 2.0))
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin.tolist())
    return image


def centre_ras(image: sitk.Image, near_ras: np.ndarray) -> np.ndarray:
    """Centre of mass within 10 mm of a world point."""
    data = sitk.GetArrayFromImage(image).T
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in data.shape], indexing="ij"), axis=-1)
    world = (np.array(image.GetOrigin()) + 2 * grid @ direction.T) @ RAS2LPS
    mask = np.linalg.norm(world - near_ras, axis=-1) < 10
    return (world[mask] * data[mask][:, None]).sum(0) / data[mask].sum()


def test_itk_resamples_a_onto_b(tmp_path):
    image_a = sitk_image(BLOBS_RAS)
    path = write_itk_transform(tmp_path / "from-A_to-B_mode-image_xfm.txt", A2B)
    grid_b = sitk_image(BLOBS_RAS)
    moved = sitk.Resample(image_a, grid_b, sitk.ReadTransform(str(path)), sitk.sitkLinear)
    for point, weight in zip(BLOBS_RAS, WEIGHTS, strict=True):
        expected = apply_affine(A2B, point)
        # the blobs differ in height, so that a flipped axis cannot pass; each of two linear
        # interpolations at 2 mm costs a Gaussian of sigma 4 mm up to 3 h^2 / (8 sigma^2) = 9 %
        assert np.linalg.norm(centre_ras(moved, expected) - expected) < 0.1
        peak = moved.EvaluateAtPhysicalPoint((RAS2LPS @ expected).tolist())
        assert peak == pytest.approx(weight, rel=0.18)


def test_nitransforms_reads_the_same_points(tmp_path):
    """An independent reader maps points of B back to A."""
    nitransforms = pytest.importorskip("nitransforms")
    path = write_itk_transform(tmp_path / "xfm.txt", A2B)
    loaded = nitransforms.linear.load(path, fmt="itk")
    np.testing.assert_allclose(loaded.map(apply_affine(A2B, BLOBS_RAS)), BLOBS_RAS, atol=1e-4)


rigid = st.builds(
    rigid_matrix,
    arrays(float, 3, elements=st.floats(-300, 300)),
    arrays(float, 3, elements=st.floats(-1.5, 1.5)),
)


@given(a2b=rigid)
def test_written_then_read_is_the_same(tmp_path_factory, a2b):
    path = tmp_path_factory.mktemp("xfm") / "xfm.txt"
    np.testing.assert_allclose(read_itk_transform(write_itk_transform(path, a2b)), a2b, atol=1e-9)


@given(frames=st.lists(rigid, min_size=1, max_size=5))
def test_frames_come_back_in_order(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("xfm") / "xfm.txt"
    write_itk_transforms(path, np.array(frames))
    # nitransforms reads in single precision: 24 bits of translations up to about 500 mm
    np.testing.assert_allclose(read_itk_transforms(path), frames, atol=5e-4)


def test_single_file_is_a_stack_of_one(tmp_path):
    path = write_itk_transform(tmp_path / "xfm.txt", A2B)
    np.testing.assert_allclose(read_itk_transforms(path), A2B[None], atol=1e-5)


def test_rotation_about_a_centre_is_read(tmp_path):
    transform = sitk.Euler3DTransform((10.0, 20.0, 30.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0))
    path = tmp_path / "xfm.tfm"
    sitk.WriteTransform(transform, str(path))
    b2a_xfm = np.linalg.inv(read_itk_transform(path))
    point = np.array([4.0, -5.0, 6.0])
    expected = RAS2LPS @ transform.TransformPoint((RAS2LPS @ point).tolist())
    np.testing.assert_allclose(apply_affine(b2a_xfm, point), expected, atol=1e-9)


BLOCK = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"


@pytest.mark.parametrize("read", [read_itk_transform, read_itk_transforms])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        BLOCK + "Parameters: 1 2\n",
        BLOCK + "Parameters: 1 0 0 0 1 0 0 0 nan 0 0 0\nFixedParameters: 0 0 0\n",
        BLOCK + "Parameters: 0 0 0 0 0 0 0 0 0 0 0 0\nFixedParameters: 0 0 0\n",
    ],
    ids=["empty", "no transform", "cut short", "not finite", "singular"],
)
def test_damaged_files_are_named(tmp_path, read, text):
    path = tmp_path / "xfm.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"xfm\.txt"):
        read(path)


@pytest.mark.parametrize("read", [read_itk_transform, read_itk_transforms])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        read(tmp_path / "gone.txt")


def test_many_transforms_are_not_one(tmp_path):
    path = write_itk_transforms(tmp_path / "xfm.txt", np.stack([A2B, np.eye(4)]))
    with pytest.raises(DataError, match="holds 2 transforms"):
        read_itk_transform(path)


def test_deformation_is_refused(tmp_path):
    field = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3))
    path = tmp_path / "field.h5"
    sitk.WriteTransform(field, str(path))
    with pytest.raises(DataError, match="not a linear transform"):
        read_itk_transform(path)


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1.0, 1.0, 0.0, 1.0]), np.full((4, 4), np.nan), np.ones((4, 4))],
    ids=["3x3", "singular", "nan", "projective"],
)
def test_only_invertible_affine_matrices_are_written(tmp_path, matrix):
    with pytest.raises(ValueError, match=r"\(F, 4, 4\)|inverse|last row"):
        write_itk_transform(tmp_path / "xfm.txt", matrix)
