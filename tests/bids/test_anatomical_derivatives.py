"""Anatomy of sMRIPrep and its kin: known by its description, found under each of its names."""

import gzip

import pytest

from pipeline.bids.anatomical_derivatives import (
    AnatomicalFiles,
    AnatomySource,
    Lacking,
    find_anatomy,
    find_source,
    read_source,
    require_anatomy,
)
from pipeline.bids.preflight import render_plan, survey
from pipeline.core.errors import ConfigError

ENDS = (
    "desc-preproc_T1w.nii.gz", "desc-brain_mask.nii.gz", "label-GM_probseg.nii.gz",
    "label-WM_probseg.nii.gz", "label-CSF_probseg.nii.gz",
    "from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
    "from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5",
)  # fmt: skip
"""As sMRIPrep writes them, in the order of `AnatomicalFiles`."""

# what lies beside them and must not be taken for them
OTHERS = (
    "space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz",
    "space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
    "space-MNI152NLin2009cAsym_label-GM_probseg.nii.gz", "desc-ribbon_mask.nii.gz", "dseg.nii.gz",
    "desc-preproc_T1w.json", "desc-preproc_T2w.nii.gz", "from-T1w_to-fsnative_mode-image_xfm.txt",
    "from-orig_to-T1w_mode-image_xfm.txt", "hemi-L_white.surf.gii",
)  # fmt: skip


@pytest.fixture
def derivatives(tree):
    """Puts files of zeros under a prefix such as ``sub-01/ses-pre/anat/sub-01_ses-pre``."""
    folder = "derivatives/smriprep"
    describe(tree, "smriprep", {"GeneratedBy": [{"Name": "sMRIPrep", "Version": "0.19.1"}]})

    def put(prefix, ends=(*ENDS, *OTHERS)):
        for end in ends:
            path = f"{folder}/{prefix}_{end}"
            if end.endswith(".nii.gz"):
                tree.image(path, (2, 2, 2))
            else:
                tree.write(path, "x")

    put.folder = tree.root / folder
    return put


def describe(tree, name, content):
    tree.write(f"derivatives/{name}/dataset_description.json", {"Name": "any", **content})


def entities(name):
    return dict(part.split("-") for part in name.split("_"))


def found(derivatives, t1w):
    return find_anatomy(read_source(derivatives.folder), entities(t1w))


@pytest.mark.parametrize(
    ("t1w", "prefix"),
    [
        ("sub-01", "sub-01/anat/sub-01"),
        ("sub-01_ses-pre", "sub-01/anat/sub-01"),
        ("sub-01_ses-pre", "sub-01/ses-pre/anat/sub-01_ses-pre"),
        ("sub-01_ses-pre_run-1", "sub-01/anat/sub-01_run-01"),
        ("sub-01_ses-pre_run-2", "sub-01/ses-pre/anat/sub-01_ses-pre"),
        ("sub-01_ses-pre_acq-mp_run-1", "sub-01/ses-pre/anat/sub-01_ses-pre_acq-mp"),
        ("sub-01_acq-mp_rec-norm", "sub-01/anat/sub-01_acq-mp_rec-norm"),
    ],
)
def test_files_of_a_reference_are_found(derivatives, t1w, prefix):
    derivatives(prefix)
    wanted = [derivatives.folder / f"{prefix}_{end}" for end in ENDS]
    assert found(derivatives, t1w) == AnatomicalFiles(*wanted)


def test_images_may_name_their_space_and_be_unpacked(derivatives):
    for end in ENDS[:-2]:
        stem = end.removesuffix(".gz")
        derivatives("sub-01/anat/sub-01_space-T1w", (f"{stem}.gz",))
        path = derivatives.folder / f"sub-01/anat/sub-01_space-T1w_{stem}"
        path.with_name(f"{path.name}.gz").rename(path)
        path.write_bytes(gzip.decompress(path.read_bytes()))
    derivatives("sub-01/anat/sub-01", ENDS[-2:])
    files = found(derivatives, "sub-01_ses-pre")
    assert files.t1w_preproc.name == "sub-01_space-T1w_desc-preproc_T1w.nii"
    assert files.mni2t1w_xfm.name.startswith("sub-01_from-MNI152NLin2009cAsym")


def test_a_sessions_own_goes_before_the_subjects(derivatives):
    derivatives("sub-01/anat/sub-01")
    derivatives("sub-01/ses-pre/anat/sub-01_ses-pre")
    assert found(derivatives, "sub-01_ses-pre").brain_mask.parts[-3] == "ses-pre"
    assert found(derivatives, "sub-01_ses-post").brain_mask.parts[-3] == "sub-01"


def test_the_reference_nearest_by_name_goes_first(derivatives):
    for prefix in ("sub-01", "sub-01_acq-mp", "sub-01_run-2"):
        derivatives(f"sub-01/anat/{prefix}")
    chosen = found(derivatives, "sub-01_ses-pre_acq-mp_run-1")
    assert chosen.gm_probseg.name == "sub-01_acq-mp_label-GM_probseg.nii.gz"


def test_half_of_a_sessions_own_is_neither_filled_up_nor_replaced(derivatives):
    derivatives("sub-01/ses-pre/anat/sub-01_ses-pre", ENDS[:5])
    derivatives("sub-01/anat/sub-01", ENDS)
    assert "in sub-01/ses-pre/anat" in found(derivatives, "sub-01_ses-pre").message
    whole = found(derivatives, "sub-01_ses-post")
    assert whole.brain_mask.parent == derivatives.folder / "sub-01/anat"


