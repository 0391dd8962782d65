"""Matrices of FSL, FreeSurfer and SPM: an asymmetric phantom comes back to where it was.

Nothing here goes through the reader's own library: the meaning of every format is written out from
its documentation. FSL: fsl.fmrib.ox.ac.uk/fsl/docs, FLIRT FAQ, "What is the format of the matrix";
FreeSurfer: FsTutorial/LtaFormat of its wiki; SPM: spm_get_space.m, spm_realign.m.
"""

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.io.images import write_volume
from pipeline.io.tool_transforms import (
    read_fsl_transform,
    read_lta_transform,
    read_rigid_transform,
)
from pipeline.io.transforms import read_itk_transform

PHANTOM_MM = np.array([[0.0, 0, 0], [60, 5, -10], [-20, 70, 15], [10, -30, 55], [-70, -80, -60]])
"""Points of no symmetry, over a head."""
A2B = rigid_matrix(np.array([23.0, -41.5, 12.25]), np.radians([14.0, -9, 31]))
WITHIN_MM = 0.01


def grid(shape, sizes, order=(0, 1, 2), flips=(1, 1, 1), origin=(-90.0, -110, -70), tilt=0.0):
    """A grid by the order and direction of its axes, tilted by some degrees."""
    axes = np.zeros((3, 3))
    for voxel_axis, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        axes[axis, voxel_axis] = flip * sizes[voxel_axis]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    turned = rigid_matrix(np.zeros(3), np.radians([tilt, -tilt / 2, tilt / 3])) @ affine
    return Volume(np.zeros(shape, np.uint8), turned)


GRIDS = {
    "right-handed": grid((91, 109, 91), (2, 2, 2)),
    "left-handed": grid((128, 128, 63), (2.1, 2.1, 2.4), flips=(-1, 1, 1), origin=(120, -90, -60)),
    "conformed": grid((256, 256, 256), (1, 1, 1), (0, 2, 1), (-1, -1, 1), (128, -120, 130)),
    "oblique": grid((160, 200, 180), (1.1, 0.9, 1.3), (1, 2, 0), (1, -1, 1), tilt=18),
}
PAIRS = [("right-handed", "left-handed"), ("oblique", "conformed"), ("left-handed", "oblique")]


def same_points(found):
    """The transform leads where the known one does, and its inverse back."""
    images = apply_affine(A2B, PHANTOM_MM)
    np.testing.assert_allclose(apply_affine(found, PHANTOM_MM), images, atol=WITHIN_MM)
    back = apply_affine(np.linalg.inv(found), images)
    np.testing.assert_allclose(back, PHANTOM_MM, atol=WITHIN_MM)


def fsl_points(volume, points_mm):
    """World points in FSL's coordinates."""
    voxels = apply_affine(np.linalg.inv(volume.affine), points_mm)
    if np.linalg.det(volume.affine) > 0:
        voxels[:, 0] = volume.shape[0] - 1 - voxels[:, 0]
    return voxels * volume.voxel_size_mm


def fitted(points, images):
    """The affine that takes points to images, (N, 3) each."""
    matrix = np.linalg.lstsq(np.c_[points, np.ones(len(points))], images, rcond=None)[0].T
    return np.vstack([matrix, [0, 0, 0, 1]])


@pytest.mark.parametrize(("a", "b"), [*PAIRS, *(pair[::-1] for pair in PAIRS)])
def test_flirt_leads_from_the_input_to_the_reference(tmp_path, a, b):
    moving, reference = GRIDS[a], GRIDS[b]
    matrix = fitted(
        fsl_points(moving, PHANTOM_MM), fsl_points(reference, apply_affine(A2B, PHANTOM_MM))
    )
    path = tmp_path / "pet zu müller.mat"
    path.write_text("\n".join("  ".join(f"{v:.10g}" for v in row) + "  " for row in matrix) + "\n")
    same_points(read_fsl_transform(path, moving, reference))


