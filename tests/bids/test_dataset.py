"""Listing, selection and the rule for the T1w."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.bids.dataset import (
    Dataset,
    Selection,
    choose_t1w,
    index_dataset,
    read_columns,
    select_pet,
)
from pipeline.bids.derivatives import derivative_path
from pipeline.core.errors import ConfigError, DataError


def listing(tree) -> Dataset:
    return index_dataset(tree.root)


def pet_of(dataset: Dataset, session: str | None):
    return next(pet for pet in dataset.images("pet", "pet") if pet.session == session)


def test_only_raw_data_are_listed(tree):
    tree.pet("sub-01")
    for folder in ("derivatives/x", "sourcedata", "code", ".git"):
        tree.write(f"{folder}/sub-02/pet/sub-02_pet.nii.gz", "")
    tree.write("sub-01/pet/._sub-01_pet.nii.gz", "")
    dataset = listing(tree)
    assert dataset.participants == ("01",)
    assert [path.name for path in dataset.nifti_paths("pet")] == ["sub-01_pet.nii.gz"]


def test_tables_are_listed(tree):
    tree.pet("sub-01")
    tree.write("participants.tsv", "participant_id\n")
    tree.write("sub-01/sub-01_sessions.tsv", "session_id\n")
    names = {path.name for path in listing(tree).paths}
    assert names >= {"participants.tsv", "sub-01_sessions.tsv"}


@pytest.mark.parametrize("description", [None, "{broken", "[1]", '{"BIDSVersion": "99.9"}', "{}"])
def test_description_is_not_needed(tree, description):
    tree.pet("sub-01")
    (tree.root / "dataset_description.json").unlink()
    if description is not None:
        tree.write("dataset_description.json", description)
    assert len(listing(tree).images("pet", "pet")) == 1


def test_links_are_followed_once(tree):
    """DataLad links files and folders; a folder that links to one above it ends nowhere."""
    tree.pet("sub-01")
    store = tree.root.parent / "annex"
    (tree.root / "sub-01").rename(store)
    (tree.root / "sub-01").symlink_to(store, target_is_directory=True)
    (store / "pet" / "loop").symlink_to(tree.root, target_is_directory=True)
    dataset = listing(tree)
    assert [path.name for path in dataset.nifti_paths("pet")] == ["sub-01_pet.nii.gz"]


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    tree.pet("sub-01")
    tree.pet("sub-02")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "sub-01":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = listing(tree)
    assert [str(path) for path in dataset.unreadable] == ["sub-01"]
    assert [pet.subject for pet in dataset.images("pet", "pet")] == ["02"]


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        index_dataset(tmp_path / "gone")


@pytest.fixture
def cohort(tree) -> Dataset:
    for subject in ("control01", "control02", "patient01"):
        for session in ("pre", "post"):
            tree.pet(f"sub-{subject}_ses-{session}_trc-AZ_run-01")
    tree.pet("sub-patient01_ses-pre_trc-DASB_rec-acdyn_run-02")
    return listing(tree)


def labels(dataset: Dataset, selection: Selection) -> list[str]:
    pets = dataset.images("pet", "pet")
    return [pet.name.stem for pet in select_pet(dataset, pets, selection)]


def test_selection_takes_labels_with_and_without_key(cohort):
    bare = Selection(participants=("patient01",), sessions=("pre",), tracers=("AZ",))
    full = Selection(participants=("sub-patient01",), sessions=("ses-pre",), tracers=("trc-AZ",))
    expected = ["sub-patient01_ses-pre_trc-AZ_run-01_pet"]
    assert labels(cohort, bare) == labels(cohort, full) == expected


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(), 7),
        (Selection(sessions=("post",)), 3),
        (Selection(runs=("1",)), 6),
        (Selection(runs=("1", "02")), 7),
        (Selection(reconstructions=("acdyn",)), 1),
        (Selection(tracers=("AZ",), participants=("control01", "control02")), 4),
    ],
)
def test_selection_counts(cohort, selection, count):
    assert len(labels(cohort, selection)) == count


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(participants=("patinet01",)), "sub-patinet01: .*nearest: sub-patient01"),
        (Selection(sessions=("prae",)), "ses-prae: .*nearest: ses-pre"),
        (Selection(tracers=("FDG",)), "trc-FDG: not in this data set"),
        (Selection(tasks=("rest",)), "no PET file name has 'task-'"),
        (Selection(sessions=("post",), tracers=("DASB",)), "no PET run has all of"),
    ],
)
def test_labels_that_do_not_exist(cohort, selection, message):
    with pytest.raises(ConfigError, match=message):
        labels(cohort, selection)


# --- T1w ---


def chosen(tree, session, rule="session"):
    dataset = listing(tree)
    return choose_t1w(dataset, pet_of(dataset, session), rule)


def test_own_session_comes_first(tree):
    for session in ("pre", "post"):
        tree.pet(f"sub-01_ses-{session}")
        tree.t1w(f"sub-01_ses-{session}")
    choice = chosen(tree, "post")
    assert (choice.image.session, choice.reason, choice.findings) == ("post", "own session", ())


@pytest.mark.parametrize("t1w", ["sub-01_ses-mri", "sub-01"])
def test_the_only_one_is_shared(tree, t1w):
    tree.pet("sub-01_ses-pre")
    tree.pet("sub-01_ses-post")
    tree.t1w(t1w)
    for session in ("pre", "post"):
        choice = chosen(tree, session)
        assert choice.image.name.stem == f"{t1w}_T1w"
        assert choice.reason.startswith("the subject's only one")


def test_first_in_the_order_of_the_sessions_table(tree):
    """By name, post comes before pre."""
    tree.pet("sub-01_ses-late")
    tree.t1w("sub-01_ses-post")
    tree.t1w("sub-01_ses-pre")
    assert chosen(tree, "late").image.session == "post"
    tree.write("sub-01/sub-01_sessions.tsv", "session_id\tgroup\nses-pre\tA\nses-post\tA\n")
    choice = chosen(tree, "late")
    assert choice.image.session == "pre"
    assert "ses-pre" in choice.reason


def test_ten_comes_after_two(tree):
    tree.pet("sub-01_ses-x")
    tree.t1w("sub-01_ses-10")
    tree.t1w("sub-01_ses-2")
    assert chosen(tree, "x").image.session == "2"


@pytest.mark.parametrize(("rule", "session"), [("first", "post"), ("ses-pre", "pre")])
def test_settings_override(tree, rule, session):
    tree.pet("sub-01_ses-z")
    for label in ("z", "pre", "post"):
        tree.t1w(f"sub-01_ses-{label}")
    choice = chosen(tree, "z", rule)
    assert choice.image.session == session
    assert "as set" in choice.reason


def test_session_asked_for_has_none(tree):
    tree.pet("sub-01_ses-pre")
    tree.t1w("sub-01_ses-pre")
    choice = chosen(tree, "pre", "ses-mri")
    assert choice.image is None
    (finding,) = choice.findings
    assert finding.is_error
    assert "ses-mri" in finding.message
    assert "ses-pre" in finding.next_step


def test_plainest_of_many(tree):
    tree.pet("sub-01_ses-pre")
    for name in ("acq-mprage_run-2", "acq-mprage_run-1", "ce-gd", "run-10", "run-9"):
        tree.t1w(f"sub-01_ses-pre_{name}")
    choice = chosen(tree, "pre")
    assert choice.image.name.stem == "sub-01_ses-pre_run-9_T1w"
    (finding,) = choice.findings
    assert finding.severity == "note"
    assert "5 T1w" in finding.message


def test_every_entity_of_a_t1w_has_a_place_in_the_outputs(tree):
    tree.pet("sub-01")
    for name in ("dir-ap_inv-1_chunk-2", "foo-1"):
        tree.t1w(f"sub-01_{name}")
    choice = chosen(tree, None)
    path = derivative_path(dict(choice.image.name.entities), "t1w_preproc")
    assert path.name == "sub-01_dir-ap_inv-1_chunk-2_desc-preproc_T1w.nii.gz"


def test_a_t1w_in_the_folder_of_another_is_not_taken(tree):
    tree.pet("sub-01")
    tree.image("sub-02/anat/sub-01_T1w.nii.gz", (2, 2, 2))
    assert chosen(tree, None).image is None


def test_no_t1w_of_this_subject(tree):
    tree.pet("sub-01")
    tree.t1w("sub-02")
    choice = chosen(tree, None)
    assert choice.image is None
    assert choice.findings[0].is_error


# --- tables ---


@pytest.mark.parametrize(
    "content",
    ["", "weight\n70\n", "participant_id\tweight\nsub-01\n", "\x00\x01", "participant_id\n"],
)
def test_poor_tables_have_no_rows(tree, content):
    tree.write("participants.tsv", content)
    rows = read_columns(listing(tree), Path("participants.tsv"), ("participant_id", "weight"))
    assert rows == []


def test_nothing_but_the_named_columns_is_kept(tree):
    tree.write("participants.tsv", "group\tparticipant_id\tweight\nketamine\tsub-01\t70\n")
    rows = read_columns(listing(tree), Path("participants.tsv"), ("participant_id", "weight"))
    assert rows == [{"participant_id": "sub-01", "weight": "70"}]
