"""Frames and labels in, corrected curves out; one area cannot be told from the reference."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.imaging.itk import Field
from pipeline.imaging.reference import TrimByPlanes
from pipeline.imaging.regions import RegionSpec
from pipeline.interfaces.partial_volume import CorrectCurves, MarkAreas
from pipeline.io.images import open_image, write_array
from pipeline.io.tables import read_table, write_table
from pipeline.io.transforms import write_itk_transform
from pipeline.io.warps import write_field

FWHM_MM = 4.0
LEVEL = {"HIP": 3.0, "CBL": 1.0, "white": 0.5}
SPEC = RegionSpec(
    (("HIP", (17,)), ("AMG", (18,)), ("STEM", (16,))), (), "CBL", TrimByPlanes(), 3
)  # fmt: skip


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A block of white matter with two blocks in it; two frames, the second twice as hot."""
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((48, 48, 48), np.int16)
    labels[6:42, 6:42, 6:42] = 2
    labels[12:20, 12:24, 12:24], labels[28:40, 20:36, 20:36] = 17, 8
    activity = np.zeros(labels.shape)
    for name, label in (("white", 2), ("HIP", 17), ("CBL", 8)):
        activity[labels == label] = LEVEL[name]
    # on a grid of half a millimetre, then means over voxels of 2 mm
    fine = activity.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    sigma = 2 * FWHM_MM / np.sqrt(8 * np.log(2))
    fine = ndimage.gaussian_filter(fine, sigma, mode="constant", truncate=5)
    frame = fine.reshape(24, 4, 24, 4, 24, 4).mean((1, 3, 5))
    pet_affine = np.diag([2.0, 2, 2, 1])
    pet_affine[:3, 3] = 0.5

    def image(name, data, affine):
        return str(write_array(tmp_path / f"{name}.nii.gz", np.asarray(data), affine))

    def table(name, columns):
        return str(write_table(tmp_path / f"{name}.tsv", pd.DataFrame(columns)))

    still = Field(np.zeros((2, 2, 2, 3), np.float32), 100 * np.eye(4))
    one = np.eye(4)
    frames = np.stack([frame, 2 * frame], axis=-1).astype(np.float32)
    return {
        "dseg": image("dseg", labels, one),
        "brain_mask": image("brain", (labels > 0).astype(np.uint8), one),
        "gm_probseg": image("gm", (labels == 17).astype(np.float32), one),
        "reference_mask": image("ref", (labels == 8).astype(np.uint8), one),
        "t1w2acpc_xfm": str(write_itk_transform(tmp_path / "acpc.txt", one)),
        "petref2t1w_xfm": str(write_itk_transform(tmp_path / "xfm.txt", one)),
        "mni2t1w_xfm": str(write_field(tmp_path / "field.nii.gz", still)),
        "petref": image("petref", frame.astype(np.float32), pet_affine),
        "pet_preproc": image("pet", frames, pet_affine),
        "tacs": table("tacs", {"frame_start": [0, 60], "frame_end": [60, 120], "HIP": [2.0, 4.0],
                               "AMG": np.nan, "STEM": np.nan, "CBL": [1, 2], "Brain": [9, 8]}),
        "morph": table("morph", {"index": [1, 2, 3, 4], "name": ["HIP", "AMG", "STEM", "CBL"],
                                 "volume-mm3": [1152, 0, 0, 3072]}),
        "spec": SPEC,
        "psf_fwhm_mm": (FWHM_MM,) * 3,
        "minimum_volume_mm3": 100.0,
    }  # fmt: skip


@pytest.mark.parametrize("method", ["gtm", "rbv"])
def test_curves_come_out_at_their_true_level(files, method):
    out = CorrectCurves(method=method, **files).run().outputs
    tacs = read_table(out.tacs)
    for name in ("HIP", "CBL"):
        # what is left is the phantom's grid of half a millimetre
        np.testing.assert_allclose(tacs[name], LEVEL[name] * np.array([1, 2]), rtol=0.01)
    # the brain weights the frames by what was measured; what has no curve gets none
    assert tacs["Brain"].tolist() == [9, 8]
    assert tacs[["AMG", "STEM"]].isna().all(axis=None)
    assert list(tacs.columns) == list(read_table(files["tacs"]).columns)
    morph = read_table(out.morph).set_index("name")
    assert 0.5 < morph.loc["HIP", "recovery"] < morph.loc["CBL", "recovery"] < 1
    assert morph.loc["HIP", "noise-factor"] > morph.loc["CBL", "noise-factor"] > 1
    assert np.isnan(morph.loc["AMG", "recovery"])


def test_a_reference_that_is_not_seen_stops_the_session(files, tmp_path):
    series = open_image(files["pet_preproc"])
    frames = np.asarray(series.dataobj).copy()
    frames[12:] = np.nan
    files["pet_preproc"] = str(write_array(tmp_path / "half.nii.gz", frames, series.affine))
    with pytest.raises(DataError, match=r"reference region CBL cannot be told .* 4 x 4 x 4 mm"):
        CorrectCurves(method="gtm", **files).run()


def test_a_region_that_the_frames_lack_for_the_most_part_has_no_value(files, tmp_path):
    series = open_image(files["pet_preproc"])
    frames = np.asarray(series.dataobj).copy()
    frames[6:10, 6:12, 6:11] = np.nan  # five planes of the six of the hippocampus
    files["pet_preproc"] = str(write_array(tmp_path / "holed.nii.gz", frames, series.affine))
    tacs = read_table(CorrectCurves(method="gtm", **files).run().outputs.tacs)
    assert tacs["HIP"].isna().all()
    np.testing.assert_allclose(tacs["CBL"], [1, 2], rtol=0.01)


def test_masks_for_other_programs_fill_every_voxel_once(files):
    wanted = {name: files[name] for name in MarkAreas.input_spec().copyable_trait_names()
              if name in files}  # fmt: skip
    masks = np.asarray(open_image(MarkAreas(**wanted).run().outputs.areas).dataobj)
    # hippocampus, cerebellum, white matter, two shells, the rest
    assert masks.shape == (24, 24, 24, 6)
    np.testing.assert_allclose(masks.sum(axis=3), 1, atol=1e-5)
    assert masks.min() >= 0
    # the rest, outside the shells, is nothing here; the hippocampus is the least of all else
    volumes = masks.sum(axis=(0, 1, 2)) * 8
    assert min(volumes[:-1]) == pytest.approx(8 * 12 * 12, rel=0.02)