def lta(kind, matrix, source, destination):
    """An LTA as FreeSurfer 7 writes it."""

    def geometry(volume):
        axes = volume.affine[:3, :3] / volume.voxel_size_mm
        middle = apply_affine(volume.affine, np.array([volume.shape]) / 2.0)[0]
        rows = [f"{name}ras   = {' '.join(f'{v:.15e}' for v in axis)}"
                for name, axis in zip("xyz", axes.T, strict=True)]  # fmt: skip
        return "\n".join([
            "valid = 1  # volume info valid", "filename = /data/sub 01/mri/orig.mgz",
            f"volume = {' '.join(map(str, volume.shape))}",
            f"voxelsize = {' '.join(f'{v:.15e}' for v in volume.voxel_size_mm)}", *rows,
            f"cras   = {' '.join(f'{v:.15e}' for v in middle)}",
        ])  # fmt: skip

    rows = "\n".join(" ".join(f"{v:.15e}" for v in row) for row in matrix)
    return (
        f"# transform file pet.lta\n# created by me\n\ntype      = {kind} # LINEAR\n"
        f"nxforms   = 1\nmean      = 0.0000 0.0000 0.0000\nsigma     = 1.0000\n1 4 4\n{rows}\n"
        f"src volume info\n{geometry(source)}\ndst volume info\n{geometry(destination)}\n"
        "subject sub-01\nfscale 0.150000\n"
    )


@pytest.mark.parametrize(("a", "b"), [*PAIRS, *(pair[::-1] for pair in PAIRS)])
@pytest.mark.parametrize("kind", [0, 1])
def test_lta_leads_from_its_source_to_its_destination(tmp_path, kind, a, b):
    source, destination = GRIDS[a], GRIDS[b]
    voxels = np.linalg.inv(destination.affine) @ A2B @ source.affine
    path = tmp_path / "zu T1.lta"
    path.write_text(lta(kind, A2B if kind else voxels, source, destination))
    same_points(read_lta_transform(path))


@pytest.mark.parametrize("centre_mm", [(0, 0, 0), (12.5, -30, 41)])
def test_itk_leads_from_the_reference_to_the_input_in_lps(tmp_path, centre_mm):
    """``y = A (x - c) + t + c`` for points x of the reference (ITK Software Guide, 3.9.2)."""
    flip = np.diag([-1.0, -1, 1, 1])
    lps = flip @ np.linalg.inv(A2B) @ flip
    centre = np.array(centre_mm, float)
    shift = lps[:3, 3] + lps[:3, :3] @ centre - centre
    numbers = " ".join(f"{v:.12g}" for v in [*lps[:3, :3].ravel(), *shift])
    path = tmp_path / "from-pet_to-T1w ü.txt"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: {' '.join(map(str, centre_mm))}\n"
    )
    same_points(read_itk_transform(path))


@pytest.mark.parametrize("name", GRIDS)
def test_spm_moves_the_header(tmp_path, name):
    before = GRIDS[name]
    path = tmp_path / "frame 1 ü.nii"
    write_volume(path, Volume(before.data, A2B @ before.affine))
    same_points(read_rigid_transform("spm", path, before, GRIDS["conformed"]))


def test_a_stretched_head_is_refused(tmp_path):
    before, path = GRIDS["oblique"], tmp_path / "frame.nii"
    write_volume(path, Volume(before.data, np.diag([1.01, 1, 1, 1]) @ before.affine))
    with pytest.raises(DataError, match=r"frame\.nii: not a rigid transform"):
        read_rigid_transform("spm", path, before, before)
    (tmp_path / "x.mat").write_text("1.01 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(DataError, match=r"x\.mat: not a rigid transform"):
        read_rigid_transform("fsl", tmp_path / "x.mat", before, before)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a matrix of FLIRT"),
        ("1 0 0 0\n0 1 0 0\n", "not a matrix of FLIRT"),
        ("1 0 0 0\n0 1 0 0\n0 0 x 0\n0 0 0 1\n", "not an affine matrix"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n", "not an affine matrix"),
        ("1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "cannot be inverted"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path, text, told):
    path = tmp_path / "x.mat"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"x\.mat: .*{told}"):
        read_fsl_transform(path, GRIDS["oblique"], GRIDS["oblique"])


def test_ltas_that_say_too_little_are_refused(tmp_path):
    good = lta(0, np.eye(4), GRIDS["oblique"], GRIDS["conformed"])
    path = tmp_path / "x.lta"
    for text, told in (
        (good.replace("valid = 1 ", "valid = 0 "), "type 0 without the grids"),
        (good.replace("type      = 0", "type      = 14"), "type 14"),
        (good[:200], "not an LTA"),
        ("1 0 0 0", "not an LTA"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"x\.lta: .*{told}"):
            read_lta_transform(path)


def test_missing_files_are_named(tmp_path):
    for read in (
        lambda p: read_fsl_transform(p, GRIDS["oblique"], GRIDS["oblique"]),
        read_lta_transform,
        lambda p: read_rigid_transform("spm", p, GRIDS["oblique"], GRIDS["oblique"]),
    ):
        with pytest.raises(DataError, match=r"none\.mat: no such file"):
            read(tmp_path / "none.mat")
