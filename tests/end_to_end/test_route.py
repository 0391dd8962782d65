"""The whole route on a small cohort with damaged neighbours, through the command itself."""

from __future__ import annotations

import getpass
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from killed_runs import Copy, computed, computed_nodes, digest
from pipeline.bids.preflight import survey
from pipeline.bids.simulated import simulate_dataset
from pipeline.cli.demo import compare
from pipeline.config.load import load_settings
from pipeline.io.tables import read_table
from pipeline.simulation.options import (
    CohortOptions,
    ScannerOptions,
    SimulationOptions,
    short_timing,
)

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
EXPECTED = Path(__file__).with_name("expected_outputs.txt")
SOUND = ("sub-01_ses-post", "sub-01_ses-pre", "sub-02_ses-post", "sub-02_ses-pre")
NOT_RUN = ("sub-01_ses-garbage", "sub-01_ses-nostart", "sub-01_ses-short", "sub-03_ses-pre")
TRUNCATED = "sub-01_ses-cut"


@dataclass(frozen=True)
class Outcome:
    """What a command returned and said."""

    code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Study:
    """A data set, its results and where they were made."""

    root: Path

    @property
    def bids_dir(self) -> Path:
        return self.root / "bids"

    @property
    def out_dir(self) -> Path:
        return self.root / "out"

    @property
    def work_dir(self) -> Path:
        return self.root / "work"

    def run(self, level: str, n_procs: int) -> Outcome:
        words = [str(self.bids_dir), str(self.out_dir), level, "--n-procs", str(n_procs)]
        words += ["--unblind"] if level == "group" else []
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words, "--work-dir", str(self.work_dir)],
            cwd=REPOSITORY,
            env=os.environ | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def outputs(self) -> list[str]:
        """Every file of the results, relative and sorted."""
        files = (path for path in self.out_dir.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.out_dir).as_posix() for path in files)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every output but the logs."""
        return {
            name: hashlib.sha256((self.out_dir / name).read_bytes()).hexdigest()
            for name in self.outputs()
            if not name.startswith("logs/")
        }

    def node_times(self) -> dict[str, int]:
        """When each node finished; those that copy to the output folder always run."""
        return {
            str(path.relative_to(self.work_dir)): path.stat().st_mtime_ns
            for path in self.work_dir.rglob("result_*.pklz")
            if not path.name.startswith("result_ds_") and f"{TRUNCATED}_wf" not in path.parts
        }

    def states(self) -> pd.DataFrame:
        return read_table(self.out_dir / "logs" / "sessions.tsv").set_index("session")


@dataclass(frozen=True)
class Route:
    """One cohort taken to its end, again, and afresh under other conditions."""

    first: Study
    afresh: Study
    participant: Outcome
    group: Outcome
    again: Outcome
    group_again: Outcome
    validation_of_inputs: str | None
    digests: dict[str, str]
    digests_again: dict[str, str]
    participant_digests: dict[str, str]
    participant_digests_afresh: dict[str, str]
    node_times: dict[str, int]
    node_times_again: dict[str, int]


@pytest.fixture(scope="module")
def route(tmp_path_factory: pytest.TempPathFactory) -> Route:
    """Sound and damaged sessions: run, run again, and run afresh with the groups swapped."""
    root = tmp_path_factory.mktemp("route")
    first, afresh = Study(root / "first"), Study(root / "afresh")
    options = SimulationOptions(
        # 60 %: well above what two scans at this size differ by without any effect
        cohort=CohortOptions(
            group_sizes={"ketamine": 1, "placebo": 1}, effects={"hippocampus": 0.6}
        ),
        scanner=ScannerOptions(timing=short_timing(), pet_voxel_mm=5.0, t1w_voxel_mm=2.0),
        seed=1,
    )
    simulate_dataset(first.bids_dir, options)
    validation = validate(first.bids_dir)
    damage(first.bids_dir)

    participant = first.run("participant", 2)
    participant_digests = first.digests()
    group = first.run("group", 2)
    node_times, digests = first.node_times(), first.digests()
    again, group_again = first.run("participant", 2), first.run("group", 2)
    digests_again = first.digests()

    # the folder names stay: the output says where its data lie, relative to itself
    shutil.copytree(first.bids_dir, afresh.bids_dir)
    table = afresh.bids_dir / "participants.tsv"
    right = table.read_text(encoding="utf-8")
    swapped = right.replace("ketamine", "?").replace("placebo", "ketamine").replace("?", "placebo")
    assert swapped != right
    table.write_text(swapped, encoding="utf-8")
    afresh.run("participant", 1)
    participant_digests_afresh = afresh.digests()
    table.write_text(right, encoding="utf-8")
    afresh.run("group", 1)
    return Route(
        first,
        afresh,
        participant,
        group,
        again,
        group_again,
        validation,
        digests,
        digests_again,
        participant_digests,
        participant_digests_afresh,
        node_times,
        first.node_times(),
    )


def damage(bids_dir: Path) -> None:
    """Add sessions to the first subject, and a subject, each with one thing wrong."""
    frames = add_session(bids_dir, "sub-01", "ses-short")
    edit(frames, drop_last_frame)
    edit(add_session(bids_dir, "sub-01", "ses-nostart"), lambda c: c.pop("FrameTimesStart"))
    image = image_of(add_session(bids_dir, "sub-01", "ses-cut"))
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    image = image_of(add_session(bids_dir, "sub-01", "ses-garbage"))
    image.write_bytes(b"this is no gzip file " * 1000)
    add_session(bids_dir, "sub-03", "ses-pre")


def add_session(bids_dir: Path, subject: str, session: str) -> Path:
    """Copy the PET of the first scan; returns its sidecar."""
    folder = bids_dir / subject / session / "pet"
    folder.mkdir(parents=True)
    for ending in ("pet.nii.gz", "pet.json"):
        source = bids_dir / "sub-01" / "ses-pre" / "pet" / f"sub-01_ses-pre_{ending}"
        shutil.copyfile(source, folder / f"{subject}_{session}_{ending}")
    return folder / f"{subject}_{session}_pet.json"


def image_of(sidecar: Path) -> Path:
    return sidecar.with_suffix(".nii.gz")


def edit(sidecar: Path, change: Callable[[dict[str, list[float]]], object]) -> None:
    content = json.loads(sidecar.read_text(encoding="utf-8"))
    change(content)
    sidecar.write_text(json.dumps(content), encoding="utf-8")


def drop_last_frame(content: dict[str, list[float]]) -> None:
    for key in ("FrameTimesStart", "FrameDuration", "ScatterFraction"):
        content[key] = content[key][:-1]


def validate(dataset: Path) -> str | None:
    """Report of the official validator as JSON, or None where it is not installed."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = str(beside) if beside.is_file() else shutil.which("bids-validator-deno")
    if program is None:
        return None
    return subprocess.run(
        [program, str(dataset), "--format", "json"], capture_output=True, text=True, check=False
    ).stdout


