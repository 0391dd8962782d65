"""The unified segmentation of SPM12: what petbind hands to it and makes of what it leaves.

SPM's part is played by a double that knows the truth; `test_spm.py` runs the program itself.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.io import savemat

import pipeline.interfaces.spm_anatomy as spm_anatomy
from pipeline.core.errors import ToolError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.warp import displacement_at, resample
from pipeline.interfaces.spm_anatomy import AlignPriors, SegmentHead, TakeSegmentation
from pipeline.io.atlas import load_template
from pipeline.io.images import read_volume, write_array, write_volume
from pipeline.io.tables import read_json
from pipeline.io.warps import read_field

TEMPLATE2HEAD = rigid_matrix(np.array([15.0, -20, 30]), np.radians([14.0, -6, 9]))
TEMPLATE2HEAD[:3, :3] *= 0.91
TEMPLATE2PRIORS = rigid_matrix(np.array([1.0, 2, -1.5]), np.radians([1.0, 0, -1])) @ np.diag(
    [1.02, 0.99, 1.01, 1]
)
PRIORS2HEAD = TEMPLATE2HEAD @ np.linalg.inv(TEMPLATE2PRIORS)
BIAS = 1.2


def tissues_of(template):
    """Grey matter, white matter and fluid as the template's intensities tell them."""
    level = template.data / np.percentile(template.data[template.data > 0], 95)
    inside = template.data > 0
    white = np.clip((level - 0.74) / 0.26, 0, 1) * inside
    fluid = np.clip((0.74 - level) / 0.5, 0, 1) * inside
    return [part.astype(np.float32) for part in (inside - white - fluid, white, fluid)]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A head made of the template, its tissues, and priors that lie elsewhere."""
    folder = tmp_path_factory.mktemp("truth ü")
    template = load_template()
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    shape = (124, 110, 106)
    centre = apply_affine(TEMPLATE2HEAD, np.array([0.0, -20, 5]))
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) / 2)
    grid = Volume(np.zeros(shape, np.float32), affine)
    back = np.linalg.inv(TEMPLATE2HEAD)
    tissues = tissues_of(template)
    inside = resample(template.with_data((template.data > 0).astype(np.float32)), grid, back)
    outside_mm = ndimage.distance_transform_edt(inside.data < 0.5) * 2
    shells = np.select(
        [inside.data > 0.5, outside_mm < 4, outside_mm < 9, outside_mm < 18], [0, 15, 5, 70]
    )
    image = resample(template, grid, back).data * (inside.data > 0.5) + shells
    t1w = write_volume(folder / "t1w.nii.gz", grid.with_data(image.astype(np.float32)))
    priors = write_array(
        folder / "TPM.nii", np.stack(tissues, axis=-1), TEMPLATE2PRIORS @ template.affine
    )
    carried = [resample(template.with_data(part), grid, back).data for part in tissues]
    return {"t1w": t1w, "priors": priors, "tissues": carried}


class Double:
    """Plays spm.NewSegment: writes the truth, on the grid it is handed."""

    lost = 1
    """How many runs lose their warp."""
    calls = 0
    truth: dict

    def __init__(self, **inputs):
        self.inputs = inputs

    def run(self, cwd):
        cls = type(self)
        cls.calls += 1
        t1w = read_volume(self.inputs["channel_files"][0])
        raw = read_volume(self.truth["t1w"])
        pad = (t1w.shape[0] - raw.shape[0]) // 2
        folder = Path(cwd)
        header2truth = raw.affine @ np.linalg.inv(t1w.affine @ shift(pad))
        for number, part in enumerate(self.truth["tissues"], start=1):
            put = np.pad(part, ((pad, pad), (0, 0), (0, 0)))
            write_volume(folder / f"c{number}t1w.nii", t1w.with_data(put))
        write_volume(folder / "mt1w.nii", t1w.with_data(t1w.data / BIAS))
        priors = nib.load(self.truth["priors"])
        priors2handed = np.linalg.inv(header2truth) @ PRIORS2HEAD
        for name, grid, xfm in (
            ("y", (priors.shape[:3], priors.affine), priors2handed),
            ("iy", (t1w.shape, t1w.affine), np.linalg.inv(priors2handed)),
        ):
            points = apply_affine(grid[1], np.moveaxis(np.indices(grid[0]), 0, -1).astype(float))
            places = apply_affine(xfm, points).astype(np.float32)[:, :, :, None, :]
            nib.save(nib.Nifti1Image(places, grid[1]), folder / f"{name}_t1w.nii")
        number = np.nan if cls.calls <= cls.lost else 1.0
        tpm = np.zeros((1, 1), [("fname", object)])
        tpm[0, 0] = (str(self.truth["priors"]),)
        warp = np.full((3, 3, 3, 3), number)
        savemat(folder / "t1w_seg8.mat", {"ll": number, "Twarp": warp, "tpm": tpm})


def shift(pad):
    """Voxels of the image to voxels of the padded one."""
    xfm = np.eye(4)
    xfm[0, 3] = pad
    return xfm


OPTIONS = {
    "sampling_mm": 3.0, "bias_fwhm_mm": 60.0, "bias_regularisation": 0.001, "population": "mni",
    "matlab_cmd": "octave", "paths": ["/"],
}  # fmt: skip


@pytest.fixture
def double(truth, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kind = type("Double", (Double,), {"truth": truth, "calls": 0})
    monkeypatch.setattr(spm_anatomy, "NewSegment", kind)
    return kind


@pytest.mark.slow
def test_a_lost_warp_is_tried_again_and_the_way_leads_to_the_template(truth, double):
    segmented = SegmentHead(t1w=str(truth["t1w"]), **OPTIONS).run().outputs
    assert double.calls == 2
    assert [path.name for path in Path().glob("pad*")] == [Path(segmented.priors2t1w).parent.name]
    quality = read_json(segmented.quality)
    assert quality["SegmentationsWithoutWarp"] == 1
    assert quality["SegmentationPadding_voxels"] > 0
    priors = AlignPriors(priors=segmented.priors).run().outputs
    names = (
        *("corrected", "grey", "white", "fluid", "priors2t1w", "t1w2priors"),
        "handed2t1w_xfm",
    )
    taken = TakeSegmentation(
        t1w=str(truth["t1w"]),
        segmentation_quality=segmented.quality,
        template2priors=priors.template2priors,
        priors2template=priors.priors2template,
        **{name: getattr(segmented, name) for name in names},
    ).run().outputs  # fmt: skip
    template, t1w = load_template(), read_volume(truth["t1w"])
    points = apply_affine(template.affine, np.argwhere(template.data > 0)[::997].astype(float))
    there = apply_affine(TEMPLATE2HEAD, points)
    field = read_field(taken.t1w2mni_xfm)
    found = points + displacement_at(field, points.T.astype(np.float32)).T
    # SPM's part is exact here: what is left is the registration of its priors, on a 2 mm grid
    off_mm = np.linalg.norm(found - there, axis=1)
    assert off_mm.mean() < 0.5
    back = read_field(taken.mni2t1w_xfm)
    again = there + displacement_at(back, there.T.astype(np.float32)).T
    assert np.linalg.norm(again - points, axis=1).mean() < 0.6
    for name in ("t1w_preproc", "brain_mask", "gm_probseg", "wm_probseg", "csf_probseg"):
        image = read_volume(getattr(taken, name))
        assert image.shape == t1w.shape
        np.testing.assert_allclose(image.affine, t1w.affine, atol=1e-4)
    inside = read_volume(taken.brain_mask).data > 0
    expected = np.sum(truth["tissues"], axis=0) > 0.5
    overlap = 2 * (inside & expected).sum() / (inside.sum() + expected.sum())
    assert overlap > 0.98
    quality = read_json(taken.quality)
    assert quality["BiasFieldRange_percent"] < 0.1
    assert any("lost the warp" in text for text in quality["Warnings"])
    assert not quality["SkullStripped"]


def test_a_warp_that_is_always_lost_is_an_error(truth, double):
    double.lost = 9
    with pytest.raises(ToolError, match=r"lost the warp .* anatomy\.sampling_mm"):
        SegmentHead(t1w=str(truth["t1w"]), **OPTIONS).run()
    assert double.calls == 3
