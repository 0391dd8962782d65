"""`petbind submit`: what is written, what waits for what, what is done again; with doubles."""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pipeline.cli import submit
from pipeline.cli.main import main
from pipeline.cli.participant import with_rows
from pipeline.execution.batch import Command, Need, Part, in_container, plan_batches
from pipeline.io.tables import write_table
from slurm_double import INVALID_PARTITION, Double

SIDECAR = {
    "Units": "Bq/mL", "TracerName": "AZ10419369", "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00",
    "ScanStart": 0, "InjectionStart": 0, "FrameTimesStart": [0, 10, 30],
    "FrameDuration": [10, 20, 60], "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0,
}  # fmt: skip
ODD = 'it\'s $HOME; a "place" `id` \\x'
"""A name that a shell makes much of."""
ANATOMIES = ("sub-01_ses-pre_T1w", "sub-02_ses-pre_T1w")
SESSIONS = ("sub-01_ses-post", "sub-01_ses-pre", "sub-02_ses-pre")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # the command sets these for its process; here the process is everyone's
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


class Study:
    """Three sessions on two T1ws, a double of SLURM, and one of petbind in the tasks."""

    def __init__(self, root, slurm):
        self.root, self.slurm = root, slurm
        self.bids_dir, self.out_dir = root / "bids", root / "out"
        self.submit_dir = root / "out-work" / "submit"

    def submit(self, *words):
        return main(["submit", str(self.bids_dir), str(self.out_dir), *words])

    def submitted(self):
        """Batch to the options it was submitted with, of the last call."""
        calls = {}
        for words in self.slurm.asked("sbatch"):
            calls[next(Path(word).stem for word in words if word.endswith(".sh"))] = words
        return calls

    def scripts(self):
        return sorted(self.submit_dir.glob("*/*.sh"))

    def run_task(self, script, number=None):
        """What SLURM does; gives the exit code and the arguments petbind got."""
        log = self.root / "petbind.jsonl"
        log.unlink(missing_ok=True)
        environment = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": str(number or "")}
        done = subprocess.run(
            ["/bin/sh", script], env=environment, capture_output=True, check=False
        )
        return done.returncode, json.loads(log.read_text())

    def finish(self, *parts):
        """As if the tasks of some parts had gone well."""
        for part in parts:
            ledger = json.loads((self.submit_dir / "jobs.json").read_text())
            script = Path(re.sub(r"_\d+\.log$", ".sh", ledger["logs"][part]))
            number = int(ledger["jobs"][part].split("_")[1])
            code, words = self.run_task(script, number)
            assert (code, words[-1]) == (0, part)
            (self.out_dir / f"{part}.html").touch()
            if part.endswith("_T1w"):
                sub, ses, _ = part.split("_")
                made = self.out_dir / sub / ses / "anat" / f"{sub}_{ses}_desc-preproc_T1w.nii.gz"
                made.parent.mkdir(parents=True, exist_ok=True)
                made.touch()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "bids"
    root.mkdir()
    write_json(root / "dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.10.0"})
    for session in SESSIONS:
        folder = root.joinpath(*session.split("_"))
        write_zeros(folder / "pet" / f"{session}_pet.nii.gz", (4, 4, 4, 3))
        write_json(folder / "pet" / f"{session}_pet.json", SIDECAR)
        if session.endswith("pre"):
            write_zeros(folder / "anat" / f"{session}_T1w.nii.gz", (4, 4, 4))
    return root


@pytest.fixture
def study(tmp_path, data, monkeypatch):
    root = tmp_path / ODD
    shutil.copytree(data, root / "bids")
    program = root / "pet bind"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        "folder = pathlib.Path(__file__).parent\n"
        "(folder / 'petbind.jsonl').write_text(json.dumps(sys.argv[1:]))\n"
        "sys.exit((folder / 'fail').exists())\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(submit, "_this_program", lambda: (str(program),))
    slurm = Double(tmp_path / "slurm", monkeypatch)
    slurm.answer(sbatch=["101", "102", "103", "104"], squeue="")
    return Study(root, slurm)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_zeros(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)).to_filename(path)


def dependency(words):
    return next((w.partition("=")[2] for w in words if w.startswith("--dependency=")), "")


def test_a_dry_run_shows_every_script_and_touches_nothing(study, capsys):
    assert study.submit("--dry-run", "--group", "--partition", "long", "--sbatch=--qos=night") == 0
    said = capsys.readouterr().out
    for name in ("anatomy-1", "sessions-1", "sessions-2", "group"):
        assert f"# {name}.sh\n#!/bin/sh" in said
    assert "--dependency=aftercorr:<anatomy-1>" in said
    assert said.count("--partition=long --qos=night") == 4
    assert not study.submit_dir.exists()
    assert not study.out_dir.exists()
    assert study.slurm.asked("sbatch") == []