def validator_errors(report: str | None) -> list[tuple[str, str, str]]:
    """Code, sub-code and file of every error of a validator's report."""
    if report is None:
        pytest.skip("bids-validator-deno is not installed")
    return sorted(
        (issue["code"], issue.get("subCode", ""), issue.get("location", ""))
        for issue in json.loads(report)["issues"]["issues"]
        if issue["severity"] == "error"
    )


def test_sessions_that_share_a_t1w_compute_its_anatomy_once(route: Route):
    nodes = [Path(name) for name in route.node_times]
    anatomy = [path for path in nodes if "anatomy_wf" in path.parts]
    by_t1w = {
        subject: sorted(path.name for path in anatomy if f"{subject}_ses-pre_T1w_wf" in path.parts)
        for subject in ("sub-01", "sub-02")
    }

    assert sum(map(len, by_t1w.values())) == len(anatomy)
    assert by_t1w["sub-01"].count("result_find_brain.pklz") == 1
    for names in by_t1w.values():
        assert len(names) == len(set(names)) > 1
    for session in SOUND:
        assert route.participant.stderr.count(f" {session.split('_')[0]}_ses-pre_T1w ") > 1
        assert f"{session}.html" in route.digests
        folder = "/".join(session.split("_"))
        assert f"{folder}/pet/{session}_model-SRTM_kinpar.tsv" in route.digests
    # run log: brains are found twice, for two T1w and five sessions
    assert route.participant.stderr.count("done anatomy_wf.find_brain") == 2


