"""The command line: exit codes, and what a person reads when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline import __version__
from pipeline.cli import commands, participant, planning
from pipeline.cli.main import main
from pipeline.config.load import load_settings
from pipeline.config.schema import Settings
from workflows.anatomy import init_anatomy_wf

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2

SIDECAR = {
    "Units": "Bq/mL",
    "TracerName": "AZ10419369",
    "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 400,
    "InjectedRadioactivityUnits": "MBq",
    "TimeZero": "10:00:00",
    "ScanStart": 0,
    "InjectionStart": 0,
    "FrameTimesStart": [0, 10, 30],
    "FrameDuration": [10, 20, 60],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # the command sets these for its process; here the process is everyone's
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


@pytest.fixture
def bids_dir(tmp_path) -> Path:
    """Two subjects of zeros, good enough to be surveyed."""
    root = tmp_path / "bids"
    root.mkdir()
    write_json(root / "dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.10.0"})
    for subject in ("sub-01", "sub-02"):
        write_zeros(root / subject / "anat" / f"{subject}_T1w.nii.gz", (4, 4, 4))
        pet = root / subject / "pet" / f"{subject}_pet.nii.gz"
        write_zeros(pet, (4, 4, 4, 3))
        write_json(pet.with_name(f"{subject}_pet.json"), SIDECAR)
    return root


@pytest.fixture
def out_dir(tmp_path) -> Path:
    return tmp_path / "out"


def write_zeros(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def break_timing(bids_dir: Path, subject: str) -> None:
    sidecar = bids_dir / subject / "pet" / f"{subject}_pet.json"
    write_json(sidecar, {k: v for k, v in SIDECAR.items() if k != "FrameTimesStart"})


def tree(root: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in [root, *sorted(root.rglob("*"))]}


def refused(capsys, *words: str | Path) -> str:
    """What a command that must be refused says on standard error."""
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert code == WRONG_USE
    assert printed.out == ""
    assert printed.err.startswith("petbind: ")
    assert "Traceback" not in printed.err
    return printed.err


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])

    assert stopped.value.code == DONE
    assert capsys.readouterr().out == f"petbind {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bids", "out"],
        ["bids", "out", "subject"],
        ["check", "bids"],
        ["check", "a", "b", "--n"],
    ],
)
def test_words_that_make_no_command_are_wrong_use(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)

    assert stopped.value.code == WRONG_USE
    assert "usage: petbind" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["BIDS", "OUT", "participant"],
        ["BIDS", "OUT", "group", "--work-dir", "W", "--n-procs", "2"],
        ["BIDS", "OUT", "participant", "--participant-label", "01", "sub-02", "--mem-gb", "4"],
        ["BIDS", "OUT", "participant", "--set", "motion.backend=none", "--stop-on-first-crash"],
        ["--n-procs", "2", "BIDS", "OUT", "participant"],
        ["--config", "tiger2020", "BIDS", "OUT", "participant"],
    ],
)
def test_bids_app_form_is_the_run_command(words, monkeypatch):
    received = []
    monkeypatch.setattr(commands, "run", lambda args: received.append(vars(args)) or DONE)

    assert main(words) == main(["run", *words]) == DONE
    assert received[0] == received[1]
    assert received[0]["bids_dir"] == Path("BIDS")


@pytest.mark.parametrize("command", [["run", "participant"], ["check"]])
def test_missing_data_set(command, tmp_path, out_dir, capsys):
    name, *level = command
    message = refused(capsys, name, tmp_path / "nowhere", out_dir, *level)

    assert str(tmp_path / "nowhere") in message
    assert "no such folder" in message
    assert not out_dir.exists()


@pytest.mark.parametrize("level", ["participant", "group"])
def test_results_never_go_into_the_raw_data(level, bids_dir, capsys):
    before = tree(bids_dir)
    # the same folder by another way, and a folder among those of the subjects
    for out_dir in (bids_dir / "sub-01" / "..", bids_dir / "sub-01" / "out",
                    bids_dir / "derivatives"):  # fmt: skip
        assert "mix with the raw data" in refused(capsys, bids_dir, out_dir, level)
    beside = ("--work-dir", bids_dir / "work")
    assert "mix with" in refused(capsys, bids_dir, bids_dir.parent / "out", level, *beside)
    assert "mix with" in refused(capsys, "graph", bids_dir, bids_dir)
    assert "derivatives" in refused(capsys, "check", bids_dir, bids_dir / "results")
    assert tree(bids_dir) == before


def test_results_may_go_to_the_derivatives_of_the_raw_data(bids_dir, capsys):
    assert main(["check", str(bids_dir), str(bids_dir / "derivatives" / "petbind")]) == DONE


def test_group_column_that_is_missing_is_told_before_hours_of_work(bids_dir, out_dir, capsys):
    (bids_dir / "participants.tsv").write_text("participant_id\tarm\nsub-01\tketamine\n")
    assert main(["check", str(bids_dir), str(out_dir)]) == DONE
    shown = capsys.readouterr().out
    assert "participants.tsv [group]: no such column; found participant_id, arm" in shown
    assert "ketamine" not in shown
    assert main(["check", str(bids_dir), str(out_dir), "--set", "group.group_column="]) == DONE
    assert "no such column" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("demos", "BIDS", "OUT"), "invalid choice: 'demos'"),
        (("BIDS", "OUT", "participant", "--nprocs", "2"), "did you mean --n-procs?"),
    ],
)
def test_a_slip_of_the_pen_is_told_as_one(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == WRONG_USE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["embedded", "fsl"])
def test_a_session_on_a_list_that_is_not_there_is_told(backend, bids_dir, out_dir, capsys):
    listed = ("--set", "motion.mode=listed", "--set", 'motion.sessions=["sub-01_ses-pree"]')
    listed += ("--set", f"motion.backend={backend}")
    main(["check", str(bids_dir), str(out_dir), *listed])
    told = capsys.readouterr()
    assert "motion.sessions" in told.out + told.err
    assert "no scan here is sub-01_ses-pree" in told.out + told.err


def test_a_second_file_of_settings_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["config", "check", "--config", "tiger2020", "--config", "mine.toml"])
    assert stopped.value.code == WRONG_USE
    assert "--config was given twice" in capsys.readouterr().err


def test_unknown_participant_is_told_the_nearest(bids_dir, out_dir, capsys):
    message = refused(capsys, bids_dir, out_dir, "participant", "--participant-label", "sub-021")

    assert "sub-021: not in this data set; nearest: sub-02" in message
    assert not out_dir.exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("motion.backends=none", ("motion", "backends", "did you mean 'backend'?")),
        ("resources.n_procs=0", ("resources.n_procs", "greater than or equal to 1")),
        ("resources", ("--set resources: expected section.key=value",)),
        ("motion.backend.deeper=1", ("motion",)),
        ("motion.backend=non", ("motion.backend: 'non' is not one of 'embedded', ", "'none'")),
        ("motion.fwhm_mm=7", ("motion.fwhm_mm", "'spm' too")),
        ("coregistration.separation_mm=[0]", ("coregistration.backend = 'spm'",)),
        ("parcellation.dseg=x", ("set parcellation.backend = 'given' too",)),
        ("anatomy.folder=/x", ("set anatomy.backend = 'derivatives' too",)),
        ("regions.reference.labels=[99999]", ("99999",)),
        ("regions.reference.erosion_mm=20", ("erosion_mm must be between 0 and 10 mm",)),
        ("regions.reference.recipe=plane", ("'planes'", "'distance'")),
        ("anatomy.brain=deepbet", ("needs deepbet and torch", "pip install")),
        ("regions.mni.LST.image=nowhere.nii", ("regions.mni.LST", "nowhere.nii: no such file")),
        (
            "kinetics.models=[{model = 'logan', k2prime = {region = 'XYZ'}}, 'srtm']",
            ("logan takes its k2prime from XYZ", "OC"),
        ),
    ],
)
def test_wrong_setting_is_named(override, words, bids_dir, out_dir, capsys):
    message = refused(capsys, bids_dir, out_dir, "participant", "--set", override)

    for word in words:
        assert word in message
    assert not out_dir.exists()


def test_option_out_of_range_is_named(bids_dir, out_dir, capsys):
    message = refused(capsys, bids_dir, out_dir, "participant", "--n-procs", "0")

    assert "n_procs" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("neither a file nor a study", "tiger2020")),
        ("[motion\n", ("study.toml", "not a readable TOML file")),
        ("[motoin]\nbackend = 'none'\n", ("study.toml", "motoin", "did you mean 'motion'?")),
        ("[coregistration]\nsmoothing_fwhm_mm = -1\n", ("study.toml", "smoothing_fwhm_mm")),
    ],
)
def test_wrong_settings_file_is_named(content, words, tmp_path, bids_dir, out_dir, capsys):
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    message = refused(capsys, bids_dir, out_dir, "participant", "--config", path)

    for word in words:
        assert word in message
    assert not out_dir.exists()


def test_check_lists_what_would_run_and_writes_nothing(bids_dir, out_dir, capsys):
    before = tree(bids_dir.parent)

    assert main(["check", str(bids_dir), str(out_dir)]) == DONE
    printed = capsys.readouterr().out
    assert "2 PET run(s) can be analysed, 0 cannot" in printed
    assert "sub-01_T1w.nii.gz" in printed
    assert tree(bids_dir.parent) == before


def test_check_of_a_partly_broken_data_set(bids_dir, out_dir, capsys):
    break_timing(bids_dir, "sub-02")
    before = tree(bids_dir.parent)

    assert main(["check", str(bids_dir), str(out_dir)]) == SOME_FAILED
    printed = capsys.readouterr().out
    assert "1 PET run(s) can be analysed, 1 cannot" in printed
    assert "sub-02 cannot run" in printed
    assert "sub-02_pet.json [FrameTimesStart]" in printed
    assert tree(bids_dir.parent) == before


def write_anatomy(bids_dir: Path, name: str, subject: str) -> Path:
    """Anatomical derivatives of a subject, of zeros."""
    folder = bids_dir / "derivatives" / name
    stem = folder / subject / "anat" / subject
    ends = ("desc-preproc_T1w", "desc-brain_mask", *(f"label-{t}_probseg" for t in _TISSUES))
    for end in ends:
        write_zeros(Path(f"{stem}_{end}.nii.gz"), (4, 4, 4))
    for way in ("from-T1w_to-MNI152NLin2009cAsym", "from-MNI152NLin2009cAsym_to-T1w"):
        Path(f"{stem}_{way}_mode-image_xfm.h5").touch()
    maker = {"Name": "fMRIPrep", "Version": "24.1.1"}
    write_json(folder / "dataset_description.json", {"Name": "x", "GeneratedBy": [maker]})
    return folder


_TISSUES = ("GM", "WM", "CSF")


def test_anatomy_of_other_derivatives_is_found_before_anything_runs(bids_dir, out_dir, capsys):
    """Also without a name; whoever has none is blocked."""
    write_anatomy(bids_dir, "fmriprep", "sub-01")
    words = ["check", str(bids_dir), str(out_dir), "--set", "anatomy.backend=derivatives"]
    for more in ([], ["--set", f"anatomy.folder={bids_dir / 'derivatives' / 'fmriprep'}"]):
        assert main([*words, *more]) == SOME_FAILED
        printed = capsys.readouterr().out
        assert "1 PET run(s) can be analysed, 1 cannot" in printed
        assert "sub-02_T1w.nii.gz: no anatomy of it in sub-02/anat of fmriprep" in printed


def test_the_folder_of_other_derivatives_reaches_the_graph(bids_dir, monkeypatch):
    folder = write_anatomy(bids_dir, "fmriprep", "sub-01")
    monkeypatch.chdir(bids_dir)
    settings = load_settings(None, ["anatomy.backend=derivatives"])
    found = planning.with_anatomy_found(settings, bids_dir).anatomy
    assert found.folder == "derivatives/fmriprep"
    node = init_anatomy_wf(found, settings.resources).get_node("find")
    assert node.inputs.description == str(folder / "dataset_description.json")


def test_derivatives_that_are_not_there_or_several_are_refused(bids_dir, out_dir, capsys):
    words = ("participant", "--set", "anatomy.backend=derivatives")
    message = refused(capsys, bids_dir, out_dir, *words)
    assert "no derivatives of sMRIPrep, fMRIPrep or PETPrep" in message
    for name in ("fmriprep", "older"):
        write_anatomy(bids_dir, name, "sub-01")
    message = refused(capsys, bids_dir, out_dir, *words)
    assert "fmriprep (fMRIPrep 24.1.1), older (fMRIPrep 24.1.1)" in message
    assert "anatomy.folder" in message


def test_graph_is_drawn_with_every_step(bids_dir, out_dir, capsys):
    assert main(["graph", str(bids_dir), str(out_dir)]) == DONE
    path = out_dir / "sub-01_graph.svg"
    assert capsys.readouterr().out.strip() == str(path)
    drawn = path.read_text(encoding="utf-8")
    # a box for each of 17 steps, and no step without an arrow
    assert drawn.count('id="patch_') >= 17 + 16
    # and nothing of the machine
    assert str(bids_dir.parent) not in drawn


def test_nothing_that_can_run_is_wrong_use(bids_dir, out_dir, capsys):
    for subject in ("sub-01", "sub-02"):
        break_timing(bids_dir, subject)

    assert main(["check", str(bids_dir), str(out_dir)]) == WRONG_USE
    capsys.readouterr()
    message = refused(capsys, bids_dir, out_dir, "participant")
    assert "sub-01 will not run" in message
    assert "[FrameTimesStart]" in message
    assert "no session can run" in message
    assert not out_dir.exists()


def test_group_without_results_says_what_to_run_first(bids_dir, out_dir, capsys):
    message = refused(capsys, bids_dir, out_dir, "group")

    assert "participant" in message
    assert not out_dir.exists()
    assert sorted(path.name for path in bids_dir.parent.iterdir()) == ["bids"]


@pytest.mark.parametrize("level", ["participant", "group"])
@pytest.mark.parametrize("place", ["out", "work"])
def test_folder_that_cannot_be_made_is_named(place, level, bids_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    out = tmp_path / "file" / "out" if place == "out" else tmp_path / "out"
    work = tmp_path / "file" / "work" if place == "work" else tmp_path / "work"
    options = []
    if level == "group" and place == "work":
        write_kinpar(out)
        options = ["--set", "group.sessions=[]", "--set", "group.group_column="]
    message = refused(capsys, bids_dir, out, level, "--work-dir", work, *options)

    assert str(tmp_path / "file") in message


@pytest.mark.parametrize("level", ["participant", "group"])
def test_where_the_folder_beside_the_output_cannot_be_made_another_can_be_named(
    level, bids_dir, tmp_path, capsys
):
    out = tmp_path / "out"
    Path(f"{out}-work").write_text("", encoding="utf-8")
    write_kinpar(out)
    options = ["--set", "group.sessions=[]", "--set", "group.group_column="]
    message = refused(capsys, bids_dir, out, level, *options)
    assert "out-work: cannot make this folder" in message
    assert message.rstrip().endswith("; name another with --work-dir")


def write_kinpar(out_dir: Path) -> None:
    """Enough for the group level to have something to begin with."""
    for subject in ("sub-01", "sub-02"):
        path = out_dir / subject / "pet" / f"{subject}_model-SRTM_kinpar.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("index\tname\tBPND\tflag\n1\tHIP\t1\tn/a\n", encoding="utf-8")


def test_simulate_refuses_a_folder_in_use(bids_dir, capsys):
    before = tree(bids_dir)
    message = refused(capsys, "simulate", bids_dir, "--frames", "short")

    assert "not empty" in message
    assert tree(bids_dir) == before


def test_settings_can_be_shown_and_checked(capsys):
    assert main(["config", "show", "--set", "motion.backend=none"]) == DONE
    assert json.loads(capsys.readouterr().out)["motion"] == {"backend": "none"}
    assert main(["config", "check", "--config", "tiger2020"]) == DONE
    assert capsys.readouterr().out == "settings are valid\n"


def test_a_damaged_description_of_the_raw_data_stops_nothing(bids_dir, out_dir):
    (bids_dir / "dataset_description.json").write_text("{bad")
    (out_dir / "logs").mkdir(parents=True)
    participant.describe_output(bids_dir, out_dir, Settings(), {"FSL": "6.0.7.4"})
    described = json.loads((out_dir / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][1] == {"Name": "FSL", "Version": "6.0.7.4"}


TOOL_BACKENDS = (
    "motion.backend=spm", "coregistration.backend=spm", "partial_volume.backend=petpvc"
)  # fmt: skip


def with_settings(*overrides):
    return [word for override in overrides for word in ("--set", override)]


@pytest.fixture
def no_programs(tmp_path, monkeypatch):
    """An empty folder on the PATH, and no word on where SPM is."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("MATLABCMD", "SPM_PATH", "SPMMCRCMD", "FORCE_SPMMCR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "bin"