def test_sessions_wait_for_their_own_anatomy_and_the_group_for_all(study):
    assert study.submit("--group", "--time", "4:00:00", "--max-at-once", "20") == 0
    calls = study.submitted()
    assert {name: dependency(words) for name, words in calls.items()} == {
        "anatomy-1": "",
        "sessions-1": "aftercorr:101",
        "sessions-2": "aftercorr:101",
        "group": "afterany:102:103",
    }
    assert "--array=1-2%20" in calls["anatomy-1"]
    # sub-01 has two sessions on one T1w, sub-02 one
    assert "--array=1-2%20" in calls["sessions-1"]
    assert "--array=1%20" in calls["sessions-2"]
    assert all("--kill-on-invalid-dep=yes" in words for words in calls.values())
    assert all("--time=4:00:00" in words for words in calls.values())


def test_names_reach_petbind_as_they_are(study):
    region = "regions.labels.HIP=[17, 53]"
    assert study.submit("--group", "--set", region, "--n-procs", "2") == 0
    seen = []
    for script in study.scripts():
        numbers = (1, 2) if script.with_suffix(".tasks").exists() else (None,)
        for number in numbers:
            if number == 2 and script.stem == "sessions-2":
                continue
            code, words = study.run_task(script, number)
            level = "group" if number is None else "participant"
            work_dir = str(study.root / "out-work")
            fixed = [
                *("run", str(study.bids_dir), str(study.out_dir), level),
                *("--work-dir", work_dir, "--set", region, "--n-procs", "2"),
            ]
            assert code == 0
            assert words[: len(fixed)] == fixed
            seen.append(words[len(fixed) :])
    expected = [
        ["--participant-label", part[4:6], "--part", part] for part in (*ANATOMIES, *SESSIONS)
    ]
    assert sorted(seen) == sorted([[], *expected])


def test_the_group_is_unblinded_only_when_told(study, capsys):
    study.submit("--group", "--dry-run")
    assert "--unblind" not in capsys.readouterr().out
    study.submit("--unblind", "--dry-run")
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("--unblind") for line in lines if " group " in line] == [True]
    study.submit("--dry-run")
    assert "# group.sh" not in capsys.readouterr().out


def test_a_second_call_submits_what_is_neither_done_nor_on_its_way(study, capsys):
    study.submit()
    study.finish(*ANATOMIES, "sub-01_ses-pre")
    jobs = json.loads((study.submit_dir / "jobs.json").read_text())["jobs"]
    post, other = jobs["sub-01_ses-post"], jobs["sub-02_ses-pre"]
    squeue = f"{post}|RUNNING|None|x\n{other}|TIMEOUT|TimeLimit|x"
    study.slurm.answer(sbatch=["201"], squeue=squeue)
    capsys.readouterr()
    assert study.submit() == 0
    said = capsys.readouterr().out
    assert len(study.slurm.asked("sbatch")) == 4
    # its anatomy is done: it waits for nothing
    assert dependency(study.submitted()["sessions-1"]) == ""
    assert (study.submit_dir / "002" / "sessions-1.tasks").read_text().split("\t")[1] == (
        "sub-02_ses-pre"
    )
    assert re.search(r"sub-02_ses-pre +to do +TIMEOUT \(TimeLimit\)", said)
    assert re.search(r"sub-01_ses-post +on its way", said)
    assert "sessions: 1 done, 2 not" in said


def test_when_all_is_done_nothing_is_submitted_and_a_changed_input_is_seen(study):
    study.submit()
    study.finish(*ANATOMIES, *SESSIONS)
    study.submit()
    assert len(study.slurm.asked("sbatch")) == 3
    sidecar = study.bids_dir / "sub-02" / "ses-pre" / "pet" / "sub-02_ses-pre_pet.json"
    write_json(sidecar, {**SIDECAR, "TracerName": "other"})
    study.slurm.answer(sbatch="301", squeue="")
    study.submit()
    assert len(study.slurm.asked("sbatch")) == 4
    (study.out_dir / "sub-01_ses-pre.html").unlink()
    study.finish("sub-02_ses-pre")
    study.submit()
    assert "sub-01_ses-pre\t" in next(study.submit_dir.glob("003/*.tasks")).read_text()


def test_a_task_that_fails_leaves_no_word_of_being_done(study):
    study.submit()
    (study.root / "fail").touch()
    script = next(path for path in study.scripts() if path.stem == "sessions-1")
    assert study.run_task(script, 1)[0] == 1
    assert list((study.submit_dir / "done").iterdir()) == []


def test_a_refusal_is_told_and_what_was_taken_is_kept(study, capsys):
    study.slurm.answer(sbatch=["101", INVALID_PARTITION], squeue="")
    assert study.submit() == 2
    assert "invalid partition specified" in capsys.readouterr().err
    assert set(json.loads((study.submit_dir / "jobs.json").read_text())["jobs"]) == set(ANATOMIES)


