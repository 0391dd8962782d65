"""Which subject of FreeSurfer a T1w has, and how far recon-all came with it."""

import platform
import subprocess

import nibabel as nib
import numpy as np
import pytest

from pipeline.bids.freesurfer_subjects import (
    State,
    Subjects,
    brain_stem_labels,
    built_by,
    find_subjects_dir,
    require_subjects,
    subject_state,
    to_reconstruct,
)
from pipeline.bids.preflight import survey
from pipeline.core.errors import ConfigError

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


def test_a_lock_is_never_taken_for_dead(tmp_path, gone):
    """Another container of the same name has processes that nobody sees here."""
    folder = finished(tmp_path / "x")
    for host, process in ((platform.node(), gone), ("622795a21a5f", 1), ("", "")):
        lock(folder, host, process)
        assert subject_state(folder) is State.RUNNING, (host, process)


@pytest.mark.parametrize(
    ("stamp", "version"),
    [
        ("freesurfer-linux-ubuntu20_x86_64-7.4.1-20230614-7eb8460", "7.4.1"),
        ("freesurfer-Linux-centos6_x86_64-stable-pub-v6.0.0-2beb96c", "6.0.0"),
        ("freesurfer-Linux-centos4_x86_64-stable-pub-v5.3.0", "5.3.0"),
        ("freesurfer-linux-centos7_x86_64-dev-20200101-abc", ""),
        (None, ""),
    ],
)
def test_the_version_is_that_of_the_build_stamp(tmp_path, stamp, version):
    folder = finished(tmp_path / "x")
    if stamp is not None:
        (folder / "scripts" / "build-stamp.txt").write_text(f"{stamp}\n")
    assert built_by(folder) == version


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
    assert find_subjects_dir(str(tmp_path), bids, out, mine) == tmp_path
    with pytest.raises(ConfigError, match="there is no folder /else/where"):
        find_subjects_dir("/else/where", bids, out, mine)
    # where new ones go anyway
    new = out / "sourcedata" / "freesurfer"
    assert find_subjects_dir(str(new), bids, out, mine) == new


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


def told(plan):
    return [(finding.severity, finding.message) for finding in plan.findings]


def errors(plan):
    return {label: " ".join(map(str, found)) for label, found in plan.blocked}


def test_a_session_has_its_own_subject(study):
    place = study.root / "derivatives" / "freesurfer"
    for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-01"):
        finished(place / name)
    plan = planned(study, run=False)
    assert names(plan) == ["sub-01_ses-a", "sub-01_ses-b"]
    assert plan.blocked == to_reconstruct(plan) == ()
    assert told(plan) == [
        ("note", "its labels are those of FreeSurfer's sub-01_ses-a (version unknown)"),
        ("note", "its labels are those of FreeSurfer's sub-01_ses-b (version unknown)"),
        (
            "warning",
            "FreeSurfer's sub-01_ses-b read a T1w that lies elsewhere, or has other voxels",
        ),
    ]


@pytest.mark.parametrize(("affine", "owner"), [(HERE, "a"), (THERE, "b")])
def test_a_subject_without_session_is_of_the_t1w_it_was_made_of(study, affine, owner):
    """By the grid of what it read."""
    place = study.root / "derivatives" / "freesurfer"
    finished(place / "sub-01", affine)
    other = {"a": "b", "b": "a"}[owner]
    plan = planned(study)
    assert set(names(plan)) == {"sub-01", f"sub-01_ses-{other}"}
    (missing,) = to_reconstruct(plan)
    assert missing.name == f"sub-01_ses-{other}"
    (note,) = [f for f in plan.findings if f.where == f"sub-01_ses-{other}_T1w.nii.gz"]
    assert note.severity == "note"
    assert (
        f"no subject sub-01_ses-{other} or sub-01 in {place}, which holds sub-01. Recon-all will"
    ) in str(note)

    alone = planned(study, run=False)
    assert [scan.session for scan in alone.scans] == [owner]
    said = errors(alone)[f"sub-01_ses-{other}"]
    assert f"sub-01 was made of sub-01_ses-{owner}_T1w.nii.gz" in said
    assert f"no sub-01_ses-{other} in {place}" in said
    assert "anatomy.t1w = 'first'" in said
    assert names(alone) == ["sub-01"]