def put_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("level", ["check", "participant"])
def test_all_tools_that_lack_are_told_of_at_once(level, bids_dir, out_dir, no_programs, capsys):
    folders = [str(bids_dir), str(out_dir)]
    words = [level, *folders] if level == "check" else [*folders, level]
    assert main([*words, *with_settings(*TOOL_BACKENDS)]) == WRONG_USE
    printed = capsys.readouterr()
    for told in (
        "SPM12: no program matlab", "resources.spm.command", "$MATLABCMD",
        "needed by motion.backend = 'spm' and coregistration.backend = 'spm'",
        "set motion.backend = 'embedded' and coregistration.backend = 'embedded'",
        "PETPVC: not on the PATH: petpvc", "needed by partial_volume.backend = 'petpvc'",
        "https://github.com/UCL/PETPVC/releases",
    ):  # fmt: skip
        assert told in printed.err
    if level == "check":
        rows = [line.split() for line in printed.out.splitlines()]
        assert ["SPM12", "motion,", "coregistration", "r6225", "not", "usable"] in rows
        assert "2 PET run(s) can be analysed" in printed.out
    assert not out_dir.exists()


def test_check_shows_the_tools_that_are_there(bids_dir, out_dir, no_programs, capsys):
    put_program(no_programs, "petpvc", 'echo "Version: 1.2.12"')
    put_program(no_programs, "octave", "echo 'petbind asks: SPM12|7771|GNU Octave|7.3.0|'")
    overrides = with_settings(*TOOL_BACKENDS, "resources.spm.command=octave")
    assert main(["check", str(bids_dir), str(out_dir), *overrides]) == DONE
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["PETPVC", "partial_volume", "1.2.12", "1.2", "ready"] in rows
    told = next(row for row in rows if row[:1] == ["SPM12"])
    shown = "SPM12 motion, coregistration r7771 (GNU Octave 7.3.0) r6225 ready"
    assert " ".join(told) == shown


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("SPM25|25.01|MATLAB|9.14 (R2023a)", "octave starts SPM25, not SPM12"),
        ("SPM12|5236|MATLAB|7.13 (R2011b)", "r5236 (MATLAB R2011b) is too old"),
    ],
)
def test_another_spm_is_refused(answer, told, bids_dir, out_dir, no_programs, capsys):
    put_program(no_programs, "octave", f"echo 'petbind asks: {answer}|'")
    overrides = with_settings("motion.backend=spm", "resources.spm.command=octave")
    assert told in refused(capsys, bids_dir, out_dir, "participant", *overrides)


