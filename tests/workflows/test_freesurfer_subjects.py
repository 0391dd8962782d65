"""Labels of FreeSurfer's subjects: taken, made or gone on with, by a double of recon-all.

The command line is that of scripts/recon-all of github.com/freesurfer/freesurfer, by its -help.
"""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from freesurfer_double import FreeSurferDouble
from pipeline.cli.main import main
from pipeline.config.parcellation import FreeSurferParcellation
from pipeline.config.schema import Resources
from pipeline.core.errors import ToolError
from pipeline.core.volume import Volume
from pipeline.interfaces.anatomy import TakeLabels
from pipeline.interfaces.freesurfer import Reconstruct
from pipeline.io.images import read_labels, write_volume
from workflows.parcellation.freesurfer import init_freesurfer_parcellation_wf

SHARED = Path(__file__).resolve().parents[3] / "shared" / "t1"
AFFINE = np.diag([1.0, 1, 1, 1])
AFFINE[:3, 3] = -15
STEM = np.s_[12:18, 12:18, 7:13]


@pytest.fixture
def freesurfer(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return FreeSurferDouble(programs)


@pytest.fixture
def head(tmp_path, freesurfer, monkeypatch):
    """A brain of 20 mm cubed, cortex below white matter, with a piece of brain stem.

    FreeSurfer has it on a grid of other axes; its names are what people call their files.
    """
    folder = tmp_path / "MR Ärzte & Co's (1)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    brain = np.zeros((30, 30, 30), np.float32)
    brain[5:25, 5:25, 5:25] = 1
    labels = np.where(np.arange(30) < 15, 1035, 2) * brain
    labels[STEM] = 16
    levels = np.where(labels == 2, 100, 70) * brain
    files = {
        "t1w": str(write_volume(folder / "sub-01 ü.nii.gz", Volume(levels, AFFINE))),
        "t1w_preproc": str(write_volume(folder / "preproc.nii.gz", Volume(levels, AFFINE))),
        "brain_mask": str(write_volume(folder / "brain.nii.gz", Volume(brain, AFFINE))),
    }
    conformed(labels, folder / "aparc+aseg.mgz")
    freesurfer.answer(recon_all={"labels": str(folder / "aparc+aseg.mgz")})
    return files | {"labels": labels}


def conformed(data, path):
    """Write numbers with the axes of FreeSurfer: to the left, down, to the front."""
    turned = data[::-1, :, ::-1].transpose(0, 2, 1).astype(np.int32)
    affine = AFFINE @ np.array([[-1, 0, 0, 29], [0, 0, 1, 0], [0, -1, 0, 29], [0, 0, 0, 1.0]])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(turned, affine), path)


def parcellated(head, subject, **options):
    """Labels that the step gives for a head, with the folder of its subject."""
    options = FreeSurferParcellation(
        subjects_dir=str(subject.parent), subject="{subject}", **options
    ).model_copy(update={"subject": subject.name})
    workflow = init_freesurfer_parcellation_wf(options, Resources(n_procs=4))
    workflow.base_dir = str(Path(head["t1w"]).parent / "work")
    inputnode = workflow.get_node("inputnode").inputs
    for port in ("t1w", "t1w_preproc", "brain_mask"):
        setattr(inputnode, port, head[port])
    workflow.run()
    made = Path(workflow.base_dir) / "parcellation_wf" / "label" / "dseg.nii.gz"
    return read_labels(made).data


def begun(subject):
    """A subject that has read its T1w and aligned what there was to align."""
    for name in ("orig/001", "rawavg", "orig"):
        conformed(np.zeros((30, 30, 30)), subject / "mri" / f"{name}.mgz")
    (subject / "scripts").mkdir()
    return subject


def test_a_missing_subject_is_made(head, freesurfer, tmp_path):
    subject = tmp_path / "subjects" / "sub-01_ses-a"
    np.testing.assert_array_equal(parcellated(head, subject), head["labels"])
    (words,) = freesurfer.calls
    link = words[3]
    assert words == [
        "recon-all", "-all", "-i", link, "-subjid", "sub-01_ses-a", "-sd", str(subject.parent),
    ]  # fmt: skip
    # recon-all quotes no names: it was given a link with a plain one, to this very T1w
    assert Path(link).name == "T1w.nii.gz"
    assert " " not in link
    read = nib.load(subject / "mri" / "orig" / "001.mgz")
    np.testing.assert_array_equal(read.get_fdata(), nib.load(head["t1w"]).get_fdata())
    assert freesurfer.threads == ["1"]


def test_threads_are_asked_for_by_the_settings(head, freesurfer, tmp_path):
    subject = tmp_path / "subjects" / "sub-01"
    parcellated(head, subject, threads=9)
    (words,) = freesurfer.calls
    # no more than resources.n_procs
    assert words == [
        "recon-all", "-all", "-i", words[3], "-openmp", "4", "-parallel", "-subjid", "sub-01",
        "-sd", str(subject.parent),
    ]  # fmt: skip