@pytest.mark.parametrize("affine", [2 * HERE, None])
def test_where_nothing_tells_whose_a_subject_is_nobody_has_it(study, affine):
    place = study.root / "derivatives" / "freesurfer"
    original = finished(place / "sub-01") / "mri" / "orig" / "001.mgz"
    original.unlink()
    if affine is not None:
        volume(original, affine)
    plan = planned(study)
    assert plan.scans == ()
    for session in ("a", "b"):
        said = errors(plan)[f"sub-01_ses-{session}"]
        assert f"sub-01 in {place} cannot be told to be of one of the 2 T1w images" in said
        assert f"such as sub-01_ses-{session}, or set parcellation.subject" in said
    # who has one of their own needs no other
    finished(place / "sub-01_ses-b", THERE)
    assert names(planned(study)) == ["sub-01_ses-b"]


@pytest.fixture
def twins(tree):
    """Two sessions with T1ws of other voxels on one grid, oblique and with unequal axes."""
    rng = np.random.default_rng(20240101)
    turn = np.array([[0.8, 0, 0.6, 3], [0, 1, 0, -5], [-0.6, 0, 0.8, 1], [0, 0, 0, 1.0]])
    images = {}
    for session in ("a", "b"):
        tree.pet(f"sub-01_ses-{session}")
        data = rng.integers(0, 1000, (5, 6, 7)).astype(np.int16)
        path = tree.root / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        images[session] = nib.Nifti1Image(data, turn)
        nib.save(images[session], path)
    return tree, images


def read_by_recon_all(folder, image):
    """A finished subject of an image, its axes in another order, its voxels scaled."""
    finished(folder)
    data = (image.get_fdata() * 0.25).astype(np.float32)
    moved = nib.MGHImage(data[::-1].transpose(2, 0, 1).copy(), image.affine @ np.array(
        [[0, -1, 0, 4], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]
    ))  # fmt: skip
    nib.save(moved, folder / "mri" / "orig" / "001.mgz")


@pytest.mark.parametrize(("owner", "other"), [("a", "b"), ("b", "a")])
def test_on_one_grid_the_voxels_tell(twins, owner, other):
    study, images = twins
    read_by_recon_all(study.root / "derivatives" / "freesurfer" / "sub-01", images[owner])
    plan = planned(study, run=False)
    assert [(t1w.name[7:12], folder.name) for t1w, folder in plan.subjects] == [
        (f"ses-{owner}", "sub-01")
    ]
    assert f"was made of sub-01_ses-{owner}_T1w.nii.gz" in errors(plan)[f"sub-01_ses-{other}"]


@pytest.mark.parametrize("source", ["another", "both"])
def test_voxels_of_no_t1w_or_of_two_tell_nothing(twins, source):
    study, images = twins
    place = study.root / "derivatives" / "freesurfer" / "sub-01"
    if source == "both":
        first = study.root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"
        nib.save(images["a"], str(first).replace("ses-a", "ses-b"))
        read_by_recon_all(place, images["a"])
    else:
        turned = images["a"].get_fdata()[:, ::-1].astype(np.int16)
        read_by_recon_all(place, nib.Nifti1Image(turned, images["a"].affine))
    plan = planned(study)
    assert set(errors(plan)) == {"sub-01_ses-a", "sub-01_ses-b"}
    assert "cannot be told" in errors(plan)["sub-01_ses-a"]


def test_one_subject_is_not_given_to_two_t1ws(study):
    finished(study.root / "derivatives" / "freesurfer" / "sub-01")
    plan = planned(study, pattern="sub-{subject}")
    assert plan.scans == plan.subjects == ()
    said = errors(plan)["sub-01_ses-a"]
    assert "sub-01 would be that of sub-01_ses-b_T1w.nii.gz too. Put {session} into" in said
    assert "anatomy.t1w = 'first'" in said