def test_sound_sessions_finish_beside_damaged_ones(route: Route):
    states = route.first.states()

    assert route.participant.code == 1
    assert set(states.index) == {*SOUND, *NOT_RUN, TRUNCATED}
    assert (states.loc[list(SOUND), "state"] == "done").all()
    assert (states.loc[list(NOT_RUN), "state"] == "not run").all()
    assert states.loc[TRUNCATED, "state"] == "failed"
    assert states.loc[list(SOUND), "reason"].isna().all()


@pytest.mark.parametrize(
    ("session", "words"),
    [
        ("sub-01_ses-garbage", ("pet.nii.gz",)),
        ("sub-01_ses-nostart", ("pet.json", "[FrameTimesStart]")),
        ("sub-01_ses-short", ("pet.json", "[FrameDuration]", "13 values", "14 frames")),
        ("sub-03_ses-pre", ("pet.nii.gz", "no T1w")),
    ],
)
def test_what_cannot_run_is_said_before_anything_starts(
    route: Route, session: str, words: tuple[str, ...]
):
    lines = route.participant.stderr.splitlines()
    started = next(i for i, line in enumerate(lines) if re.match(r"\d\d:\d\d:\d\d ", line))
    said = [line for line in lines[:started] if line.startswith(f"petbind: {session} will not")]
    reason = route.first.states().loc[session, "reason"]

    assert said
    for word in (session, *words):
        assert any(word in line for line in said)
        assert word in reason


def test_a_scan_that_breaks_off_fails_at_the_node_that_reads_it(route: Route):
    row = route.first.states().loc[TRUNCATED]

    assert row["node"] == "motion_wf.correct_motion"
    assert f"{TRUNCATED}_pet.nii.gz" in row["reason"]
    assert "internal error" not in row["reason"]
    # a name that helps to find it and tells nobody who ran it
    assert list(route.first.work_dir.rglob(row["crash_file"]))
    assert getpass.getuser() not in row["crash_file"].split("-")


def test_nobody_is_shown_a_traceback(route: Route):
    for outcome in (route.participant, route.group, route.again, route.group_again):
        assert "Traceback" not in outcome.said
        assert "internal error" not in outcome.said
        # a word to a person, not a dump: no line of Python's own
        assert not re.search(r"^\s*File \".*\", line \d+", outcome.said, re.MULTILINE)


def test_group_level_runs_on_what_is_there(route: Route):
    assert route.group.code == 0, route.group.said
    assert "group/group_desc-runs_table.tsv" in route.digests


def test_rerun_computes_nothing_and_changes_nothing(route: Route):
    assert route.again.code == 1
    assert route.group_again.code == 0
    assert route.node_times_again == route.node_times
    assert route.digests_again == route.digests


def test_processes_working_folder_and_time_of_day_leave_no_trace(route: Route):
    afresh = route.afresh.digests()

    assert sorted(afresh) == sorted(route.digests)
    assert [name for name in afresh if afresh[name] != route.digests[name]] == []


def test_participant_level_never_sees_the_group(route: Route):
    blind, seeing = route.participant_digests_afresh, route.participant_digests

    assert sorted(blind) == sorted(seeing)
    assert len(seeing) > 100
    assert [name for name in blind if blind[name] != seeing[name]] == []


def test_outputs_are_the_list(route: Route):
    assert route.first.outputs() == EXPECTED.read_text(encoding="utf-8").split()


def test_estimates_are_near_what_the_truth_gives(route: Route):
    study = route.first
    scans = tuple(scan for scan in survey(study.bids_dir).scans if scan.label in SOUND)
    table = compare(scans, study.bids_dir, study.out_dir, load_settings())
    off_percent = table["difference_percent"].abs().groupby(table["region"]).mean()

    # At 3 mm and 1 mm the aim is 6 %. Voxels here are 5 and 2 mm: a border of regions off by
    # a tenth of a voxel is half a millimetre. The putamen binds four times what its neighbours
    # do and is large; the thalamus borders on the ventricle.
    assert off_percent["PUT"] < 4
    assert off_percent["THA"] < 8
    # a third of a voxel of 5 mm
    assert table["coregistration_error_mm"].max() < 1.7
    assert table["motion_error_mm"].max() < 0.5


