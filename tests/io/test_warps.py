"""Displacement fields on disk, read by another library."""

import nibabel as nib
import numpy as np
import pytest
from nitransforms.nonlinear import DenseFieldTransform

from pipeline.core.errors import DataError
from pipeline.imaging.itk import Field
from pipeline.io.warps import read_field, write_field


@pytest.fixture
def field(rng):
    affine = np.array([[0, -2.0, 0, 20], [2.0, 0, 0, -15], [0, 0, 3.0, -9], [0, 0, 0, 1]])
    return Field(rng.normal(scale=3, size=(6, 7, 8, 3)).astype(np.float32), affine)


def test_field_survives_the_file(field, tmp_path):
    again = read_field(write_field(tmp_path / "xfm.nii.gz", field))
    np.testing.assert_array_equal(again.displacement_mm, field.displacement_mm)
    np.testing.assert_allclose(again.affine, field.affine, atol=1e-6)


def test_nitransforms_reads_it_as_an_itk_field(field, tmp_path):
    path = write_field(tmp_path / "xfm.nii.gz", field)
    image = nib.load(path)
    assert image.shape == (6, 7, 8, 1, 3)
    assert int(image.header["intent_code"]) == 1007
    theirs = DenseFieldTransform.from_filename(path, fmt="itk")
    index = np.array([[2, 3, 4], [0, 6, 1]])
    points = index @ field.affine[:3, :3].T + field.affine[:3, 3]
    expected = points + field.displacement_mm[tuple(index.T)]
    np.testing.assert_allclose(theirs.map(points), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 3), (4, 4, 4, 1, 2)])
def test_other_images_are_refused(shape, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.raises(DataError, match=r"x\.nii\.gz: a displacement field"):
        read_field(tmp_path / "x.nii.gz")


def test_values_that_are_not_finite_are_refused(field, tmp_path):
    field.displacement_mm[1, 2, 3, 0] = np.nan
    path = write_field(tmp_path / "xfm.nii.gz", field)
    with pytest.raises(DataError, match="not finite"):
        read_field(path)


def test_a_cut_file_is_refused(field, tmp_path):
    path = write_field(tmp_path / "xfm.nii", field)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"xfm\.nii"):
        read_field(path)
