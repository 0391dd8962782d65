"""Which maps there are, and what maps of a cohort are called."""

import pytest

from pipeline.bids.group_maps import (
    Comparison,
    MapDesign,
    MapTable,
    clean_labels,
    comparison_stem,
    find_maps,
    map_uris,
    mean_map_stem,
    planned_comparisons,
)
from pipeline.core.errors import DataError

SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture
def out(tmp_path):
    """Makes empty maps by their names."""

    def make(*names):
        for name in names:
            subject, session = name.split("_")[:2]
            folders = [subject, session] if session.startswith("ses-") else [subject]
            folder = tmp_path.joinpath(*folders, "pet")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}_mimap.nii.gz").touch()
        return tmp_path

    return make


def test_every_map_of_the_parameter_in_order(out):
    folder = out(
        f"sub-10_ses-pre_{SPACE}_model-SRTM_meas-BPND",
        f"sub-2_ses-pre_run-2_{SPACE}_model-SRTM_meas-BPND",
        f"sub-2_ses-pre_run-1_{SPACE}_model-SRTM_meas-BPND",
        f"sub-2_ses-post_{SPACE}_model-SRTM_meas-BPND",
        f"sub-3_{SPACE}_model-SRTM_meas-BPND",
        f"sub-2_ses-pre_{SPACE}_model-SRTM_meas-R1",
        "sub-2_ses-pre_model-SRTM_meas-BPND",
    )
    maps = find_maps(folder, "BPND", {"model": "SRTM"})
    assert [(m.participant_id, m.session, m.label("run")) for m in maps] == [
        ("2", "post", ""), ("2", "pre", "1"), ("2", "pre", "2"), ("3", "", ""), ("10", "pre", ""),
    ]  # fmt: skip
    assert find_maps(folder, "DVR") == ()


@pytest.mark.parametrize(
    ("key", "first", "second", "setting"),
    [
        ("trc", "AZ", "raclopride", "group.tracer"),
        ("task", "rest", "", "group.task"),
        ("rec", "acdyn", "other", "group.reconstruction"),
        ("model", "SRTM", "MRTM1", "model"),
    ],
)
def test_what_cannot_be_averaged_is_asked_for(out, key, first, second, setting):
    def name(subject, label):
        entity = f"{key}-{label}_" if label else ""
        before, after = (entity, "") if key != "model" else ("", entity)
        return f"sub-{subject}_ses-pre_{before}{SPACE}_{after}meas-BPND"

    folder = out(name("1", first), name("2", second))
    with pytest.raises(DataError, match=f"{key}-{first}.*{setting}"):
        find_maps(folder, "BPND")
    for label, subject in ((first, "1"), (second, "2")):
        assert [m.participant_id for m in find_maps(folder, "BPND", {key: label})] == [subject]
    with pytest.raises(DataError, match=f"no maps of BPND with {key}-x; found: .*{key}-{first}"):
        find_maps(folder, "BPND", {key: "x"})


def test_names():
    design = MapDesign(
        parameter="BPND",
        sessions=("pre", "post"),
        groups=("ketamine 0.5 mg/kg", "placebo", "none"),
        compared=("pre", "post"),
        labels=(("model", "SRTM"), ("trc", "AZ10419369"), ("task", "")),
    )
    assert mean_map_stem(design, "placebo", "ses-pre", "n") == (
        f"group_grp-placebo_ses-pre_trc-AZ10419369_{SPACE}_model-SRTM_meas-BPND_desc-n_mimap"
    )
    *within, between = planned_comparisons(design)
    assert [c.groups for c in within] == [(group,) for group in design.groups]
    assert between == Comparison("difference", ("ketamine 0.5 mg/kg", "placebo"))
    assert comparison_stem(design, between, "t", "thresh") == (
        "group_grp-ketamine05mgkg+placebo_ses-pre+post_trc-AZ10419369_"
        f"{SPACE}_model-SRTM_meas-BPND_stat-t_desc-differencethresh_statmap"
    )


def test_blinded_or_without_sessions_the_names_say_so():
    blinded = MapDesign(parameter="BPND", sessions=("pre", "post"), compared=("pre", "post"))
    assert mean_map_stem(blinded, "", "pre", "mean") == (
        f"group_ses-pre_{SPACE}_meas-BPND_desc-mean_mimap"
    )
    assert planned_comparisons(blinded) == (Comparison("paired", ("",)),)
    once = MapDesign(parameter="R1")
    assert mean_map_stem(once, "", "", "mean") == f"group_{SPACE}_meas-R1_desc-mean_mimap"
    assert planned_comparisons(once) == ()


@pytest.mark.parametrize("labels", [("a b", "ab"), ("A", "a"), ("%", "b")])
def test_labels_that_make_no_name_of_their_own_are_refused(labels):
    with pytest.raises(DataError, match="rename"):
        clean_labels(labels)


def test_pairs_are_subjects_with_both_sessions():
    table = MapTable(
        paths=("a", "b", "c", "d", "e"),
        participant_ids=("1", "1", "1", "2", "3"),
        sessions=("pre", "post", "post", "pre", "post"),
        groups=("x", "x", "x", "x", ""),
    )
    assert table.pairs("x", ("ses-pre", "post")) == (["1"], [["a"]], [["b", "c"]])
    assert table.runs("", "post") == {"1": ["b", "c"], "3": ["e"]}
    assert table.runs("x", "post") == {"1": ["b", "c"]}
    with pytest.raises(ValueError, match="as many"):
        MapTable(("a",), ("1",), ("pre",), ())


def test_sources_do_not_show_this_machine():
    name = f"sub-1_ses-pre_{SPACE}_meas-BPND_mimap.nii.gz"
    assert map_uris([f"/secret/place/sub-1/ses-pre/pet/{name}"]) == [
        f"bids::sub-1/ses-pre/pet/{name}"
    ]