def test_what_is_taken_is_told_on_the_page(tree):
    tree.pet("sub-01_ses-a")
    tree.t1w("sub-01_ses-a")
    folder = finished(tree.root / "derivatives" / "freesurfer" / "sub-01", THERE)
    stamp = "freesurfer-linux-ubuntu20_x86_64-7.4.1-20230614-7eb8460\n"
    (folder / "scripts" / "build-stamp.txt").write_text(stamp)
    plan = planned(tree)
    note, warning = plan.findings
    assert note.severity == "note"
    assert "its labels are those of FreeSurfer's sub-01 (7.4.1)" in str(note)
    assert warning.severity == "warning"
    assert "Was FreeSurfer's sub-01 made of this T1w?" in str(warning)
    (page,) = plan.noted
    assert page == ("sub-01_ses-a", (note, warning))
    assert str(tree.root) not in " ".join(map(str, page[1]))
    # nothing to compare with: taken, as there is no other T1w, but told
    (folder / "mri" / "orig" / "001.mgz").unlink()
    assert [f.severity for f in planned(tree).findings] == ["note", "warning"]


def test_labels_that_cannot_be_opened_are_told_before_anything_runs(study):
    place = study.root / "derivatives" / "freesurfer"
    (finished(place / "sub-01_ses-a") / "mri" / "aparc+aseg.mgz").write_bytes(b"cut short")
    assert "aparc+aseg.mgz: not a readable image" in errors(planned(study))["sub-01_ses-a"]


def test_why_a_subject_is_not_finished(study):
    place = study.root / "derivatives" / "freesurfer"
    (finished(place / "sub-01_ses-a") / "mri" / "aparc+aseg.mgz").unlink()
    failed = begun(place / "sub-01_ses-b") / "scripts"
    (failed / "recon-all.error").write_text("CMD mri_em_register\n")
    said = errors(planned(study, run=False))
    assert f"no mri/aparc+aseg.mgz in {place / 'sub-01_ses-a'}" in said["sub-01_ses-a"]
    assert "recon-all failed with sub-01_ses-b" in said["sub-01_ses-b"]
    assert f"its log is {failed / 'recon-all.log'}" in said["sub-01_ses-b"]


def test_what_lies_there_instead_is_named(study):
    place = study.root / "derivatives" / "freesurfer"
    for name in ("01a", "01b", "02a", "02b", "03a"):
        finished(place / name)
    said = errors(planned(study, run=False))["sub-01_ses-a"]
    assert (
        f"no subject sub-01_ses-a or sub-01 in {place}, which holds 01a, 01b, 02a, 02b, ..."
        in said
    )


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


def test_what_is_missing_is_told_before_anything_runs(study):
    place = study.root / "derivatives" / "freesurfer"
    lock(begun(place / "sub-01_ses-a"), "elsewhere", 1)
    begun(place / "sub-01_ses-b")
    running, begun_note, _ = planned(study).findings
    assert running.severity == "warning"
    assert f"delete this file: {place}/sub-01_ses-a/scripts/IsRunning.lh+rh" in str(running)
    assert "Recon-all will go on with what is missing" in str(begun_note)
    plan = planned(study, run=False)
    assert plan.scans == plan.subjects == ()
    assert "delete this file" in errors(plan)["sub-01_ses-a"]
    assert "came to no end with sub-01_ses-b" in errors(plan)["sub-01_ses-b"]
    assert "parcellation.run = true" in errors(plan)["sub-01_ses-b"]


def test_a_folder_that_is_no_subject_is_left_alone(study):
    (study.root / "derivatives" / "freesurfer" / "sub-01_ses-a").mkdir(parents=True)
    plan = planned(study)
    assert (
        "sub-01_ses-a is no finished one, nor can recon-all go on. Delete"
        in (errors(plan)["sub-01_ses-a"])
    )
    assert [scan.session for scan in plan.scans] == ["b"]


def test_recon_all_is_kept_from_names_it_cannot_cope_with(study):
    place = study.root / "derivatives" / "free surfer"
    finished(place / "sub-01_ses-a")
    plan = require_subjects(survey(study.root), Subjects(place), study.root)
    # what is there can be read, whatever the folder is called
    assert names(plan) == ["sub-01_ses-a"]
    assert "without spaces and signs" in errors(plan)["sub-01_ses-b"]
