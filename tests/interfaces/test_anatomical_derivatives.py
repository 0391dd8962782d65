"""Anatomy of sMRIPrep, taken: where it lies, what it says, and what is refused or told."""

import json
import shutil
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.bids.preflight import given_labels
from pipeline.config.load import load_settings
from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.warp import displacement_at
from pipeline.interfaces.anatomical_derivatives import FindDerivatives, TakeDerivatives
from pipeline.interfaces.anatomy import TakeLabels
from pipeline.io.images import read_labels, read_volume, write_volume
from pipeline.io.transforms import read_itk_transform
from pipeline.io.warps import read_field
from smriprep_derivatives import describe, make_known_head, write_derivatives
from workflows._graph import port_names
from workflows.anatomical import Folders, init_anatomical_wf
from workflows.anatomy.contract import AnatomyOutputs

SHARES = ("gm_probseg", "wm_probseg", "csf_probseg")


@pytest.fixture(scope="module")
def head():
    return make_known_head()


@pytest.fixture(scope="module")
def study(head, tmp_path_factory):
    """A raw T1w and its derivatives."""
    root = tmp_path_factory.mktemp("bids")
    t1w = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    t1w.parent.mkdir(parents=True)
    write_volume(t1w, head.raw)
    write_derivatives(head, root / "derivatives" / "smriprep")
    return root


def run_both(study, folder, **others):
    """Outputs of both nodes; inputs of the second may be replaced."""
    t1w = str(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    description = study / "derivatives" / "smriprep" / "dataset_description.json"
    found = FindDerivatives(description=str(description), t1w=t1w).run(cwd=folder).outputs.get()
    return TakeDerivatives(**{"t1w": t1w, **found, **others}).run(cwd=folder).outputs


@pytest.fixture(scope="module")
def taken(study, tmp_path_factory):
    """Outputs for data as they should be."""
    return run_both(study, tmp_path_factory.mktemp("taken"))


@pytest.fixture
def take(study, tmp_path):
    return partial(run_both, study, tmp_path)


def quality_of(outputs):
    return json.loads(Path(outputs.quality).read_text())


def test_everything_lies_where_the_truth_is(taken, head):
    outputs = taken
    t1w, brain = read_volume(outputs.t1w_preproc), read_volume(outputs.brain_mask)
    np.testing.assert_allclose(t1w.affine, head.even.affine, atol=1e-4)
    np.testing.assert_array_equal(brain.data > 0, head.brain.data)
    assert np.percentile(t1w.data[head.brain.data], 90) == pytest.approx(100, abs=0.01)
    shares = np.array([read_volume(getattr(outputs, port)).data for port in SHARES])
    np.testing.assert_allclose(shares.sum(axis=0), head.brain.data, atol=1e-6)
    for share, truth in zip(shares, head.tissues, strict=True):
        np.testing.assert_allclose(share, truth.data, atol=1e-5)

    places = np.argwhere(head.brain.data)[::20].astype(float)
    points = apply_affine(head.even.affine, places).T.astype(np.float32)
    mni = head.known.to_mni(points).astype(np.float32)
    there, back = read_field(outputs.t1w2mni_xfm), read_field(outputs.mni2t1w_xfm)
    errors = {
        "MNI to T1w": mni + displacement_at(there, mni) - head.known.to_t1w(mni),
        "T1w to MNI": points + displacement_at(back, points) - head.known.to_mni(points),
    }
    for way, error in errors.items():
        largest = np.linalg.norm(error, axis=0).max()
        print(f"{way}: largest error {largest:.4f} mm")
        assert largest < 0.05


def test_quality_tells_source_volumes_and_place(taken, head):
    quality = quality_of(taken)
    assert quality["Pipeline"] == "sMRIPrep"
    assert quality["PipelineVersion"] == "0.19.1"
    assert quality["PipelineT1w"] == "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    litres = head.brain.data.sum() * head.brain.voxel_volume_mm3 / 1e6
    assert quality["BrainVolume_mL"] == pytest.approx(1e3 * litres)
    parts = [quality[f"{tissue}Volume_mL"] for tissue in ("GM", "WM", "CSF")]
    assert sum(parts) == pytest.approx(1e3 * litres, rel=1e-5)
    assert quality["SkullStripped"] is False
    assert quality["MissingBrain_percent"] == 0
    assert quality["BrainInRawT1w"] == 1
    assert "BiasFieldRange_percent" not in quality
    print({key: round(quality[key], 3) for key in quality if "RawT1w" in key or "Inv" in key})
    assert quality["RawT1wDistance_mm"] < 0.2
    assert quality["TemplateCorrelation"] > 0.95
    assert quality["InverseErrorP99_mm"] < 0.05
    assert quality["Warnings"] == []


def moved_raw(head, folder, xfm):
    """The raw T1w with its header moved."""
    moved = Volume(head.raw.data, xfm @ head.raw.affine)
    return str(write_volume(folder / "raw.nii.gz", moved))


def test_a_raw_t1w_in_another_world_is_told_and_changes_nothing_else(take, taken, head, tmp_path):
    xfm = rigid_matrix(np.array([-4.0, 2, 9]), np.radians([5.0, -3, 4]))
    outputs = take(t1w=moved_raw(head, tmp_path, xfm))
    (told,) = quality_of(outputs)["Warnings"]
    assert "does not lie where the raw T1w does" in told
    for name in {*port_names(AnatomyOutputs)} - {"quality", "t1w2acpc_xfm", "t1w_acpc"}:
        ours, before = (nib.load(getattr(given, name)) for given in (outputs, taken))
        np.testing.assert_array_equal(ours.affine, before.affine)
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(before.dataobj))