def test_planted_rise_is_found_where_it_was_planted(route: Route):
    table = read_table(route.first.out_dir / "group" / "group_desc-binding_table.tsv")
    rows = table[(table["region"] == "HIP") & (table["session_id"] == "post")]
    change = rows.set_index("group")["percent_change_of_mean"]

    # 60 % planted, less what blur, the tissue beside and a session SD of 5 % take from it
    assert 30 < change["ketamine"] < 80
    assert abs(change["placebo"]) < 20


MACHINE_PATH = re.compile(
    r"(?<![\w.:/<~-])/(?:home|root|tmp|work|usr|Users|var|opt|mnt|data|srv|private)/[\w.+-]"
)
EMBEDDED_IMAGE = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")


def test_no_output_tells_where_or_by_whom_it_was_made(route: Route):
    study, problems = route.first, []
    secrets = [str(study.root), str(REPOSITORY), str(Path.home()) + "/", sys.prefix + "/"]
    # short or common names are words of their own
    names = [n for n in (socket.gethostname(), getpass.getuser()) if len(n) > 4]
    named = [re.compile(rf"\b{re.escape(name)}\b") for name in names]
    for name in study.outputs():
        if not name.endswith((".html", ".json", ".tsv", ".svg", ".txt")):
            continue
        text = (study.out_dir / name).read_text(encoding="utf-8")
        text = EMBEDDED_IMAGE.sub("", text)
        found = [word for word in secrets if word in text]
        found += [m[0] for pattern in (MACHINE_PATH, *named) if (m := pattern.search(text))]
        problems += [(name, word) for word in found]
    assert problems == []


def test_no_image_header_tells_when_or_where_it_was_made(route: Route):
    for name in route.first.outputs():
        if name.endswith(".nii.gz"):
            with (route.first.out_dir / name).open("rb") as file:
                head = file.read(10)
            # flags, then the time of gzip's header: no file name in it, and no time
            assert head[3] == 0, name
            assert head[4:8] == bytes(4), name
            with gzip.open(route.first.out_dir / name) as image:
                header = image.read(348)
            assert b"/" not in header[148:252], name


def test_official_validator_accepts_the_simulated_inputs(route: Route):
    assert validator_errors(route.validation_of_inputs) == []


def test_official_validator_accepts_the_outputs(route: Route):
    assert validator_errors(validate(route.first.out_dir)) == []


PART, ANATOMY = "sub-01_ses-pre", "sub-01_ses-pre_T1w"
ONE = ("--participant-label", "01", "--session-label", "pre")


