"""One bad session is reported, the others run."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import pipeline
from pipeline.bids.dataset import Selection
from pipeline.bids.preflight import render_plan, require_transforms, survey
from pipeline.core.errors import ConfigError, DataError


def errors_of(plan, label):
    return [finding.message for finding in dict(plan.blocked)[label]]


def test_a_clean_data_set(tree):
    for name in ("sub-01_ses-pre", "sub-01_ses-post"):
        tree.pet(name)
        tree.t1w(name)
    plan = survey(tree.root)
    assert [scan.label for scan in plan.scans] == ["sub-01_ses-post", "sub-01_ses-pre"]
    assert plan.findings == plan.blocked == ()
    assert plan.scans[1].t1w == tree.root / "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz"
    assert len(plan.scans[0].timing) == 3


def test_a_scan_has_what_was_injected(tree):
    tree.t1w("sub-01")
    keys = {"MolarActivity": 10, "MolarActivityUnits": "Ci/umol"}
    tree.pet("sub-01_run-1", InjectedMass=500, InjectedMassUnits="ng", **keys)
    tree.pet("sub-01_run-2")
    said, silent = survey(tree.root).scans
    assert said.injected_mbq == silent.injected_mbq == 400
    assert said.molar_activity_gbq_per_umol == pytest.approx(370)
    assert said.injected_mass_ug == pytest.approx(0.5)
    assert silent.molar_activity_gbq_per_umol is None
    assert silent.injected_mass_ug is None


def test_every_trap_costs_its_own_session_only(tree):
    """The cases of the acceptance list, side by side."""
    tree.t1w("sub-01")
    tree.pet("sub-01_ses-good")
    tree.pet("sub-01_ses-frames", n_frames=4)
    tree.pet("sub-01_ses-times", FrameTimesStart=None)
    tree.pet("sub-01_ses-gzip").write_bytes(b"this is not gzip")
    cut = tree.pet("sub-01_ses-cut")
    cut.write_bytes(cut.read_bytes()[:40])
    tree.pet("sub-01_ses-empty").write_bytes(b"")
    tree.pet("sub-02_ses-nomri")
    static = tree.pet("sub-01_ses-static")
    tree.image(static.relative_to(tree.root).as_posix(), (2, 2, 2))
    tree.pet("sub-01_ses-one", n_frames=1)
    tree.pet("sub-01_ses-json")
    tree.write("sub-01/ses-json/pet/sub-01_ses-json_pet.json", "{")
    dangling = tree.pet("sub-01_ses-link")
    dangling.unlink()
    dangling.symlink_to("nowhere")

    plan = survey(tree.root)
    assert [scan.label for scan in plan.scans] == ["sub-01_ses-good"]
    expected = {
        "sub-01_ses-frames": "FrameDuration",
        "sub-01_ses-times": "FrameTimesStart",
        "sub-01_ses-gzip": "sub-01_ses-gzip_pet.nii.gz",
        "sub-01_ses-cut": "sub-01_ses-cut_pet.nii.gz",
        "sub-01_ses-empty": "sub-01_ses-empty_pet.nii.gz",
        "sub-02_ses-nomri": "no T1w",
        "sub-01_ses-static": "a dynamic (4-D) PET is expected, this image is 2 x 2 x 2",
        "sub-01_ses-one": "a dynamic (4-D) PET is expected",
        "sub-01_ses-json": "not readable JSON",
        "sub-01_ses-link": "no such file",
    }
    assert dict(plan.blocked).keys() == expected.keys()
    text = render_plan(plan)
    for label, errors in plan.blocked:
        assert errors
        assert expected[label] in " ".join(str(error) for error in errors)
        assert all(finding.is_error and finding.where for finding in errors)
        for error in errors:
            assert str(error) in text
    assert text.startswith("1 PET run(s) can be analysed, 10 cannot.")
    assert str(tree.root) not in text


def test_both_sessions_of_one_t1w_name_the_same_file(tree):
    tree.pet("sub-01_ses-pre")
    tree.pet("sub-01_ses-post")
    tree.t1w("sub-01_ses-pre")
    plan = survey(tree.root)
    assert len({scan.t1w for scan in plan.scans}) == 1
    assert plan.scans[0].t1w_entities == {"sub": "01", "ses": "pre"}
    assert "only one (ses-pre)" in render_plan(plan)


@pytest.mark.parametrize(
    "name", ["sub-01_ses-post_T1w_defaced.nii.gz", "sub-01_ses-pst_T1w.nii.gz"]
)
def test_a_misnamed_t1w_does_not_give_way_to_another_in_silence(tree, name):
    tree.pet("sub-01_ses-post")
    tree.t1w("sub-01_ses-pre")
    tree.image(f"sub-01/ses-post/anat/{name}", (2, 2, 2))
    (finding,) = survey(tree.root).findings
    assert finding.severity == "warning"
    assert finding.where == f"sub-01/ses-post/anat/{name}"


def test_a_t1w_that_cannot_be_used_blocks_those_who_need_it(tree):
    tree.pet("sub-01")
    tree.t1w("sub-01", shape=(2, 2, 2, 2))
    tree.pet("sub-02")
    tree.t1w("sub-02").write_bytes(b"")
    tree.pet("sub-03")
    tree.t1w("sub-03")
    plan = survey(tree.root)
    assert [scan.label for scan in plan.scans] == ["sub-03"]
    assert "one 3-D volume is expected, this image is 2 x 2 x 2 x 2" in errors_of(plan, "sub-01")


def test_one_fault_of_an_inherited_file_is_said_once(tree):
    for label in ("01", "02"):
        tree.pet(f"sub-{label}", TracerName=None)
        tree.t1w(f"sub-{label}")
    tree.write("pet.json", {"ScaleFactor": 2})
    plan = survey(tree.root)
    assert len(plan.scans) == 2
    assert [finding.key for finding in plan.findings].count("ScaleFactor") == 1
    assert all(
        "ScaleFactor" in {finding.key for finding in findings} for _, findings in plan.noted
    )


def test_the_same_run_twice(tree):
    tree.t1w()
    tree.pet()
    tree.image("sub-01/pet/sub-01_pet.nii", (2, 2, 2, 3))
    plan = survey(tree.root)
    assert plan.scans == ()
    assert errors_of(plan, "sub-01") == [
        "the same run as sub-01_pet.nii.gz",
        "the same run as sub-01_pet.nii",
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub-01/pet/sub-01_pet_copy.nii.gz", "not that of a BIDS PET image"),
        ("sub-01/pet/sub-01_acq-x_pet.nii.gz", "no 'acq-'"),
        ("sub-01/pet/sub-02_pet.nii.gz", "contradicts the folders"),
        ("sub-01/ses-a/pet/sub-01_ses-b_pet.nii.gz", "contradicts the folders"),
        ("sub-01/ses-a/pet/sub-01_pet.nii.gz", "contradicts the folders"),
    ],
)
def test_misnamed_images_are_named_and_ignored(tree, path, reason):
    tree.pet("sub-01_run-1")
    tree.t1w()
    tree.write(path, "")
    plan = survey(tree.root)
    assert [scan.label for scan in plan.scans] == ["sub-01_run-1"]
    (finding,) = plan.findings
    assert (finding.severity, finding.where) == ("warning", path)
    assert reason in finding.message


def test_only_misnamed_images(tree):
    tree.write("sub-01/pet/sub-01_pet_copy.nii.gz", "")
    with pytest.raises(DataError, match=r"no PET image of a subject.*\n.*sub-01_pet_copy"):
        survey(tree.root)


def test_empty_data_set(tree):
    with pytest.raises(DataError, match="no PET image"):
        survey(tree.root)


def test_subjects_without_pet(tree):
    tree.pet("sub-01")
    tree.t1w("sub-01")
    tree.t1w("sub-02")
    plan = survey(tree.root)
    assert [(f.severity, f.where) for f in plan.findings] == [("note", "sub-02")]
    plan = survey(tree.root, Selection(participants=("01", "02")))
    assert [scan.label for scan in plan.scans] == ["sub-01"]
    assert errors_of(plan, "sub-02") == ["no PET image"]


def test_a_subject_whose_folder_cannot_be_read(tree, monkeypatch):
    tree.pet("sub-01")
    tree.t1w("sub-01")
    tree.pet("sub-02")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "sub-02":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for selection in (Selection(), Selection(participants=("01", "02"))):
        plan = survey(tree.root, selection)
        assert [scan.label for scan in plan.scans] == ["sub-01"]
        assert errors_of(plan, "sub-02") == ["this folder cannot be listed"]
    assert survey(tree.root, Selection(participants=("01",))).blocked == ()


def test_a_participant_that_does_not_exist(tree):
    tree.pet("sub-0101")
    with pytest.raises(ConfigError, match="sub-0110: not in this data set; nearest: sub-0101"):
        survey(tree.root, Selection(participants=("sub-0110",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not readable JSON"), ({"Name": "x"}, "missing")],
)
def test_poor_descriptions_are_a_warning(tree, content, message):
    tree.pet()
    tree.t1w()
    (tree.root / "dataset_description.json").unlink()
    if content is not None:
        tree.write("dataset_description.json", content)
    plan = survey(tree.root)
    assert len(plan.scans) == 1
    (finding,) = plan.findings
    assert (finding.severity, finding.where) == ("warning", "dataset_description.json")
    assert message in finding.message


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_an_image_cut_short_is_seen_without_reading_it(tree, rng, suffix):
    tree.t1w()
    tree.pet().unlink()
    path = tree.root / f"sub-01/pet/sub-01_pet{suffix}"
    # noise, so that the compressed file is much longer than what holds the header
    noise = rng.integers(-(2**15), 2**15, (32, 32, 32, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    assert survey(tree.root).findings == ()
    path.write_bytes(path.read_bytes()[:-1000])
    (finding,) = survey(tree.root).findings
    assert finding.severity == "warning"
    assert finding.where.endswith(f"_pet{suffix}")


def test_voxels_are_never_read(tree, monkeypatch):
    tree.t1w()
    tree.pet()
    monkeypatch.setattr(
        "nibabel.arrayproxy.ArrayProxy._get_unscaled",
        lambda *args, **kwargs: pytest.fail("voxels were read"),
    )
    assert len(survey(tree.root).scans) == 1


def test_an_image_without_orientation(tree):
    tree.t1w()
    path = tree.pet()
    image = nib.load(path)
    blank = nib.Nifti1Image(np.zeros(image.shape, np.int16), None)
    blank.set_sform(None)
    blank.set_qform(None)
    nib.save(blank, path)
    (finding,) = survey(tree.root).findings
    assert "no orientation" in finding.message


def test_pet_and_t1w_far_apart(tree):
    tree.pet()
    affine = np.eye(4)
    affine[:3, 3] = [0, 0, 150]
    tree.image("sub-01/anat/sub-01_T1w.nii.gz", (2, 2, 2), affine)
    (finding,) = survey(tree.root).findings
    assert finding.severity == "note"
    assert "150 mm" in finding.message


@pytest.mark.parametrize(("edge_mm", "told"), [(1.2, False), (5.0, True)])
def test_thick_slices_of_a_t1w_are_told(tree, edge_mm, told):
    tree.pet()
    tree.image("sub-01/anat/sub-01_T1w.nii.gz", (2, 2, 2), np.diag([1.0, 1.0, edge_mm, 1.0]))
    messages = [str(finding) for finding in survey(tree.root).findings]
    assert any("voxels of 5.0 mm" in message for message in messages) == told


def test_the_plan_is_blind_to_treatment(tree):
    """Group and treatment columns can change, and hold anything: the plan stays the same."""
    tree.pet("sub-01_ses-pre")
    tree.t1w("sub-01")
    plans = []
    for arm in ("ketamine", "placebo"):
        tree.write(
            "participants.tsv",
            f"participant_id\tgroup\tweight\ttreatment\nsub-01\t{arm}\t70\t{arm}\n",
        )
        tree.write("participants.json", {"group": {"Levels": {arm: arm}}})
        tree.write(
            "sub-01/sub-01_sessions.tsv",
            f"session_id\ttreatment\tmadrs\nses-pre\t{arm}\t{len(arm)}\n",
        )
        plans.append(survey(tree.root))
    assert plans[0] == plans[1]
    assert plans[0].scans[0].body_weight_kg == 70
    for word in ("ketamine", "placebo", "madrs", "group", "treatment"):
        assert word not in repr(plans[0]).lower()


def test_text_of_a_plan(tree):
    tree.pet("sub-01_ses-pre_run-1", Units="kBq/mL", InjectionStart=None)
    tree.t1w("sub-01_ses-mri")
    text = render_plan(survey(tree.root))
    assert text.splitlines() == [
        "1 PET run(s) can be analysed, 0 cannot.",
        "",
        "run                   PET file                         frames  minutes"
        "  T1w                        chosen because",
        "sub-01_ses-pre_run-1  sub-01_ses-pre_run-1_pet.nii.gz  3       1.5    "
        "  sub-01_ses-mri_T1w.nii.gz  the subject's only one (ses-mri)",
        "",
        "warning: sub-01/ses-pre/pet/sub-01_ses-pre_run-1_pet.json [InjectionStart]: missing; "
        "the injection is taken to be at TimeZero. Add it, seconds after TimeZero.",
        "note: sub-01/ses-pre/pet/sub-01_ses-pre_run-1_pet.json [Units]: 'kBq/mL' read as "
        "1000 Bq/mL. BIDS asks for Bq/mL.",
    ]


def test_sidecar_keys_are_known_to_one_module_only():
    """A rename in BIDS is one edit."""
    keys = ("FrameTimesStart", "FrameDuration", "ImageDecayCorrected", "ScanStart")
    root = Path(pipeline.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if any(f'"{key}"' in path.read_text(encoding="utf-8") for key in keys)
    }
    # the simulation writes sidecars, and no other module reads them
    assert users <= {"bids/sidecar.py", "bids/simulated.py"}


def test_given_transforms_that_are_missing_or_shared_block_their_runs(tree):
    for session in ("a", "b"):
        tree.pet(f"sub-01_ses-{session}")
        tree.t1w(f"sub-01_ses-{session}")
    plan = survey(tree.root)
    own = str(tree.root / "xfm" / "sub-{subject}_ses-{session}.txt")
    tree.write("xfm/sub-01_ses-a.txt", "")
    found = require_transforms(plan, own)
    assert [scan.label for scan in found.scans] == ["sub-01_ses-a"]
    assert "no sub-01_ses-b.txt where coregistration.init" in str(errors_of(found, "sub-01_ses-b"))
    tree.write("xfm/sub-01.txt", "")
    shared = require_transforms(plan, str(tree.root / "xfm" / "sub-{subject}.txt"))
    assert shared.scans == ()
    assert "to another session too" in str(errors_of(shared, "sub-01_ses-a"))
