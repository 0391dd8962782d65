"""Files in, a transform and what speaks for it out."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import WHOLE, judge_place
from pipeline.interfaces.coregistration import Coregister, KeepPlace
from pipeline.interfaces.tool_coregistration import HandHead, TakePlace
from pipeline.io.images import read_grid, read_volume, write_array, write_volume
from pipeline.io.transforms import read_itk_transform, write_itk_transform
from simulated_session import Wanted, simulate_session

MINUTES = np.array([10.0, 10.0, 20.0])  # early, neither, late


@pytest.fixture(scope="module")
def session():
    return simulate_session(Wanted(3, "cortical", 6, 5, pet_voxel_mm=6, t1w_voxel_mm=3))


@pytest.fixture
def inputs(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    early, late = (session.references[name].data for name in ("early", "late"))
    frames = np.stack([early, early + late, late], axis=-1)
    whole = session.references[WHOLE].with_data(
        np.average(frames, axis=3, weights=MINUTES).astype(np.float32)
    )
    start_s = 60 * np.concatenate([[0.0], np.cumsum(MINUTES)[:-1]])
    scan = ScanInputs(
        subject="01", session="a", task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=tuple(start_s.tolist()),
        frame_duration_s=tuple((60 * MINUTES).tolist()), frame_scale=(1.0, 1.0, 1.0),
        radionuclide="C11", tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip
    head = session.head
    images = dict(zip(("gm_probseg", "wm_probseg", "csf_probseg"), head.tissues, strict=True))
    images["t1w_preproc"] = head.t1w
    images["brain_mask"] = head.t1w.with_data(head.brain_mask.astype(np.uint8))
    images["petref"] = whole
    files = {n: str(write_volume(tmp_path / f"{n}.nii.gz", v)) for n, v in images.items()}
    pet = write_array(tmp_path / "pet_preproc.nii.gz", frames.astype(np.float32), whole.affine)
    return {**files, "pet_preproc": str(pet), "scan": scan}


def told(outputs):
    return json.loads(Path(outputs.quality).read_text())["Coregistration"]


def test_a_search_tells_what_it_tried(inputs, session):
    outputs = Coregister(smoothing_fwhm_mm=4.0, **inputs).run().outputs
    error_mm = session.error_mm(read_itk_transform(outputs.petref2t1w_xfm))
    assert error_mm.mean() < 3.0  # half a voxel
    quality = told(outputs)
    assert quality["ScoreByReference"].keys() == {"whole", "early", "late"}
    assert quality["StartsThatAgree"].endswith("of 8")
    assert quality["Flagged"] is False
    assert quality["Score"] > quality["LeastScore"]
    assert 0 <= quality["ShareOfTypicalScoresBelow"] <= 1
    assert quality["TypicalScores"] == sorted(quality["TypicalScores"])


def test_a_scan_said_to_be_aligned_has_one_start(inputs):
    quality = told(Coregister(smoothing_fwhm_mm=4.0, aligned=True, **inputs).run().outputs)
    assert quality["Start"] == "given"
    assert quality["StartsThatAgree"] == "1 of 1"


def test_a_given_place_is_kept_and_measured(inputs, session, tmp_path):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    given = write_itk_transform(tmp_path / "given.txt", truth)
    outputs = KeepPlace(init_xfm=str(given), **inputs).run().outputs
    np.testing.assert_allclose(read_itk_transform(outputs.petref2t1w_xfm), truth, atol=1e-9)
    quality = told(outputs)
    assert quality["Flagged"] is False
    assert "StartsThatAgree" not in quality
    # the means over the windows are the images the frames were made of
    images = {name: session.references[name] for name in ("early", "late")}
    expected = judge_place(images, session.head, truth).score
    assert quality["Score"] == pytest.approx(expected, rel=1e-4)


def test_a_place_by_freesurfer_is_kept(inputs, session, tmp_path):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    grid = "\n".join(
        ["valid = 0", "filename = ", "volume = 1 1 1", "voxelsize = 1 1 1", "xras = 1 0 0",
         "yras = 0 1 0", "zras = 0 0 1", "cras = 0 0 0"]
    )  # fmt: skip
    rows = "\n".join(" ".join(map(repr, row)) for row in truth.tolist())
    (tmp_path / "given.lta").write_text(
        f"type = 1\nnxforms = 1\nmean = 0 0 0\nsigma = 1\n1 4 4\n{rows}\n"
        f"src volume info\n{grid}\ndst volume info\n{grid}\n"
    )
    outputs = KeepPlace(init_xfm=str(tmp_path / "given.lta"), **inputs).run().outputs
    np.testing.assert_allclose(read_itk_transform(outputs.petref2t1w_xfm), truth, atol=1e-4)


def test_a_wrong_place_is_kept_but_flagged(inputs, tmp_path):
    away = np.eye(4)
    away[0, 3] = 40
    given = write_itk_transform(tmp_path / "given.txt", away)
    quality = told(KeepPlace(init_xfm=str(given), **inputs).run().outputs)
    assert quality["Flagged"] is True


def test_the_threshold_is_a_setting(inputs, session, tmp_path):
    given = write_itk_transform(tmp_path / "given.txt", np.linalg.inv(session.t1w2pet_xfm))
    quality = told(KeepPlace(init_xfm=str(given), least_score=0.999, **inputs).run().outputs)
    assert quality["LeastScore"] == 0.999
    assert quality["Flagged"] is True


def test_a_given_start_that_misses_is_an_error(inputs, tmp_path):
    away = np.eye(4)
    away[0, 3] = 1000
    given = write_itk_transform(tmp_path / "given.txt", away)
    with pytest.raises(DataError, match="overlap from no start"):
        Coregister(smoothing_fwhm_mm=4.0, init_xfm=str(given), **inputs).run()


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("moved", ["pet", "t1w"])
def test_the_place_another_program_found_is_taken_and_measured(inputs, session, moved, centred):
    """The test plays SPM: it moves the header of one image onto the other, by the truth."""
    images = {name: inputs[name] for name in ("petref", "t1w_preproc", "brain_mask")}
    handed = HandHead(centred=centred, **images).run().outputs
    raw, pet, t1w = (read_grid(path) for path in (inputs["petref"], handed.pet, handed.t1w))
    centre_mm = [_middle_mm(read_volume(path)) for path in (handed.pet, handed.t1w)]
    assert (np.linalg.norm(np.subtract(*centre_mm)) < 25) or not centred
    truth = np.linalg.inv(session.t1w2pet_xfm) @ raw.affine @ np.linalg.inv(pet.affine)
    source, way = (pet, truth) if moved == "pet" else (t1w, np.linalg.inv(truth))
    result = write_volume("moved.nii", Volume(source.data, way @ source.affine))
    outputs = TakePlace(
        handed_pet=handed.pet, handed_t1w=handed.t1w, result=str(result), form="spm",
        moved=moved, **inputs,
    ).run().outputs  # fmt: skip
    error_mm = session.error_mm(read_itk_transform(outputs.petref2t1w_xfm))
    assert error_mm.max() < 0.01
    quality = told(outputs)
    assert quality["Flagged"] is False
    assert "Start" not in quality


def _middle_mm(volume):
    inside = np.argwhere(volume.data > np.percentile(volume.data, 80)).mean(axis=0)
    return apply_affine(volume.affine, inside)


def test_a_brain_may_be_handed_over_instead_of_a_head(inputs):
    images = {name: inputs[name] for name in ("petref", "t1w_preproc", "brain_mask")}
    handed = HandHead(stripped=True, **images).run().outputs
    inside = read_volume(inputs["brain_mask"]).data > 0
    brain = read_volume(handed.t1w).data
    assert not brain[~inside].any()
    np.testing.assert_array_equal(brain[inside], read_volume(inputs["t1w_preproc"]).data[inside])
    assert handed.t1w.endswith(".nii")