@pytest.mark.parametrize("end", ENDS)
def test_a_missing_file_is_named(derivatives, end):
    derivatives("sub-01/anat/sub-01", [one for one in (*ENDS, *OTHERS) if one != end])
    lacking = found(derivatives, "sub-01_ses-pre")
    assert lacking.message == f"no sub-01_{end} in sub-01/anat of smriprep"
    assert ("--output-spaces MNI152NLin2009cAsym" in lacking.next_step) is end.endswith(".h5")
    assert "sMRIPrep again" in lacking.next_step


def test_transforms_to_another_space_only_say_how_to_get_this_one(derivatives):
    other = [end.replace("2009cAsym", "6Asym") for end in ENDS[-2:]]
    derivatives("sub-01/anat/sub-01", [*ENDS[:5], *other])
    lacking = found(derivatives, "sub-01")
    assert "no sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5" in lacking.message
    assert lacking.message.endswith("; its transforms lead to MNI152NLin6Asym")
    assert lacking.next_step == "run sMRIPrep again with --output-spaces MNI152NLin2009cAsym"


def test_anatomy_of_other_images_is_told(derivatives):
    derivatives("sub-01/ses-pre/anat/sub-01_ses-pre_run-2")
    lacking = found(derivatives, "sub-01_ses-pre_run-1")
    assert "no anatomy of it in sub-01/ses-pre/anat or sub-01/anat of smriprep" in lacking.message
    assert lacking.message.endswith("there: sub-01_ses-pre_run-2_desc-preproc_T1w.nii.gz")


def test_a_link_without_content_is_told(derivatives):
    derivatives("sub-01/anat/sub-01")
    path = derivatives.folder / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    path.unlink()
    path.symlink_to(".git/annex/nowhere")
    lacking = found(derivatives, "sub-01")
    assert lacking.message.startswith("sub-01_desc-brain_mask.nii.gz is a link")
    assert "datalad get" in lacking.next_step


def test_an_image_that_cannot_be_read_is_told(derivatives, tree):
    derivatives("sub-01/anat/sub-01")
    tree.write("derivatives/smriprep/sub-01/anat/sub-01_label-WM_probseg.nii.gz", "no image")
    assert "label-WM_probseg.nii.gz is no readable image" in found(derivatives, "sub-01").message


@pytest.mark.parametrize(
    ("content", "pipeline", "version"),
    [
        ({"GeneratedBy": [{"Name": "fMRIPrep", "Version": "23.2.1"}]}, "fMRIPrep", "23.2.1"),
        ({"GeneratedBy": [{"Name": "other"}, {"Name": "petprep"}]}, "PETPrep", ""),
        ({"PipelineDescription": {"Name": "fMRIPrep", "Version": "1.5.0"}}, "fMRIPrep", "1.5.0"),
    ],
    ids=["now", "one of several", "before BIDS 1.4"],
)
def test_descriptions_of_every_age_are_understood(tree, content, pipeline, version):
    describe(tree, "mine", content)
    folder = tree.root / "derivatives" / "mine"
    expected = AnatomySource(folder, pipeline, version)
    assert read_source(folder) == find_source(tree.root) == expected
    assert find_source(tree.root, str(folder)) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"GeneratedBy": [{"Name": "petbind"}]}, "by petbind; derivatives of sMRIPrep, fMRIPrep"),
        ({"GeneratedBy": "fMRIPrep"}, "by nobody"),
        ({"GeneratedBy": [None, {"Name": 3}]}, "by nobody"),
        (None, "no such file"),
    ],
)
def test_other_derivatives_are_refused(tree, content, told):
    tree.write("derivatives/mine/sub-01/anat/x.json", "{}")
    if content is not None:
        describe(tree, "mine", content)
    with pytest.raises(ConfigError, match=told):
        find_source(tree.root, str(tree.root / "derivatives" / "mine"))
    with pytest.raises(ConfigError, match=r"no derivatives of .*there: mine.*anatomy\.folder"):
        find_source(tree.root)


def test_a_folder_that_is_not_there_is_refused(tree):
    with pytest.raises(ConfigError, match=r"anatomy\.folder: no folder .*nowhere"):
        find_source(tree.root, str(tree.root / "nowhere"))
    with pytest.raises(ConfigError, match="there: nothing"):
        find_source(tree.root)


def test_of_several_derivatives_one_must_be_named(tree):
    describe(tree, "fmriprep", {"GeneratedBy": [{"Name": "fMRIPrep", "Version": "23.2.1"}]})
    describe(tree, "petprep", {"GeneratedBy": [{"Name": "PETPrep", "Version": "0.0.5"}]})
    told = r"several .*: fmriprep \(fMRIPrep 23\.2\.1\), petprep \(PETPrep 0\.0\.5\); name one"
    with pytest.raises(ConfigError, match=told):
        find_source(tree.root)


def test_a_run_without_anatomy_is_blocked_and_the_others_run(derivatives, tree):
    for name in ("sub-01_ses-pre", "sub-01_ses-post", "sub-02_ses-pre"):
        tree.pet(name)
        tree.t1w(name)
    derivatives("sub-01/anat/sub-01")
    plan = require_anatomy(survey(tree.root), read_source(derivatives.folder))
    assert [scan.label for scan in plan.scans] == ["sub-01_ses-post", "sub-01_ses-pre"]
    assert [label for label, _ in plan.noted] == [scan.label for scan in plan.scans]
    ((label, (finding,)),) = plan.blocked
    assert label == "sub-02_ses-pre"
    assert finding.is_error
    text = render_plan(plan)
    assert (
        "error: sub-02_ses-pre_T1w.nii.gz: no anatomy of it in sub-02/ses-pre/anat or sub-02/anat "
        "of smriprep. Run sMRIPrep for it, or set anatomy.backend = 'embedded'."
    ) in text
    assert str(tree.root) not in text


def test_nothing_of_a_subject_is_lacking(derivatives):
    assert isinstance(found(derivatives, "sub-09"), Lacking)