def test_a_raw_t1w_that_shows_no_brain_there_is_refused(take, head, tmp_path):
    away = rigid_matrix(np.array([0.0, 0, 400]), np.zeros(3))
    with pytest.raises(DataError, match=r"preproc_T1w.* and raw\.nii\.gz: no part of the brain"):
        take(t1w=moved_raw(head, tmp_path, away))


@pytest.mark.slow
def test_a_raw_t1w_of_another_head_is_told(take, head, tmp_path):
    upside_down = head.raw.with_data(np.ascontiguousarray(head.raw.data[::-1, :, ::-1]))
    path = write_volume(tmp_path / "other.nii.gz", upside_down)
    quality = quality_of(take(t1w=str(path)))
    assert any("does not resemble the raw T1w" in told for told in quality["Warnings"])


@pytest.mark.parametrize("port", ["brain_mask", *SHARES])
def test_files_of_another_grid_are_refused(take, head, tmp_path, port):
    shifted = head.brain.affine.copy()
    shifted[0, 3] += 1
    image = Volume(head.brain.data.astype(np.float32), shifted)
    path = write_volume(tmp_path / "shifted.nii.gz", image)
    with pytest.raises(DataError, match=r"shifted\.nii\.gz: does not lie on the grid"):
        take(**{port: str(path)})


def test_an_empty_mask_is_refused(take, head, tmp_path):
    path = write_volume(
        tmp_path / "empty.nii.gz", head.brain.with_data(head.brain.data * 0), np.uint8
    )
    with pytest.raises(DataError, match=r"empty\.nii\.gz: the mask is empty"):
        take(brain_mask=str(path))


def test_transforms_that_are_not_each_others_inverse_are_refused(take, study):
    path = next((study / "derivatives").rglob("*_from-MNI152NLin2009cAsym_to-T1w_*.h5"))
    with pytest.raises(DataError, match=r"xfm\.h5: "):
        take(t1w2mni_xfm=str(path))


def test_labels_of_freesurfer_beside_them_are_taken_by_name(taken, study, head, tmp_path):
    pattern = str(study / "derivatives/smriprep/sub-{subject}/anat")
    path = given_labels(f"{pattern}/sub-{{subject}}_desc-aparcaseg_dseg.nii.gz", {"sub": "01"})
    node = TakeLabels(dseg=str(path), t1w_preproc=taken.t1w_preproc, brain_mask=taken.brain_mask)
    found = read_labels(node.run(cwd=tmp_path).outputs.dseg)
    np.testing.assert_array_equal(found.data, head.labels.data)


def test_anatomy_that_is_not_there_is_told_by_the_node(study, tmp_path):
    t1w = tmp_path / "sub-02_T1w.nii.gz"
    shutil.copy(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz", t1w)
    description = study / "derivatives" / "smriprep" / "dataset_description.json"
    with pytest.raises(DataError, match=r"sub-02_T1w\.nii\.gz: no anatomy of it in sub-02/anat"):
        FindDerivatives(description=str(description), t1w=str(t1w)).run()


@pytest.mark.slow
def test_a_graph_of_it_runs_and_follows_a_new_run_of_the_pipeline(study, head, tmp_path):
    folder = tmp_path / "smriprep"
    shutil.copytree(study / "derivatives" / "smriprep", folder)
    place = Path("sub-01", "anat", "sub-01_desc-aparcaseg_dseg.nii.gz")
    pattern = f"{folder}/{place}".replace("-01", "-{subject}")
    settings = load_settings(
        None,
        [
            *("anatomy.backend=derivatives", f"anatomy.folder={folder}"),
            *("parcellation.backend=given", f"parcellation.dseg={pattern}"),
        ],
    )
    folders = Folders(study, tmp_path / "out", tmp_path / "work")
    t1w = study / "sub-01" / "anat" / "sub-01_T1w.nii.gz"

    def run():
        workflow = init_anatomical_wf(t1w, {"sub": "01"}, folders, settings, name="wf")
        workflow.base_dir = str(folders.work_dir)
        nodes = {node.name: node for node in workflow.run().nodes()}
        return (Path(nodes["take"].output_dir()) / "anatomy.json").stat().st_mtime_ns

    def sidecar(name):
        return json.loads((folders.out_dir / f"sub-01/anat/sub-01_{name}.json").read_text())

    made = run()
    for name in ("desc-preproc_T1w", "label-GM_probseg", "from-T1w_to-ACPC_mode-image_xfm"):
        said = sidecar(name)
        assert said["Backend"] == "derivatives"
        assert (said["Pipeline"], said["PipelineVersion"]) == ("sMRIPrep", "0.19.1")
        assert said["PipelineT1w"] == "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert sidecar("desc-given_dseg")["LabelFile"] == place.name.replace("-01", "-{subject}")
    labels = read_labels(folders.out_dir / "sub-01/anat/sub-01_desc-given_dseg.nii.gz")
    np.testing.assert_array_equal(labels.data, head.labels.data)
    # near where the known transform carries the commissure of the template, (0, 2.5, -5) in MNI
    # space, and with the crown above
    xfm = folders.out_dir / "sub-01/anat/sub-01_from-T1w_to-ACPC_mode-image_xfm.txt"
    points = head.known.to_t1w(np.array([[0.0, 0], [2.5, 2.5], [-5, 60]])).T
    anterior, above = apply_affine(read_itk_transform(xfm), points)
    assert np.linalg.norm(anterior) < 5
    assert above[2] > 50
    assert run() == made
    describe(folder, version="0.20.0")
    assert run() > made
    assert sidecar("desc-brain_mask")["PipelineVersion"] == "0.20.0"
