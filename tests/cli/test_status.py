"""`petbind status` of sessions that were asked for, before and after a node was done."""

import json

import pytest

from many_sessions import make_tree
from pipeline.bids.preflight import survey
from pipeline.cli.main import main
from pipeline.cli.participant import Task, _note_requests, graphs_of
from pipeline.config.schema import Settings
from pipeline.execution.graph import executable_graph, step_of
from pipeline.execution.requests import Request, read_request, read_requests
from pipeline.execution.states import crash_file
from workflows.anatomical import Folders


@pytest.fixture
def study(tmp_path):
    """Two sessions of a subject that were asked for, none of them begun."""
    make_tree(tmp_path / "bids", 1)
    folders = Folders(tmp_path / "bids", tmp_path / "out", tmp_path / "work")
    (folders.out_dir / "logs").mkdir(parents=True)
    plan = survey(folders.bids_dir)
    _note_requests(plan, folders, Settings(), {})
    return Task(plan, folders, Settings(), {})


def told(study, capsys, *words):
    out = [str(study.folders.out_dir), "--work-dir", str(study.folders.work_dir)]
    code = main(["status", out[0], *words, *out[1:]])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_what_was_asked_for_is_kept_whole(tmp_path):
    request = Request(
        "sub-01", "/b", "/o", "/h", {"scan": {"end_s": 5.0}}, {"SPM12": "r1"}, "", ("a=1",)
    )
    request.write(tmp_path)
    assert read_request(tmp_path, "sub-01") == request
    assert read_requests(tmp_path) == [request]
    (tmp_path / "requests" / "sub-01.json").write_text("{")
    assert read_request(tmp_path, "sub-01") is None


def test_sessions_that_wait(study, capsys):
    code, said = told(study, capsys, "--json")
    assert code == 1
    sessions = json.loads(said)
    assert [s["session"] for s in sessions] == ["sub-0000_ses-post", "sub-0000_ses-pre"]
    assert {node["state"] for s in sessions for node in s["nodes"]} == {"waiting"}
    steps = {node["node"] for node in sessions[0]["nodes"]}
    assert {"motion_wf.correct_motion", "coregistration_wf.coregister", "page"} <= steps
    code, said = told(study, capsys)
    assert code == 1
    assert "sub-0000_ses-post" in said


def test_one_session_alone(study, capsys):
    _, said = told(
        study, capsys, "--json", "--participant-label", "0000", "--session-label", "post"
    )
    assert [s["session"] for s in json.loads(said)] == ["sub-0000_ses-post"]
    code, said = told(study, capsys, "--session-label", "none")
    assert code == 2
    assert "no such session was run" in said
    assert "sub-0000_ses-pre" in said


def test_a_failure_is_told_in_a_line_with_its_file(study, capsys):
    graph = executable_graph(next(graphs_of(study)))
    (node,) = [
        n for n in graph if step_of(n) == "motion_wf.correct_motion" and "post" in n.fullname
    ]
    crash = crash_file(node)
    crash.parent.mkdir(parents=True)
    crash.write_text(
        "Node: x\n\nTraceback (most recent call last):\n  File ...\n"
        "pipeline.core.errors.DataError: pet.nii.gz: it breaks off\n"
    )
    code, said = told(study, capsys, "--json")
    by_label = {s["session"]: s for s in json.loads(said)}
    assert code == 1
    assert by_label["sub-0000_ses-post"]["state"] == "failed"
    assert by_label["sub-0000_ses-pre"]["state"] == "waiting"
    (failed,) = [n for n in by_label["sub-0000_ses-post"]["nodes"] if n["state"] == "failed"]
    assert failed["reason"] == "pet.nii.gz: it breaks off"
    assert failed["crash_file"] == str(crash)


def test_what_is_gone_from_the_data_is_said(study, capsys):
    for path in sorted(
        (study.folders.bids_dir / "sub-0000" / "ses-post").rglob("*"), reverse=True
    ):
        path.unlink() if path.is_file() else path.rmdir()
    _, said = told(study, capsys)
    assert "sub-0000_ses-post: it is no longer in the data set" in said


def test_a_folder_in_which_nothing_was_run(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["status", str(tmp_path / "out")]) == 2
    assert "no session was run here" in capsys.readouterr().err


def test_outputs_without_provenance_are_not_taken_for_verified(study, capsys):
    code, said = told(study, capsys, "--verify")
    assert code == 1
    assert "logs/sub-0000_ses-pre_provenance.json: missing" in said