def test_a_finished_subject_is_never_touched(head, freesurfer, tmp_path):
    subject = tmp_path / "my subjects" / "sub-01"
    conformed(head["labels"], subject / "mri" / "aparc+aseg.mgz")
    (subject / "scripts").mkdir()
    (subject / "scripts" / "recon-all.done").write_text("SUBJECT sub-01\n")
    before = {path: path.stat().st_mtime_ns for path in subject.rglob("*")}
    for run in (True, False):
        np.testing.assert_array_equal(parcellated(head, subject, run=run), head["labels"])
    assert freesurfer.calls == []
    assert {path: path.stat().st_mtime_ns for path in subject.rglob("*")} == before


def test_a_subject_is_made_once(head, freesurfer, tmp_path):
    subject = tmp_path / "subjects" / "sub-01"
    for _ in range(2):
        parcellated(head, subject)
    assert len(freesurfer.calls) == 1


def test_recon_all_goes_on_where_it_stopped(head, freesurfer, tmp_path):
    subject = begun(tmp_path / "subjects" / "sub-01")
    np.testing.assert_array_equal(parcellated(head, subject), head["labels"])
    (words,) = freesurfer.calls
    # without -i, and without the step (-<no>motioncor of its help) whose results are there
    assert words == [
        "recon-all", "-all", "-subjid", "sub-01", "-sd", str(subject.parent), "-nomotioncor",
    ]  # fmt: skip


def finished(subject, labels):
    conformed(labels, subject / "mri" / "aparc+aseg.mgz")
    (subject / "scripts").mkdir(exist_ok=True)
    (subject / "scripts" / "recon-all.done").write_text("SUBJECT sub-01\n")
    return subject


def found_at(head):
    """When the node last wrote what it found, by its own file."""
    folder = Path(head["t1w"]).parent / "work" / "parcellation_wf" / "reconstruct"
    return (folder / "result_reconstruct.pklz").stat().st_mtime_ns


@pytest.mark.parametrize("made_here", [True, False])
def test_a_node_that_found_a_subject_is_not_emptied_again(head, tmp_path, made_here):
    """What it left may be in the hands of another job's next node."""
    subject = tmp_path / "subjects" / "sub-01"
    if not made_here:
        finished(subject, head["labels"])
    parcellated(head, subject)
    before = found_at(head)
    parcellated(head, subject)
    assert found_at(head) == before


def test_what_changed_in_a_subject_is_noticed(head, freesurfer, tmp_path):
    subject = finished(tmp_path / "subjects" / "sub-01", head["labels"])
    parcellated(head, subject, run=False)
    other = np.where(head["labels"] == 1035, 1030, head["labels"])
    finished(subject, other)
    np.testing.assert_array_equal(parcellated(head, subject, run=False), other)
    parts = np.where(other == 16, 174, 0)
    conformed(parts, subject / "mri" / "brainstemSsLabels.v13.FSvoxelSpace.mgz")
    expected = np.where(other == 16, 174, other)
    np.testing.assert_array_equal(parcellated(head, subject, run=False), expected)
    shutil.rmtree(subject)
    np.testing.assert_array_equal(parcellated(head, subject), head["labels"])
    assert len(freesurfer.calls) == 1


def test_what_was_found_counts_no_more_where_a_later_run_failed(head, freesurfer, tmp_path):
    subject = finished(begun(tmp_path / "subjects" / "sub-01"), head["labels"])
    parcellated(head, subject)
    assert freesurfer.calls == []
    (subject / "scripts" / "recon-all.error").write_text("CMD mri_em_register\n")
    parcellated(head, subject)
    assert len(freesurfer.calls) == 1


def reconstructed(head, subject, **options):
    return Reconstruct(t1w=head["t1w"], subject_dir=str(subject), **options).run().outputs


def test_two_never_work_on_one_subject(head, freesurfer, tmp_path):
    subject = begun(tmp_path / "subjects" / "sub-01")
    mark = subject / "scripts" / "IsRunning.lh+rh"
    process = subprocess.Popen(["true"])
    process.wait()
    # a process that is gone here may be alive in another container of this name
    mark.write_text(f"HOST {platform.node()}\nPROCESSID {process.pid}\n")
    with pytest.raises(ToolError, match=r"sub-01 in .*: recon-all is at work") as told:
        reconstructed(head, subject)
    assert f"if no recon-all is at work on it, delete this file: {mark}" in str(told.value)
    assert mark.exists()
    assert freesurfer.calls == []


def test_nothing_is_made_where_that_was_ruled_out(head, freesurfer, tmp_path):
    with pytest.raises(ToolError, match=r"sub-01 in .* is absent; run recon-all"):
        reconstructed(head, tmp_path / "sub-01", run=False)
    assert freesurfer.calls == []
    assert not (tmp_path / "sub-01").exists()


def test_a_failure_names_the_log_and_is_tried_again(head, freesurfer, tmp_path):
    subject, labels = tmp_path / "subjects" / "sub-01", str(Path("aparc+aseg.mgz").absolute())
    freesurfer.answer(recon_all={"labels": labels, "fails": True})
    told = r"recon-all: mri_em_register: could not open file; see scripts/recon-all\.log of sub-01"
    with pytest.raises(ToolError, match=told):
        reconstructed(head, subject)
    freesurfer.answer(recon_all={"labels": labels})
    assert reconstructed(head, subject).labels == str(subject / "mri" / "aparc+aseg.mgz")
    assert "-i" in freesurfer.calls[0]
    assert "-i" not in freesurfer.calls[1]


