"""The group level as it runs: what it writes, what it reads again, what it leaves alone."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from graph import dangling_ports
from pipeline.bids.group_table import find_group_sources
from pipeline.cli.freezing import sha256
from pipeline.cli.main import main
from pipeline.config.schema import Settings
from pipeline.execution.graph import executable_graph
from pipeline.execution.locks import Locks
from pipeline.execution.states import examine
from pipeline.io.tables import read_json, read_table, write_json, write_table
from pipeline.statistics.design import GroupDesign
from workflows.group import group_design, init_group_wf

STEPS = ("gather", "test", "tabulate", "draw", "page", "files", "ds_group")
REGIONS = ("ACC", "HIP")
SUBJECTS = ("01", "02", "03", "04", "05", "06")
PLAN = """
[group.plan]
outcome = "BPND"
regions = ["ACC", "HIP"]
sessions = ["pre", "post"]
groups = ["active", "placebo"]
session_columns = ["MADRS"]
subject_columns = ["age"]

[[group.plan.derived]]
name = "relief"
kind = "reduction"
of = "MADRS"
sessions = ["pre", "post"]

[[group.plan.derived]]
name = "better"
kind = "responder"
of = "relief"
at_least = 5

[[group.plan.tests]]
title = "Change between groups"
kind = "interaction"
confirmatory = true

[[group.plan.tests]]
title = "Change within groups"
kind = "paired_t"
confirmatory = false
by_group = true

[[group.plan.tests]]
title = "Binding and relief"
kind = "correlation"
confirmatory = false
x = "BPND"
y = "relief"
session = "pre"

[[group.plan.tests]]
title = "Who got better"
kind = "fisher"
confirmatory = false
of = "better"