def test_jobs_that_slurm_took_unheard_are_cancelled_before_others_take_their_place(study):
    study.slurm.answer(
        sbatch=["101", "102", "103"], squeue="77_1|PENDING|Priority|x\n78|TIMEOUT|x|"
    )
    study.submit()
    assert study.slurm.asked("scancel") == [["--quiet", "77_1"]]


def test_docker_and_apptainer_get_the_folders_and_no_network(study, tmp_path, monkeypatch):
    engines = Double(tmp_path / "engines", monkeypatch)
    for name in ("docker", "apptainer"):
        shutil.copy2(engines.folder / "sbatch", engines.folder / name)
    for image, engine, flag in (
        ("petbind:0.1", "docker", "readonly"),
        ("x y.sif", "apptainer", "ro"),
    ):
        shutil.rmtree(study.submit_dir, ignore_errors=True)
        study.slurm.answer(sbatch="101", squeue="")
        study.submit("--container", image, "--bind", "/data,with:odd")
        script = next(path for path in study.scripts() if path.stem == "anatomy-1")
        environment = {"PATH": f"{engines.folder}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2"}
        done = subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        words = engines.asked(engine)[-1]
        mounts = [words[at + 1] for at, word in enumerate(words) if word == "--mount"]
        quoted = [f"type=bind,source={p},destination={p}" for p in (study.bids_dir, study.out_dir)]
        # fields of a line of CSV: this name has quotes in it
        quoted = [
            ",".join('"' + f.replace('"', '""') + '"' if '"' in f else f for f in q.split(","))
            for q in quoted
        ]
        assert mounts[0] == f"{quoted[0]},{flag}"
        assert f'type=bind,"source=/data,with:odd","destination=/data,with:odd",{flag}' in mounts
        assert quoted[1] in mounts
        assert words[words.index("--network") + 1] == "none"
        assert words[words.index(image) + 1 :][:3] == [
            "run",
            str(study.bids_dir),
            str(study.out_dir),
        ]
        assert words[-1] == "sub-02_ses-pre_T1w"
    assert not list(study.submit_dir.glob("tmp.*"))


def cohort(subjects, sessions):
    anatomies = [Part(f"T1w-{n}", f"{n}", "") for n in range(subjects)]
    scans = [
        Part(f"{n}-{s}", f"{n}", "", f"T1w-{n}") for n in range(subjects) for s in range(sessions)
    ]
    return [*anatomies, *scans], {p.name: Need(1, 1.0) for p in (*anatomies, *scans)}


def test_of_a_thousand_subjects_every_session_waits_for_its_own_anatomy():
    parts, needs = cohort(1003, 2)
    batches = {batch.name: batch for batch in plan_batches(parts, {}, needs)}
    assert [batch.array for batch in batches.values()] == [
        *("1-1000", "1-3"), *("1-1000", "1-1000", "1-3", "1-3"),
    ]  # fmt: skip
    seen = []
    for batch in batches.values():
        lines = batch.tasks.splitlines()
        for number, part in batch.parts.items():
            if part.anatomy:
                kind, first = batch.after.split(":")
                assert kind == "aftercorr"
                assert batches[first].parts[number].name == part.anatomy
                seen.append(part.name)
            assert lines[number - 1].split("\t")[1] == part.name
    assert sorted(seen) == sorted(part.name for part in parts if part.anatomy)


def test_a_session_waits_for_an_anatomy_that_is_on_its_way_and_for_none_that_is_done():
    parts, needs = cohort(3, 1)
    sessions = [part for part in parts if part.anatomy]
    batches = plan_batches(sessions, {"T1w-1": "55_2"}, needs)
    after = {part.name: batch.after for batch in batches for part in batch.parts.values()}
    assert after == {"0-0": "", "1-0": "afterok:55_2", "2-0": ""}


def test_memory_and_cores_are_those_of_the_largest_part():
    parts, needs = cohort(2, 1)
    needs |= {"1-0": Need(4, 3.0), "T1w-0": Need(1, 5.0)}
    anatomy, sessions = plan_batches(parts, {}, needs)
    assert anatomy.need == Need(1, 5.0)
    assert sessions.need == Need(4, 5.0)


def test_outside_of_a_container_nothing_changes():
    command = Command(("petbind",), Path("/b"), Path("/o"))
    assert command.line("group") == "petbind run /b /o group"
    assert (
        in_container(command, "image", [], Path("/w"))
        .line("group")
        .endswith(" image run /b /o group")
    )


def test_rows_of_a_part_replace_those_of_earlier_runs(tmp_path):
    path = tmp_path / "sessions.tsv"
    first = [{"session": "sub-02", "state": "done"}, {"session": "sub-01", "state": "failed"}]
    write_table(path, pd.DataFrame(with_rows(path, first)))
    again = with_rows(path, [{"session": "sub-01", "state": "done"}])
    assert again == [{"session": f"sub-{n}", "state": "done"} for n in ("01", "02")]
