"""Names of outputs: one kind per name, and back again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bids.derivatives import (
    OUTPUT_NAMES,
    bids_uri,
    dataset_description,
    derivative_path,
    parse_derivative,
    raw_link,
    sidecar_path,
)
from pipeline.bids.entities import PET_ENTITIES
from pipeline.core.errors import DataError

labels = st.text("abcXYZ0189", min_size=1, max_size=6)
scans = st.fixed_dictionaries(
    {"sub": labels}, optional={key: labels for key in PET_ENTITIES if key != "sub"}
)
named = sorted(set(OUTPUT_NAMES) - {"report"})


@given(scan=scans, key=st.sampled_from(named), data=st.data())
def test_format_then_parse(scan, key, data):
    pattern = OUTPUT_NAMES[key]
    optional = data.draw(st.sets(st.sampled_from(pattern.optional))) if pattern.optional else ()
    extra = {entity: data.draw(labels) for entity in (*pattern.required, *optional)}
    path = derivative_path(scan, key, **extra)
    found = parse_derivative(path)
    assert found is not None
    assert found[0] == key
    assert dict(found[1].entities) == scan | dict(pattern.fixed) | extra


@given(scan=scans, key=st.sampled_from(["petref", "pet_preproc", "report"]), data=st.data())
def test_order_of_arguments_does_not_matter(scan, key, data):
    shuffled = dict(data.draw(st.permutations(list(scan.items()))))
    assert derivative_path(shuffled, key) == derivative_path(scan, key)


@given(
    scans=st.lists(scans, min_size=2, max_size=2, unique_by=lambda scan: str(sorted(scan.items())))
)
def test_two_runs_never_share_a_file(scans):
    first, second = scans
    for key in ("petref2t1w_xfm", "motion_xfm", "petref", "report"):
        assert derivative_path(first, key) != derivative_path(second, key)


@pytest.mark.parametrize(
    ("key", "extra", "expected"),
    [
        ("probseg", {"label": "GM"}, "anat/{}_label-GM_probseg.nii.gz"),
        ("dseg", {"desc": "dk"}, "anat/{}_desc-dk_dseg.nii.gz"),
        (
            "t1w2mni_xfm",
            {},
            "anat/{}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.nii.gz",
        ),
        ("petref2t1w_xfm", {}, "pet/{}_from-petref_to-T1w_mode-image_xfm.txt"),
        ("regions_dseg", {}, "pet/{}_space-petref_desc-regions_dseg.nii.gz"),
        ("tacs", {"desc": "regions"}, "pet/{}_desc-regions_tacs.tsv"),
        (
            "mimap",
            {"meas": "BPND", "model": "SRTM", "space": "MNI152NLin2009cAsym"},
            "pet/{}_space-MNI152NLin2009cAsym_model-SRTM_meas-BPND_mimap.nii.gz",
        ),
        ("kinpar", {"model": "SRTM"}, "pet/{}_model-SRTM_kinpar.tsv"),
    ],
)
def test_names_of_the_plan(key, extra, expected):
    path = derivative_path({"sub": "01", "ses": "pre"}, key, **extra)
    assert path == Path("sub-01/ses-pre") / expected.format("sub-01_ses-pre")


def test_pages_lie_at_the_top_and_figures_with_the_subject():
    scan = {"sub": "01", "ses": "pre", "run": "02"}
    assert derivative_path(scan, "report") == Path("sub-01_ses-pre_run-02.html")
    figure = derivative_path(scan, "figure", desc="motion")
    assert figure == Path("sub-01/figures/sub-01_ses-pre_run-02_desc-motion_pet.svg")


@pytest.mark.parametrize(
    ("key", "extra"), [("tacs", {}), ("petref", {"desc": "x"}), ("probseg", {"desc": "GM"})]
)
def test_entities_must_fit_the_kind(key, extra):
    with pytest.raises(ValueError, match=r"missing .* not expected"):
        derivative_path({"sub": "01"}, key, **extra)


def test_labels_cannot_leave_the_folder():
    with pytest.raises(ValueError, match="BIDS name"):
        derivative_path({"sub": "../01"}, "petref")


def test_sidecar_has_the_name_of_its_file():
    path = derivative_path({"sub": "01"}, "mimap", model="SRTM", meas="BPND")
    assert sidecar_path(path) == Path("sub-01/pet/sub-01_model-SRTM_meas-BPND_mimap.json")


# --- provenance ---


def test_uri_of_a_raw_file_tells_nothing_of_the_machine(tmp_path):
    path = tmp_path / "sub-01" / "pet" / "sub-01_pet.nii.gz"
    assert bids_uri(path, tmp_path, "raw") == "bids:raw:sub-01/pet/sub-01_pet.nii.gz"
    assert bids_uri(Path("sub-01/a b.tsv"), tmp_path) == "bids::sub-01/a%20b.tsv"


@pytest.mark.parametrize("path", [Path("/elsewhere/x.nii"), Path("../x.nii")])
def test_uri_of_a_file_outside_is_refused(tmp_path, path):
    with pytest.raises(DataError, match=r"x\.nii"):
        bids_uri(path, tmp_path, "raw")


@pytest.mark.parametrize(
    ("out", "link"),
    [("bids/derivatives/petbind", "../.."), ("out", "../bids"), ("other/deep/out", None)],
)
def test_raw_data_are_linked_only_where_it_tells_nothing(tmp_path, out, link):
    assert raw_link(tmp_path / "bids", tmp_path / out) == link


def test_mounts_of_a_container_are_not_linked_but_what_lies_in_one_is():
    assert raw_link(Path("/bids"), Path("/out")) is None
    assert raw_link(Path("/bids"), Path("/bids/derivatives/petbind")) == "../.."


def test_description_without_a_raw_description():
    description = dataset_description("1.2.3", {})
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Version"] == "1.2.3"
    assert len(description["GeneratedBy"]) == 1
    assert "DatasetLinks" not in description


def test_programs_by_others_are_named_with_what_is_known_of_them():
    tools = {"SPM12": "r7771 (GNU Octave 7.3.0)", "FreeSurfer": ""}
    _, *others = dataset_description("1", {}, tools=tools)["GeneratedBy"]
    assert others == [
        {"Name": "SPM12", "Version": "r7771 (GNU Octave 7.3.0)"}, {"Name": "FreeSurfer"}
    ]  # fmt: skip


@pytest.mark.parametrize("doi", ["10.1/x", "doi:10.1/x", "https://doi.org/10.1/x"])
def test_a_doi_names_the_raw_data(doi):
    description = dataset_description("1", {"Name": "raw", "DatasetDOI": doi}, "../bids")
    assert description["SourceDatasets"] == [{"URL": "bids:raw:", "DOI": "10.1/x"}]
    assert description["DatasetLinks"] == {"raw": "https://doi.org/10.1/x"}