[[group.plan.tests]]
title = "Age"
kind = "two_sample_t"
confirmatory = false
of = "age"
"""


def write_session(out, subject, session, bpnd, pvc=""):
    folder = out / f"sub-{subject}" / f"ses-{session}" / "pet"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(
        {"index": [1, 2], "name": REGIONS, "R1": 0.9, "BPND": bpnd, "flag": "n/a"}
    )
    write_table(folder / f"sub-{subject}_ses-{session}{pvc}_model-SRTM_kinpar.tsv", table)


def write_scan(out, subject, session, suv):
    """Uptake of the reference region, of a subject whose dose is known and weight is too."""
    rows = {"name": "CBL", "window": ["scan", "late"], "suv": [suv, suv / 2]}
    folder = out / f"sub-{subject}" / f"ses-{session}" / "pet"
    stem = f"sub-{subject}_ses-{session}"
    table = pd.DataFrame(rows).assign(**{"percent-per-litre": "n/a"})
    path = write_table(folder / f"{stem}_desc-uptake_stats.tsv", table)
    write_json(path.with_suffix(".json"), {"InjectedRadioactivity": 390.0 + int(subject)})


class Study:
    """Three subjects a group; changes -.02, 0, .02, and .2 more in the active hippocampus."""

    def __init__(self, root):
        self.root, self.raw, self.out = root, root / "raw", root / "out"
        (self.raw / "phenotype").mkdir(parents=True)
        self.people(["active"] * 3 + ["placebo"] * 3)
        scores = [(f"sub-{s}", f"ses-{t}", 30 - (t == "post") * 2 * int(s))
                  for s in SUBJECTS for t in ("pre", "post")]  # fmt: skip
        madrs = pd.DataFrame(scores, columns=["participant_id", "session_id", "MADRS"])
        write_table(self.raw / "phenotype" / "madrs.tsv", madrs)
        for i, subject in enumerate(SUBJECTS):
            before = np.array([1.2, 0.5]) + 0.1 * i
            change = 0.02 * (i % 3 - 1) + np.array([0.0, 0.2 if i < 3 else 0.0])
            write_session(self.out, subject, "pre", before)
            write_session(self.out, subject, "post", before + change)
        self.config = root / "study.toml"
        self.config.write_text(PLAN)

    def people(self, groups):
        table = pd.DataFrame({"participant_id": [f"sub-{s}" for s in SUBJECTS], "group": groups})
        write_table(self.raw / "participants.tsv", table.assign(age=[30, 35, 40, 45, 50, 56]))

    def run(self, *options, unblind=True, plan=False):
        words = [str(self.raw), str(self.out), "group", "--work-dir", str(self.root / "work")]
        words += ["--unblind"] if unblind else []
        words += ["--config", str(self.config)] if plan else []
        return main([*words, *options])

    def table(self, name, place="group"):
        return read_table(self.out / place / f"group_desc-{name}.tsv")

    def written(self):
        files = [p for p in self.out.rglob("*") if p.is_file() and "sub-" not in p.as_posix()]
        return {p.relative_to(self.out).as_posix(): p.read_bytes() for p in files}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_nothing_dangles(study):
    design = GroupDesign()
    sources = find_group_sources(study.out, study.raw, design)
    assert dangling_ports(init_group_wf(study.out, sources, design, Settings())) == []


def test_a_run_that_is_over_leaves_nothing_to_do(study):
    """Every node can be keyed, and knows by its record that it is done."""
    study.run("--set", "group.group_column=", unblind=False)
    # as the group level builds it
    settings = Settings.model_validate({"group": {"group_column": ""}})
    plan = sha256((study.out / "group" / "plan.json").read_bytes())
    design = replace(group_design(settings.group, unblind=False), plan_sha256=plan)
    sources = find_group_sources(study.out, study.raw, design)
    workflow = init_group_wf(study.out, sources, design, settings)
    workflow.base_dir = str(study.root / "work" / "petbind")
    looks = examine(executable_graph(workflow)).values()
    assert {look.step: look.state for look in looks} == dict.fromkeys(STEPS, "done")


def test_a_declared_plan_becomes_tables_figures_and_a_page(study):
    assert study.run(plan=True) == 0
    written = study.written()
    for name in ("runs_table", "wide_table", "study_table", "exclusions_table", "tests_stats",
                 "descriptives_stats", "demography_table", "binding_table", "correlations_table",
                 "responders_table"):  # fmt: skip
        assert f"group/group_desc-{name}.tsv" in written
        explained = read_json(study.out / f"group/group_desc-{name}.json")
        assert set(study.table(name).columns) <= set(explained), name
    for name in ("BPND", "MADRS", "correlation3", "effects"):
        assert f"group/group_desc-{name}_figure.svg" in written
        assert f"group/group_desc-{name}_figure.png" in written
    sidecar = read_json(study.out / "group/group_desc-study_table.json")
    assert "bids:raw:phenotype/madrs.tsv" in sidecar["Sources"]
    assert "bids::sub-01/ses-post/pet/sub-01_ses-post_model-SRTM_kinpar.tsv" in sidecar["Sources"]
    for name, content in written.items():
        assert str(study.root).encode() not in content, name
    page = written["group.html"].decode()
    assert "<script" not in page
    assert page.count('src="data:image/svg+xml;base64,') >= 4


def test_the_planted_rise_is_found(study):
    """By hand: pooled SD .02, so F = (.2 / (.02 sqrt(2/3)))^2 = 150 with 1 and 4 df."""
    study.run(plan=True)
    tests = study.table("tests_stats")
    rows = tests[(tests["kind"] == "interaction") & (tests["family"] == "confirmatory")]
    rows = rows.set_index("region")
    assert rows.loc["HIP", "estimate"] == pytest.approx(0.2)
    assert rows.loc["HIP", "statistic"] == pytest.approx(150.0)
    assert rows.loc["HIP", ["df1", "df2"]].tolist() == [1, 4]
    assert rows.loc["ACC", "p"] == pytest.approx(1.0)
    # reduction 2 i: 2, 4, 6 and 8, 10, 12, so one of three and three of three reach 5
    responders = study.table("responders_table").set_index("group")
    assert responders.loc[["active", "placebo"], "responders"].tolist() == [1, 3]


def test_without_unblind_nobody_s_group_is_read(study, capsys):
    assert study.run(unblind=False, plan=True) == 0
    assert "nobody's group was read" in capsys.readouterr().err
    written = study.written()
    assert "group/group_desc-tests_stats.tsv" not in written
    assert "logs/group_unblinding.log" not in written
    # the plan names its groups; who is in which is nowhere to be seen
    for name in set(written) - {"group/plan.json"}:
        assert not re.search(rb"placebo|\bactive\b", written[name]), name
    assert "blinded" in written["group.html"].decode()
    assert set(study.table("descriptives_stats")["group"]) == {"all"}
    swapped = ["placebo"] * 3 + ["active"] * 3
    study.people(swapped)
    study.run(unblind=False, plan=True)
    after = study.written()
    # hashes of what went in, and nothing else, tell that a file is another
    assert [n for n in written if after[n] != written[n]] == ["group/sha256sums.txt"]


def test_without_a_plan_the_study_is_blinded_too(study):
    study.run(unblind=False)
    assert "group/group_desc-tests_stats.tsv" not in study.written()
    study.run("--set", "group.group_column=", unblind=False)
    tests = study.table("tests_stats")
    assert set(tests["kind"]) == {"paired_t"}
    assert set(tests["n"]) == {6}


def test_unblinding_is_logged_with_hashes_of_plan_and_tables(study):
    study.run(plan=True)
    read, *tables, written = log_of(study)
    hashes = dict(
        reversed(row.split("  ", 1))
        for row in (study.out / "group" / "sha256sums.txt").read_text().splitlines()
    )
    plan = hashes.pop("plan.json")
    assert {"bids:raw:participants.tsv", "bids:raw:phenotype/madrs.tsv"} <= set(hashes)
    assert len(hashes) == 2 + 12
    assert f"groups read for plan sha256:{plan}" in read
    assert [line.split() for line in tables] == [[sha, name] for name, sha in hashes.items()]
    assert f"results written of plan sha256:{plan}" in written
    assert sha256((study.out / "group" / "plan.json").read_bytes()) == plan
    for name in ("tests_stats", "study_table", "binding_table"):
        assert read_json(study.out / f"group/group_desc-{name}.json")["PlanSHA256"] == plan
    declared = json.loads((study.out / "group" / "plan.json").read_text())
    assert declared["plan"]["tests"][0]["title"] == "Change between groups"


def log_of(study):
    return (study.out / "logs" / "group_unblinding.log").read_text().splitlines()


def test_a_plan_that_changed_after_results_were_seen_is_told_each_time(study, capsys):
    said = "not the plan that results were first made of"
    study.run(plan=True)
    study.run(plan=True)
    assert said not in capsys.readouterr().err
    study.config.write_text(PLAN.replace("confirmatory = false", "confirmatory = true"))
    study.run(plan=True)
    assert said in capsys.readouterr().err
    study.run(plan=True, unblind=False)
    study.run(plan=True)
    assert said in capsys.readouterr().err


def test_a_slip_in_a_plan_reads_no_groups_and_replaces_nothing(study, capsys):
    study.config.write_text(PLAN.replace('["ACC", "HIP"]', '["ACC", "HIPP"]'))
    assert study.run(plan=True) == 2
    assert not (study.out / "logs" / "group_unblinding.log").exists()
    study.config.write_text(PLAN)
    study.run(plan=True)
    before = study.written()
    study.config.write_text(PLAN.replace('["ACC", "HIP"]', '["ACC", "HIPP"]'))
    study.run(plan=True, unblind=False)
    study.config.write_text(PLAN.replace("confirmatory = false", "confirmatory = true"))
    study.run(plan=True, unblind=False)
    assert study.written()["group/plan.json"] == before["group/plan.json"]


def test_results_of_an_earlier_plan_do_not_stay(study, capsys):
    study.run(plan=True)
    assert "group/group_desc-responders_table.tsv" in study.written()
    study.run()
    assert "group/group_desc-responders_table.tsv" not in study.written()
    # but a blinded run, which makes no tests, leaves those that were made
    study.run(unblind=False)
    assert "group/group_desc-tests_stats.tsv" in study.written()
    assert "is of an earlier run" in capsys.readouterr().err


def test_corrected_tables_are_a_setting(study):
    for path in sorted(study.out.glob("sub-*/*/pet/*_kinpar.tsv")):
        subject, session = path.name.split("_")[:2]
        values = 2 * read_table(path)["BPND"]
        write_session(study.out, subject[4:], session[4:], values, "_pvc-GTM")
    study.run()
    plain = study.table("wide_table")
    sidecar = read_json(study.out / "group/group_desc-runs_table.json")
    assert sidecar["Scans"]["pvc"] == "none"
    assert not [uri for uri in sidecar["Sources"] if "pvc-" in uri]
    study.run("--set", "group.pvc=GTM")
    np.testing.assert_allclose(study.table("wide_table", "group_pvc-GTM")["ACC"], 2 * plain["ACC"])
    assert "GTM" in (study.out / "group_pvc-GTM.html").read_text()
    tests = read_json(study.out / "group_pvc-GTM/group_desc-tests_stats.json")
    assert tests["Sources"] == ["bids::group_pvc-GTM/group_desc-study_table.tsv"]
    # what was there without a correction is as it was
    np.testing.assert_array_equal(study.table("wide_table")["ACC"], plain["ACC"])


def test_a_session_that_changed_is_read_again(study):
    study.run()
    write_session(study.out, "01", "post", [9.0, 9.0])
    study.run()
    wide = study.table("wide_table")
    changed = wide.query("participant_id == 'sub-01' and session_id == 'ses-post'")
    assert changed["ACC"].item() == 9.0


def test_an_unchanged_cohort_keeps_its_files_and_a_deleted_one_comes_back(study):
    study.run(plan=True)
    page, table = study.out / "group.html", study.out / "group/group_desc-runs_table.tsv"
    before = page.stat().st_mtime_ns
    table.unlink()
    study.run(plan=True)
    assert page.stat().st_mtime_ns == before
    assert table.exists()


def test_what_was_altered_by_hand_is_put_back(study):
    study.run(plan=True)
    before = study.written()
    for name in ("group.html", "group/group_desc-tests_stats.tsv"):
        (study.out / name).write_text("0.04")
    study.run(plan=True)
    after = study.written()
    assert [n for n in before if after[n] != before[n]] == ["logs/group_unblinding.log"]


def test_two_runs_of_the_group_do_not_meet(study, capsys):
    study.run()
    locks = Locks()
    locks.take([study.root / "work" / "petbind" / "locks" / "group.lock"], wait=False)
    assert study.run("--no-wait") == 0, "there is nothing to do"
    assert study.run("--no-wait", plan=True) == 2
    assert "group: another run is at it" in capsys.readouterr().err
    locks.free()
    assert study.run("--no-wait", plan=True) == 0


def test_the_same_study_gives_the_same_files_wherever_it_is_made(study, tmp_path):
    study.run(plan=True)
    other = Study(tmp_path / "other")
    other.run("--n-procs", "2", plan=True)
    first, second = study.written(), other.written()
    assert set(first) == set(second)
    differing = [name for name in first if first[name] != second[name]]
    assert differing == ["logs/group_unblinding.log"]


def test_one_group_and_no_sessions_still_give_a_page(study):
    study.run("--set", "group.group_column=", "--set", "group.sessions=[]")
    assert "group/group_desc-tests_stats.tsv" not in study.written()
    assert "BPND" in (study.out / "group.html").read_text()


def test_three_groups_are_compared_too(study):
    study.people(["active", "active", "waiting", "waiting", "placebo", "placebo"])
    study.run()
    tests = study.table("tests_stats")
    rows = tests[(tests["kind"] == "interaction") & (tests["variable"] == "BPND")]
    assert set(rows["df1"].dropna()) >= {2}


def test_a_change_of_the_reference_region_is_seen(study):
    """SUV rises by .02, .04 and .06 in the active group, by hand t = .04 / (.02 / sqrt 3).

    It stays in the placebo group but for .01 up and down. Half of that late in the scan. Pooled
    variance (.0004 + .0001) / 2, so F = .04^2 / (.00025 * 2 / 3) = 9.6.
    """
    for subject, change in zip(SUBJECTS, (2, 4, 6, -1, 0, 1), strict=True):
        write_scan(study.out, subject, "pre", 1.0 + 0.1 * int(subject))
        write_scan(study.out, subject, "post", 1.0 + 0.1 * int(subject) + 0.01 * change)
    study.run()
    tests = study.table("tests_stats")
    suv = tests[tests["variable"] == "reference_suv"]
    paired = suv[suv["kind"] == "paired_t"].set_index("groups")
    assert paired.loc["active", "estimate"] == pytest.approx(0.04)
    assert paired.loc["active", "statistic"] == pytest.approx(0.04 / (0.02 / 3**0.5))
    assert paired.loc["placebo", "estimate"] == pytest.approx(0, abs=1e-9)
    between = suv[(suv["kind"] == "interaction") & (suv["family"] == "exploratory")]
    assert between["statistic"].tolist() == pytest.approx([9.6])
    # nobody's share of the injected activity is known: no row stands for it
    assert not tests["variable"].str.contains("per_litre").any()
    radiochemistry = study.table("radiochemistry_table")
    assert "reference_suv_late" in set(radiochemistry["variable"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"MADRS"]', '"MADRSS"]'), "nothing declares 'MADRS'; did you mean 'MADRSS'"),
        (('regions = ["ACC", "HIP"]', 'regions = ["ACC", "HIPP"]'), "did you mean 'HIP'"),
        (('groups = ["active", "placebo"]', 'groups = ["active", "sham"]'),
         "participants.tsv: column group: no line has 'sham'"),
        (('"post"', '"later"'), "of session later, which the plan names; sessions found: post"),
        (('kind = "fisher"', 'kind = "fischer"'), "kind 'fischer' is not one of"),
        (('subject_columns = ["age"]', 'subject_columns = ["ages"]'), "age"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_one_clear_message(study, capsys, change, words):
    study.config.write_text(PLAN.replace(*change))
    assert study.run(plan=True) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert "internal error" not in said


def test_participants_are_never_unblinded(study, capsys):
    words = [str(study.raw), str(study.out), "participant", "--unblind"]
    assert main(words) == 2
    assert "participant never reads groups" in capsys.readouterr().err
