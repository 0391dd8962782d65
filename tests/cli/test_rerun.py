"""`petbind rerun`: what would run, under which settings; what runs is tested end to end."""

import pytest

from many_sessions import make_tree
from pipeline.bids.preflight import survey
from pipeline.cli.main import main
from pipeline.cli.participant import _note_requests
from pipeline.config.load import load_settings
from pipeline.execution.requests import read_request
from workflows.anatomical import Folders


@pytest.fixture
def folders(tmp_path):
    """Two sessions of a subject that were asked for with settings of their own."""
    make_tree(tmp_path / "bids", 1)
    folders = Folders(tmp_path / "bids", tmp_path / "out", tmp_path / "work")
    (folders.out_dir / "logs").mkdir(parents=True)
    _note_requests(
        survey(folders.bids_dir), folders, load_settings(None, ["kinetics.maps=false"]), {}
    )
    return folders


def told(folders, capsys, *words):
    code = main(["rerun", str(folders.out_dir), *words, "--work-dir", str(folders.work_dir)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_plan_names_what_is_needed_and_writes_nothing(folders, capsys):
    words = (
        "coregistration",
        "--session-label",
        "post",
        "--set",
        "coregistration.smoothing_fwhm_mm=6",
    )
    code, said = told(folders, capsys, *words, "--dry-run")
    assert code == 0
    lines = said.splitlines()
    # nothing is done: motion and anatomy come first, and what follows may run
    assert "runs  sub-0000_ses-post  coregistration_wf.coregister" in lines
    assert "runs  sub-0000_ses-post  motion_wf.correct_motion" in lines
    assert "runs  sub-0000_ses-pre_T1w  anatomy_wf.find_brain" in lines
    assert not [line for line in lines if "sub-0000_ses-pre " in line]
    # the settings are those of the run: it makes no maps
    assert not [line for line in lines if "fit_voxels" in line]
    assert read_request(folders.work_dir, "sub-0000_ses-post").changed == ()


def test_a_wrong_name_and_a_wrong_setting_are_told(folders, capsys):
    code, said = told(folders, capsys, "corregistration", "--dry-run")
    assert code == 2
    assert "did you mean coregistration?" in said
    code, said = told(folders, capsys, "page", "--set", "motion.mod=auto")
    assert code == 2
    assert "did you mean 'mode'?" in said


def test_sessions_share_their_anatomy(folders, capsys):
    words = ("label", "--set", "anatomy.brain=nonsense")
    code, said = told(folders, capsys, *words, "--dry-run")
    assert code == 2
    words = ("label", "--session-label", "pre", "--set", "anatomy.t1w=first", "--dry-run")
    code, said = told(folders, capsys, *words)
    assert code == 2
    assert "sub-0000_ses-post too" in said
    assert told(folders, capsys, *words[:1], *words[3:])[0] == 0
