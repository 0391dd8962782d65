"""Which subject of FreeSurfer a T1w has, and how far recon-all came with it."""

import os
import platform
import subprocess

import nibabel as nib
import numpy as np
import pytest

from pipeline.bids.freesurfer_subjects import (
    State,
    Subjects,
    brain_stem_labels,
    find_subjects_dir,
    require_subjects,
    subject_state,
    to_reconstruct,
)
from pipeline.bids.preflight import survey

HERE = np.eye(4)
THERE = np.array([[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def volume(path, affine=HERE, shape=(2, 2, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(np.zeros(shape, np.int32), affine), path)


def begun(folder, affine=HERE):
    """A subject that has read its T1w, and no more."""
    (folder / "scripts").mkdir(parents=True)
    volume(folder / "mri" / "orig" / "001.mgz", affine)
    return folder


def finished(folder, affine=HERE):
    """A subject as recon-all leaves it at its end."""
    begun(folder, affine)
    volume(folder / "mri" / "aparc+aseg.mgz", affine)
    (folder / "scripts" / "recon-all.done").write_text("-----\nSUBJECT x\nEND_TIME now\n")
    return folder


def lock(folder, host, process):
    # as scripts/recon-all of FreeSurfer 6 and 7 writes it
    (folder / "scripts" / "IsRunning.lh+rh").write_text(
        f"------------------------------\nSUBJECT x\nHEMI    lh rh\nDATE today\nUSER me\n"
        f"HOST {host}\nPROCESSID {process}\nPROCESSOR x86_64\nOS Linux\n"
    )


@pytest.fixture(scope="module")
def gone():
    """Number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_states(tmp_path):
    assert subject_state(tmp_path / "none") is State.ABSENT
    assert subject_state(begun(tmp_path / "begun")) is State.BEGUN
    assert subject_state(finished(tmp_path / "done")) is State.FINISHED
    (tmp_path / "empty").mkdir()
    assert subject_state(tmp_path / "empty") is State.FOREIGN


def test_shared_labels_without_marks_of_a_run_are_no_subject(tmp_path):
    volume(tmp_path / "x" / "mri" / "aparc+aseg.mgz")
    assert subject_state(tmp_path / "x") is State.FOREIGN


@pytest.mark.parametrize("sign", ["a 1 in the done file", "an error file", "no labels"])
def test_a_run_that_failed_is_not_finished(tmp_path, sign):
    # error_exit of scripts/recon-all writes recon-all.error, and 1 into recon-all.done
    folder = finished(tmp_path / "x")
    if sign == "no labels":
        (folder / "mri" / "aparc+aseg.mgz").unlink()
    elif sign == "an error file":
        (folder / "scripts" / "recon-all.error").write_text("CMD mri_em_register\n")
    else:
        (folder / "scripts" / "recon-all.done").write_text("1\n")
    assert subject_state(folder) is State.BEGUN


def test_only_a_run_here_whose_process_is_gone_is_taken_for_dead(tmp_path, gone):
    folder = begun(tmp_path / "x")
    for host, process, state in (
        (platform.node(), os.getpid(), State.RUNNING),
        (platform.node(), gone, State.BEGUN),
        ("622795a21a5f", gone, State.RUNNING),
        (platform.node(), "", State.RUNNING),
        (platform.node(), "9" * 30, State.RUNNING),
    ):
        lock(folder, host, process)
        assert subject_state(folder) is state, (host, process)
    (folder / "scripts" / "IsRunning.lh").write_bytes(b"\xff\x00")
    lock(folder, platform.node(), gone)
    assert subject_state(folder) is State.RUNNING


def test_the_newest_substructures_count(tmp_path):
    assert brain_stem_labels(tmp_path) is None
    for name in ("v9.FSvoxelSpace", "v13.FSvoxelSpace", "v12.FSvoxelSpace", "v14"):
        volume(tmp_path / "mri" / f"brainstemSsLabels.{name}.mgz")
    assert brain_stem_labels(tmp_path).name == "brainstemSsLabels.v13.FSvoxelSpace.mgz"


def test_where_subjects_lie(tmp_path):
    bids, out = tmp_path / "bids", tmp_path / "out"
    home = {"FREESURFER_HOME": "/opt/fs", "SUBJECTS_DIR": "/opt/fs/subjects"}
    mine = home | {"SUBJECTS_DIR": "/data/subjects"}
    assert find_subjects_dir("", bids, out, {}) == out / "sourcedata" / "freesurfer"
    # those that came with FreeSurfer are nobody's
    assert find_subjects_dir("", bids, out, home) == out / "sourcedata" / "freesurfer"
    assert str(find_subjects_dir("", bids, out, mine)) == "/data/subjects"
    (bids / "derivatives" / "freesurfer").mkdir(parents=True)
    assert find_subjects_dir("", bids, out, mine) == bids / "derivatives" / "freesurfer"
    assert str(find_subjects_dir("/else/where", bids, out, mine)) == "/else/where"


@pytest.fixture
def study(tree):
    """Two sessions, each with a T1w of its own, a little apart."""
    for session, affine in (("a", HERE), ("b", THERE)):
        tree.pet(f"sub-01_ses-{session}")
        t1w = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        tree.image(t1w, (2, 2, 2), affine)
    return tree


def planned(study, run=True, pattern=""):
    subjects = Subjects(study.root / "derivatives" / "freesurfer", pattern, run)
    return require_subjects(survey(study.root), subjects, study.root)


def names(plan):
    return [folder.name for _, folder in plan.subjects]


def errors(plan):
    return {label: " ".join(map(str, found)) for label, found in plan.blocked}


def test_a_session_has_its_own_subject(study):
    place = study.root / "derivatives" / "freesurfer"
    for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-01"):
        finished(place / name)
    plan = planned(study, run=False)
    assert names(plan) == ["sub-01_ses-a", "sub-01_ses-b"]
    assert plan.blocked == plan.findings == to_reconstruct(plan) == ()


@pytest.mark.parametrize(
    ("affine", "owner"), [(HERE, "a"), (THERE, "b"), (2 * HERE, "a"), (None, "a")]
)
def test_a_subject_without_session_is_of_the_t1w_it_was_made_of(study, affine, owner):
    """By the grid of what it read; where that tells nothing, of the first."""
    folder = finished(study.root / "derivatives" / "freesurfer" / "sub-01")
    if affine is None:
        (folder / "mri" / "orig" / "001.mgz").unlink()
    else:
        volume(folder / "mri" / "orig" / "001.mgz", affine)
    other = {"a": "b", "b": "a"}[owner]
    plan = planned(study)
    assert set(names(plan)) == {"sub-01", f"sub-01_ses-{other}"}
    (missing,) = to_reconstruct(plan)
    assert missing.name == f"sub-01_ses-{other}"
    (note,) = plan.findings
    assert note.severity == "note"
    assert note.where == f"sub-01_ses-{other}_T1w.nii.gz"
    assert f"no subject sub-01_ses-{other}. Recon-all will make it" in str(note)

    alone = planned(study, run=False)
    assert [scan.session for scan in alone.scans] == [owner]
    told = errors(alone)[f"sub-01_ses-{other}"]
    assert f"sub-01 was made of sub-01_ses-{owner}_T1w.nii.gz" in told
    assert "anatomy.t1w = 'first'" in told
    assert names(alone) == ["sub-01"]


def test_axes_of_another_order_are_the_same_place(study):
    """As programs that turn images to RAS hand them to recon-all."""
    turned = THERE @ np.array([[0, 0, -1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    folder = finished(study.root / "derivatives" / "freesurfer" / "sub-01")
    volume(folder / "mri" / "orig" / "001.mgz", turned)
    assert set(names(planned(study))) == {"sub-01_ses-a", "sub-01"}


def test_the_only_t1w_has_the_only_subject(tree):
    tree.pet("sub-01_ses-a")
    tree.pet("sub-01_ses-b")
    tree.t1w("sub-01_ses-a")
    finished(tree.root / "derivatives" / "freesurfer" / "sub-01", THERE)
    plan = planned(tree, run=False)
    assert names(plan) == ["sub-01"]
    assert len(plan.scans) == 2


def test_names_may_be_others(study):
    place = study.root / "derivatives" / "freesurfer"
    finished(place / "01.a")
    plan = planned(study, pattern="{subject}.{session}")
    assert names(plan) == ["01.a", "01.b"]
    assert [folder.name for folder in to_reconstruct(plan)] == ["01.b"]


def test_what_is_missing_is_told_before_anything_runs(study, gone):
    place = study.root / "derivatives" / "freesurfer"
    lock(begun(place / "sub-01_ses-a"), "elsewhere", 1)
    begun(place / "sub-01_ses-b")
    running, begun_note = planned(study).findings
    assert running.severity == "warning"
    assert "sub-01_ses-a/scripts/IsRunning.*" in str(running)
    assert "Recon-all will go on with what is missing" in str(begun_note)
    plan = planned(study, run=False)
    assert plan.scans == plan.subjects == ()
    assert "delete that file" in errors(plan)["sub-01_ses-a"]
    assert "came to no end with sub-01_ses-b" in errors(plan)["sub-01_ses-b"]
    assert "parcellation.run = true" in errors(plan)["sub-01_ses-b"]


def test_a_folder_that_is_no_subject_is_left_alone(study):
    (study.root / "derivatives" / "freesurfer" / "sub-01_ses-a").mkdir(parents=True)
    plan = planned(study)
    assert "no finished one, nor can recon-all go on. Delete it" in errors(plan)["sub-01_ses-a"]
    assert [scan.session for scan in plan.scans] == ["b"]


def test_recon_all_is_kept_from_names_it_cannot_cope_with(study):
    place = study.root / "derivatives" / "free surfer"
    finished(place / "sub-01_ses-a")
    plan = require_subjects(survey(study.root), Subjects(place), study.root)
    # what is there can be read, whatever the folder is called
    assert names(plan) == ["sub-01_ses-a"]
    assert "without spaces and signs" in errors(plan)["sub-01_ses-b"]