def test_the_pons_comes_from_the_substructures(head, freesurfer, tmp_path):
    subject = tmp_path / "subjects" / "sub-01"
    parts = np.zeros((30, 30, 30))
    parts[10:20, 10:20, 10:13] = 173
    parts[10:20, 10:20, 7:10] = 174  # wider than the brain stem of the labels
    parts[10:20, 10:20, 4:7] = 175
    conformed(parts, subject / "mri" / "brainstemSsLabels.v13.FSvoxelSpace.mgz")
    conformed(head["labels"], subject / "mri" / "aparc+aseg.mgz")
    (subject / "scripts").mkdir()
    (subject / "scripts" / "recon-all.done").write_text("SUBJECT sub-01\n")
    expected = head["labels"].copy()
    expected[12:18, 12:18, 7:10] = 174
    np.testing.assert_array_equal(parcellated(head, subject), expected)


def test_real_labels_of_freesurfer_land_voxel_by_voxel(tmp_path, monkeypatch):
    if not SHARED.is_dir():
        pytest.skip("no ../shared/t1 beside this")
    monkeypatch.chdir(tmp_path)
    norm = nib.as_closest_canonical(nib.load(SHARED / "labelled_norm.mgz"))
    numbers = nib.load(SHARED / "labelled_aparc.a2009s+aseg.mgz")
    # the parcels of another atlas, as one of the Desikan-Killiany's
    data = np.asarray(numbers.dataobj).astype(np.int32)
    for first, parcel in ((11100, 1035), (12100, 2035)):
        data[(data >= first) & (data < first + 100)] = parcel
    nib.save(nib.MGHImage(data, numbers.affine, numbers.header), "aparc+aseg.mgz")
    t1w = Volume(norm.get_fdata(dtype=np.float32), norm.affine)
    mask = t1w.with_data((t1w.data > 0).astype(np.uint8))
    found = TakeLabels(
        dseg=str(Path("aparc+aseg.mgz").absolute()),
        t1w_preproc=str(write_volume(tmp_path / "t1w.nii.gz", t1w)),
        brain_mask=str(write_volume(tmp_path / "brain.nii.gz", mask)),
    ).run()
    expected = nib.as_closest_canonical(nib.Nifti1Image(data, numbers.affine)).get_fdata()
    labels = read_labels(found.outputs.dseg).data
    known = labels > 0
    np.testing.assert_array_equal(labels[known], expected[known])
    for number in (8, 16, 17, 26, 47, 53, 1035, 2035):
        assert (labels == number).sum() == (expected == number).sum() > 100


def test_the_command_line_refuses_what_freesurfer_would(tmp_path, monkeypatch, capsys):
    """Before the first node: no recon-all, no licence, a subject that nobody makes."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    sidecar = {
        "Units": "Bq/mL", "FrameTimesStart": [0, 60], "FrameDuration": [60, 60],
        "InjectionStart": 0, "TracerRadionuclide": "C11", "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
    }  # fmt: skip
    for kind, name, shape in (("pet", "pet", (2, 2, 2, 2)), ("anat", "T1w", (2, 2, 2))):
        folder = bids / "sub-01" / kind
        folder.mkdir(parents=True)
        image = nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
        nib.save(image, folder / f"sub-01_{name}.nii.gz")
    (bids / "sub-01" / "pet" / "sub-01_pet.json").write_text(json.dumps(sidecar))
    for name in ("SUBJECTS_DIR", "FREESURFER_HOME", "FS_LICENSE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    words = ["check", str(bids), str(out), "--set", "parcellation.backend=freesurfer"]

    assert main(words) == 2
    told = capsys.readouterr().err
    assert "FreeSurfer: not on the PATH: recon-all" in told
    assert "name their folder in parcellation.subjects_dir" in told
    programs = tmp_path / "programs"
    programs.mkdir()
    FreeSurferDouble(programs)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("FREESURFER_HOME", str(programs))
    assert main(words) == 2
    assert "FreeSurfer needs its licence file" in capsys.readouterr().err
    (tmp_path / "license.txt").write_text("me@here\n")
    monkeypatch.setenv("FS_LICENSE", str(tmp_path / "license.txt"))
    assert main(words) == 0
    assert "Recon-all will make it, which takes hours" in capsys.readouterr().out
    monkeypatch.delenv("FS_LICENSE")
    assert main([*words, "--set", "parcellation.run=false"]) == 2
    told = capsys.readouterr()
    place = out / "sourcedata" / "freesurfer"
    assert (
        f"FreeSurfer has no subject sub-01: there is no folder {place}. Run recon-all"
        in told.out + told.err
    )
    assert main([*words, "--set", f"parcellation.subjects_dir={tmp_path / 'typo'}"]) == 2
    assert f"there is no folder {tmp_path / 'typo'}" in capsys.readouterr().err
    assert not out.exists()