@pytest.fixture(scope="module")
def copy(route: Route, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The finished study, copied."""
    return Copy.of(route.first.root, tmp_path_factory.mktemp("copy") / "study")


def test_copies_and_times_cause_no_work(copy: Copy):
    for path in copy.root.rglob("*.nii.gz"):
        path.touch()
    code, said = copy.run()
    assert code == 1
    # lists of files by name, one each session: made anew where the files went, at no cost
    assert re.findall(r"done (\S+)$", said, re.MULTILINE) == ["kinetics_wf.gather_kinpar"] * 4
    assert copy.run()[1].count("0 nodes computed") == 1


def test_status_is_done_only_when_all_is(copy: Copy):
    code, said = copy.recorded("status", *ONE)
    assert code == 0, said
    code, said = copy.recorded("status", "--json")
    states = {session["session"]: session for session in json.loads(said)}
    assert code == 1
    assert {label: s["state"] for label, s in states.items()} == {
        **dict.fromkeys(SOUND, "done"),
        **dict.fromkeys(NOT_RUN, "not run"),
        TRUNCATED: "failed",
    }
    (failed,) = [node for node in states[TRUNCATED]["nodes"] if node["state"] == "failed"]
    assert failed["node"] == "motion_wf.correct_motion"
    assert f"{TRUNCATED}_pet.nii.gz" in failed["reason"]
    assert Path(failed["crash_file"]).is_file()
    for node in states[PART]["nodes"]:
        assert node["seconds"] >= 0
        assert 0.05 < node["peak_gb"] < 4


# the nodes of a session, as README draws the route; what follows what is written down by hand
AFTER_FITS = ["kinetics_wf.gather_kinpar", "page", "ds_session"]
FITS = ["kinetics_wf.fit_regions", "kinetics_wf.fit_voxels", "kinetics_wf.maps_to_mni"]
REGIONS = ["regions_wf.carry_regions", "regions_wf.extract_tacs"]
RERUNS = [
    # the same result as before changes nothing
    ("page", None, ["page"]),
    ("coregistration", None, ["coregistration_wf.coregister"]),
    ("label", None, ["parcellation_wf.label"]),
    # a changed setting changes the result, and that of all that follows
    ("kinetics.fit_*", "kinetics.weights=uniform", [*FITS, *AFTER_FITS]),
    ("carry_regions", "regions.reference.erosion_mm=1", [*REGIONS, *FITS, *AFTER_FITS]),
]


@pytest.mark.parametrize(("name", "setting", "expected"), RERUNS, ids=[r[0] for r in RERUNS])
def test_rerun_runs_a_node_and_what_it_changes(
    copy: Copy, name: str, setting: str | None, expected: list[str]
):
    words = (name, *ONE, *(("--set", setting) if setting else ()))
    code, planned = copy.recorded("rerun", *words, "--dry-run")
    assert code == 0, planned
    code, said = copy.recorded("rerun", *words)
    assert code == 0, said
    assert computed_nodes(said) == sorted(expected)
    sure = re.findall(r"^runs  \S+  (\S+)$", planned, re.MULTILINE)
    may = re.findall(r"^may run  \S+  (\S+)$", planned, re.MULTILINE)
    assert set(sure) <= set(expected) <= {*sure, *may}
    code, said = copy.recorded("status", *ONE)
    assert code == 0, said
    if setting:
        assert f"{PART}: rerun with" in said
        path = copy.root / "out" / "logs" / f"{PART}_provenance.json"
        provenance = json.loads(path.read_text(encoding="utf-8"))
        assert setting in provenance["SettingsChangedByRerun"]
        states = {node["Name"]: node["State"] for node in provenance["Nodes"]}
        assert sorted(n for n, state in states.items() if state == "run") == sorted(expected)


def test_only_leaves_what_follows_to_the_next_run(copy: Copy):
    words = ("fit_regions", *ONE, "--set", "kinetics.weights=duration", "--only")
    code, said = copy.recorded("rerun", *words)
    assert code == 0, said
    assert computed_nodes(said) == ["kinetics_wf.fit_regions"]
    # the voxels are fitted with the same weights; see the route
    assert f"{PART}: {len(FITS) - 1 + len(AFTER_FITS)} nodes are not done" in said
    assert copy.recorded("status", *ONE)[0] == 1
    code, said = copy.recorded("rerun", "kinetics", *ONE, "--set", "kinetics.weights=uniform")
    assert code == 0, said


def test_rerun_suggests_what_was_meant(copy: Copy):
    code, said = copy.recorded("rerun", "corregistration")
    assert code == 2
    assert "no node is called corregistration; did you mean coregistration?" in said


def test_what_was_altered_by_hand_is_told_and_put_back(copy: Copy):
    assert copy.run(*ONE)[0] == 0
    out = copy.root / "out"
    table = next((out / "sub-01" / "ses-pre" / "pet").glob("*SRTM_kinpar.tsv"))
    before, times = table.read_bytes(), table.stat()
    table.write_bytes(before.replace(b"1", b"2", 1))
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    (out / f"{PART}.html").unlink()
    name = table.relative_to(out).as_posix()

    code, said = copy.recorded("status", *ONE, "--verify")
    assert code == 1
    assert f"{PART}: {name}: altered" in said
    assert f"{PART}: {PART}.html: missing" in said
    code, said = copy.run(*ONE)
    assert code == 0
    assert computed(said) == 1
    assert table.read_bytes() == before
    code, said = copy.recorded("status", *ONE, "--verify")
    assert code == 0, said


def test_provenance_tells_of_every_output(copy: Copy):
    out = copy.root / "out"
    content = json.loads((out / "logs" / f"{PART}_provenance.json").read_text(encoding="utf-8"))
    written = {
        path.relative_to(out).as_posix(): digest(path)
        for path in [*(out / "sub-01" / "ses-pre").rglob("*"), out / f"{PART}.html"]
        if path.is_file()
    }
    assert {name: made["SHA256"] for name, made in content["Outputs"].items()} == written
    nodes = {f"{node['Part']} {node['Name']}" for node in content["Nodes"]}
    for name, made in content["Outputs"].items():
        assert made["GeneratedBy"].rsplit(".", 1)[0] in nodes, name
        if not name.endswith(".html"):
            assert made["Sources"]
    raw = copy.root / "bids"
    inputs = {uri.removeprefix("bids:raw:"): sha for uri, sha in content["Inputs"].items()}
    assert set(inputs) == {
        f"sub-01/ses-pre/pet/{PART}_pet.nii.gz",
        f"sub-01/ses-pre/pet/{PART}_pet.json",
        f"sub-01/ses-pre/anat/{ANATOMY}.nii.gz",
        *(name for name in [f"sub-01/ses-pre/anat/{ANATOMY}.json"] if (raw / name).is_file()),
    }
    assert inputs == {name: digest(raw / name) for name in inputs}


def test_an_unchanged_rerun_costs_next_to_nothing(route: Route):
    # the first time pays for what every start costs: imports, and digests of the code
    code = (
        "import sys, time; from pipeline.cli.main import main; main(sys.argv[1:]); "
        "start_s = time.process_time(); main(sys.argv[1:]); "
        "print('took', time.process_time() - start_s)"
    )
    study, labels = (
        route.first,
        ("--participant-label", "01", "02", "--session-label", "pre", "post"),
    )
    words = [study.bids_dir, study.out_dir, "participant", *labels, "--work-dir", study.work_dir]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.count("\n0 nodes computed") == 2, done.stdout + done.stderr
    assert float(done.stdout.split()[-1]) / len(SOUND) < 0.2


@pytest.mark.long
@pytest.mark.parametrize("wanted", [4, 20], ids=["4 kills", "20 kills"])
def test_killed_runs_go_on_to_the_same_results(route: Route, tmp_path: Path, wanted: int):
    study = Copy.of(route.first.root, tmp_path / "study", outputs=False)
    expected = Copy(route.first.root).digests(PART)
    words = (*ONE, "--n-procs", "2")
    whole_s, kills, rng = 60.0, 0, random.Random(20)
    for _ in range(2 * wanted):
        study.forget(PART, "motion_wf", "coregistration_wf")
        study.forget(ANATOMY, "anatomy_wf")
        study.forget_outputs()
        for _ in range(3):
            killed, seconds = study.killed_after(rng.uniform(0.2, 1) * whole_s, *words)
            if not killed:
                # faster than thought: later moments would come too late as well
                whole_s = min(whole_s, seconds)
                break
            kills += 1
        code, said = study.run(*words)
        assert code == 0, said
        assert study.digests(PART) == expected
        assert [path for path in (study.root / "out").rglob("*") if ".partial" in path.name] == []
        if kills >= wanted:
            return
    pytest.fail(f"only {kills} of {wanted} runs could be killed")


@pytest.mark.long
def test_a_full_disk_is_told_and_survived(route: Route, tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own can be mounted by root only")
    try:
        study = Copy(disk)
        (disk / "bids").mkdir()
        for name in ("dataset_description.json", "participants.tsv", "sub-01"):
            subprocess.run(["cp", "-a", route.first.bids_dir / name, disk / "bids"], check=True)
        root = next(route.first.work_dir.glob("petbind*"))
        to = disk / "work" / root.name / "petbind_wf"
        to.mkdir(parents=True)
        for path in (root / "align_atlas", root / "petbind_wf" / f"{ANATOMY}_wf"):
            subprocess.run(
                ["cp", "-a", path, disk / "work" / path.relative_to(root.parent)], check=True
            )
        filler, free = disk / "filler", shutil.disk_usage(disk).free
        # some of the session fits in
        with filler.open("wb") as file:
            file.write(bytes(max(free - 6 * 1024**2, 0)))
        words = (*ONE, "--set", "motion.backend=none", "--set", "coregistration.backend=none")
        code, said = study.run(*words)
        assert code == 1, said
        assert "the disk is full" in said
        assert "Traceback" not in said
        subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
        code, said = study.run(*words)
        assert code == 0, said

        plain = Copy.of(route.first.root, tmp_path / "plain", outputs=False)
        assert plain.run(*words)[0] == 0
        assert study.digests(PART) == plain.digests(PART)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