def test_a_work_directory_that_spm_cannot_take_is_refused(
    bids_dir, out_dir, no_programs, capsys, tmp_path
):
    put_program(no_programs, "octave", "echo 'petbind asks: SPM12|7771|GNU Octave|7.3.0|'")
    overrides = with_settings("motion.backend=spm", "resources.spm.command=octave")
    work = ("--work-dir", tmp_path / "o'neill")
    said = refused(capsys, bids_dir, out_dir, "participant", *overrides, *work)
    assert "o'neill" in said
    assert "--work-dir" in said
    # a link with a plain name does not help: nodes see where it leads
    (tmp_path / "o'neill").mkdir()
    (tmp_path / "plain").symlink_to(tmp_path / "o'neill")
    work = ("--work-dir", tmp_path / "plain")
    assert "o'neill" in refused(capsys, bids_dir, out_dir, "participant", *overrides, *work)
    assert not (tmp_path / "o'neill" / "petbind").exists()


def test_a_folder_without_spm_is_named(bids_dir, out_dir, no_programs, capsys, tmp_path):
    put_program(no_programs, "octave", "exit 1")
    overrides = with_settings("motion.backend=spm", "resources.spm.command=octave",
                              f"resources.spm.folder={tmp_path}")  # fmt: skip
    said = refused(capsys, bids_dir, out_dir, "participant", *overrides)
    assert f"SPM12: {tmp_path} holds no spm.m; see resources.spm.folder" in said


def test_drawing_a_graph_starts_no_program(bids_dir, out_dir, no_programs, tmp_path):
    for name in ("matlab", "octave"):
        put_program(no_programs, name, f": > {tmp_path / 'started'}; exit 1")
    for command in ("matlab", "octave"):
        overrides = with_settings(*TOOL_BACKENDS, f"resources.spm.command={command}")
        assert main(["graph", str(bids_dir), str(out_dir), *overrides]) == DONE
    assert not (tmp_path / "started").exists()
