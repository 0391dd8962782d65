"""Saving derivatives: places, sidecars, nothing touched without need."""

import json

import pytest
from nipype.pipeline import engine as pe

from pipeline.interfaces.outputs import SaveDerivatives, publish


def _save(tmp_path, source):
    node = pe.Node(
        SaveDerivatives(
            infields=["tacs", "maps"],
            out_dir=str(tmp_path),
            targets={
                "tacs": "sub-01/pet/sub-01_desc-regions_tacs.tsv",
                "maps": ["sub-01/pet/sub-01_meas-BPND_mimap.nii.gz"],
            },
            metadata={"tacs": {"Units": "Bq/mL"}},
        ),
        name="save",
        base_dir=tmp_path / "work",
    )
    node.inputs.tacs, node.inputs.maps = str(source), [str(source)]
    node.run()


def test_results_get_their_names_and_sidecars(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text("a\n1\n")
    _save(tmp_path, source)
    out = tmp_path / "sub-01" / "pet"
    assert sorted(p.name for p in out.iterdir()) == [
        "sub-01_desc-regions_tacs.json",
        "sub-01_desc-regions_tacs.tsv",
        "sub-01_meas-BPND_mimap.nii.gz",
    ]
    assert json.loads((out / "sub-01_desc-regions_tacs.json").read_text()) == {"Units": "Bq/mL"}


def test_a_deleted_output_comes_back(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text("a\n1\n")
    _save(tmp_path, source)
    target = tmp_path / "sub-01" / "pet" / "sub-01_desc-regions_tacs.tsv"
    target.unlink()
    _save(tmp_path, source)
    assert target.read_text() == "a\n1\n"


def test_what_is_there_unchanged_is_not_written_again(tmp_path):
    source, target = tmp_path / "in.tsv", tmp_path / "out" / "x.tsv"
    source.write_text("a\n1\n")
    publish(source, target)
    first = target.stat()
    publish(source, target)
    assert target.stat().st_ino == first.st_ino
    source.write_text("a\n2\n")
    publish(source, target)
    assert target.read_text() == "a\n2\n"
    assert [p.name for p in target.parent.iterdir()] == ["x.tsv"]


@pytest.mark.parametrize("port", ["found", "moved", "placed"])
def test_what_the_run_found_goes_before_what_was_assumed(tmp_path, port):
    source, found = tmp_path / "in.nii.gz", tmp_path / "quality.json"
    source.write_text("a")
    found.write_text('{"SkullStripped": true, "BrainVolume_mL": 1500}')
    node = SaveDerivatives(
        infields=["t1w"],
        out_dir=str(tmp_path),
        targets={"t1w": "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"},
        metadata={"t1w": {"SkullStripped": False, "Backend": "embedded"}},
        **{port: str(found)},
    )
    node.inputs.t1w = str(source)
    node.run(cwd=tmp_path)
    sidecar = tmp_path / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.json"
    assert json.loads(sidecar.read_text()) == {"SkullStripped": True, "Backend": "embedded"}
