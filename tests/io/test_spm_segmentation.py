"""What SPM12's segmentation leaves, written as SPM writes it."""

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.imaging.warp import displacement_at
from pipeline.io.spm_segmentation import read_deformation, read_priors, read_segmentation_fit


def write_fit(path, likelihood, warp):
    """A ``*_seg8.mat`` with the fields of spm_preproc_run.m that matter here."""
    priors = np.zeros((1, 2), [("fname", object), ("mat", object)])
    for column in range(2):
        priors[0, column] = ("/opt/my spm12/tpm/TPM.nii", np.eye(4))
    savemat(path, {"ll": likelihood, "Twarp": warp, "tpm": priors, "Affine": np.eye(4)})


WARP = np.linspace(-4, 4, 5 * 6 * 4 * 3).reshape(5, 6, 4, 3)


@pytest.mark.parametrize(
    ("likelihood", "warp", "finite"),
    [
        (-155788.1, WARP, True),
        (np.nan, np.full_like(WARP, np.nan), False),
        (-155788.1, np.where(WARP > 3.9, np.inf, WARP), False),
        (np.nan, WARP, False),
        (-155788.1, np.empty((0, 3)), False),
    ],
)
def test_a_warp_without_numbers_is_found(tmp_path, likelihood, warp, finite):
    write_fit(tmp_path / "t1w_seg8.mat", likelihood, warp)
    fit = read_segmentation_fit(tmp_path / "t1w_seg8.mat")
    assert fit.finite is finite
    assert str(fit.priors) == "/opt/my spm12/tpm/TPM.nii"


def test_other_files_are_no_fit(tmp_path):
    savemat(tmp_path / "x.mat", {"M": np.eye(4)})
    (tmp_path / "text.mat").write_text("none")
    for name in ("x.mat", "text.mat", "none.mat"):
        with pytest.raises(DataError, match=rf"{name}: not the result of a segmentation"):
            read_segmentation_fit(tmp_path / name)


def test_a_deformation_becomes_displacements(tmp_path):
    """SPM keeps world coordinates of the other space, here those of a known affine."""
    affine = rigid_matrix(np.array([-20.0, 30, 5]), np.array([0.1, -0.2, 0.3])) @ np.diag(
        [-1.5, 1.5, 2, 1]
    )
    other = rigid_matrix(np.array([4.0, -3, 2]), np.array([0.05, 0.1, -0.1]))
    points = apply_affine(affine, np.moveaxis(np.indices((8, 9, 7)), 0, -1).astype(float))
    places = apply_affine(other, points).astype(np.float32)
    places[0] = np.nan  # beyond the field of view
    nib.save(nib.Nifti1Image(places[:, :, :, None, :], affine), tmp_path / "y_ü 1.nii")
    field = read_deformation(tmp_path / "y_ü 1.nii")
    inner = points[1:].reshape(-1, 3)
    found = inner + displacement_at(field, inner.T.astype(np.float32)).T
    np.testing.assert_allclose(found, apply_affine(other, inner), atol=0.01)
    np.testing.assert_array_equal(field.displacement_mm[0], field.displacement_mm[1])


def test_what_is_no_deformation_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / "a.nii")
    nothing = np.full((3, 3, 3, 1, 3), np.nan, np.float32)
    nib.save(nib.Nifti1Image(nothing, np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(DataError, match=r"a\.nii: a deformation"):
        read_deformation(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"b\.nii: the deformation holds no number"):
        read_deformation(tmp_path / "b.nii")
    with pytest.raises(DataError, match=r"a\.nii: tissue probability maps expected"):
        read_priors(tmp_path / "a.nii")
