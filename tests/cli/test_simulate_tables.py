"""`petbind simulate --level tables`: its options, and the group level on what it writes."""

import json
from pathlib import Path

import pytest

from pipeline.bids.simulated_tables import DERIVATIVES_FOLDER
from pipeline.cli.main import DONE, WRONG_USE, main
from pipeline.io.tables import read_table

REPOSITORY = Path(__file__).parents[2]

TABLES = ("--study", "tiger2020", "--level", "tables")


def simulate(out, *words):
    return main(["simulate", str(out), *words])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """The published trial, as `petbind simulate` writes it."""
    out = tmp_path_factory.mktemp("trial") / "bids"
    assert simulate(out, *TABLES, "--seed", "3") == DONE
    return out


def test_groups_have_the_sizes_of_the_paper(trial):
    people = read_table(trial / "participants.tsv")
    assert people["group"].tolist() == ["ketamine"] * 20 + ["placebo"] * 10


def test_the_derivatives_are_a_data_set_with_its_settings(trial):
    out = trial / DERIVATIVES_FOLDER
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["DatasetLinks"] == {"raw": "../.."}
    settings = json.loads((out / "logs" / "settings.json").read_text())
    assert settings["group"]["sessions"] == ["pre", "post"]
    assert (out / ".bidsignore").exists()


def test_sizes_and_effect_may_be_others(tmp_path):
    words = ("--ketamine", "3", "--placebo", "2", "--seed", "4")
    for name, more in (("effect", ()), ("none", ("--effect", "none"))):
        assert simulate(tmp_path / name, *TABLES, *words, *more) == DONE
    change = []
    for name in ("effect", "none"):
        assert len(read_table(tmp_path / name / "participants.tsv")) == 5
        folder = tmp_path / name / DERIVATIVES_FOLDER / "sub-01" / "ses-post" / "pet"
        table = read_table(folder / "sub-01_ses-post_model-SRTM_kinpar.tsv").set_index("name")
        change.append(table["BPND"])
    # Table 2: what ketamine adds
    added = {"ACC": 0.12, "DBS": 0.04, "HIP": 0.08, "VST": 0.11}
    assert (change[0] - change[1]).to_dict() == pytest.approx(added, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--study", "tiger2020"), "add --level tables"),
        (("--level", "tables"), "needs --study tiger2020"),
        ((*TABLES, "--pet-voxel-mm", "2"), "--pet-voxel-mm is of images"),
        ((*TABLES, "--frames", "short"), "--frames is of images"),
        ((*TABLES, "--own-t1w"), "--own-t1w is of images"),
        ((*TABLES, "--tracer", "flat"), "--tracer is of images"),
        ((*TABLES, "--session-sd", "0.1"), "--session-sd is of images"),
        ((*TABLES, "--t1w", "head.nii"), "--t1w is of images"),
        ((*TABLES, "--effect", "hip=0.2"), "--effect none"),
        ((*TABLES, "--seed", "-1"), "the seed is zero or more"),
        ((*TABLES, "--ketamine", "0", "--placebo", "0"), "at least one patient"),
        ((*TABLES, "--ketamine", "-1"), "not negative"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path, capsys, words, told):
    assert simulate(tmp_path / "out", *words) == WRONG_USE
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_group_level_runs_on_it(trial, tmp_path):
    out = trial / DERIVATIVES_FOLDER
    config = ("--config", "tiger2020-embedded", "--work-dir", str(tmp_path / "work"))
    assert main([str(trial), str(out), "group", "--unblind", *config]) == DONE
    assert (out / "group.html").exists()
    tests = read_table(out / "group" / "group_desc-tests_stats.tsv")
    paired = tests[(tests["kind"] == "paired_t") & (tests["variable"] == "BPND")]
    assert set(paired["region"]) == {"ACC", "HIP", "VST", "DBS"}
    assert set(paired["n"]) == {20, 10}
    # every statistic that the study asks for has a figure
    planned = tests[tests["family"] != "descriptive"]
    assert len(planned["title"].unique()) == 23
    assert planned["reason"].isna().all()


@pytest.mark.slow
def test_the_plan_of_the_documentation_runs_on_the_trial(tmp_path):
    text = (REPOSITORY / "docs" / "statistics.md").read_text("utf-8")
    plan = next(part for part in text.split("```toml")[1:] if part.startswith("\noutcome"))
    plan = (
        plan.split("```")[0]
        .replace("[[", "[[group.plan.")
        .replace("[labels]", "[group.plan.labels]")
    )
    study = tmp_path / "study.toml"
    study.write_text(f"[group.plan]\n{plan}")
    trial = tmp_path / "trial"
    assert main(["simulate", str(trial), "--study", "tiger2020", "--level", "tables"]) == 0
    out = trial / "derivatives" / "petbind"
    words = [str(trial), str(out), "group", "--unblind", "--config", str(study)]
    assert main([*words, "--work-dir", str(tmp_path / "work")]) == 0
    results = read_table(out / "group" / "group_desc-tests_stats.tsv")
    planned = results[results["family"] != "descriptive"]
    assert list(planned["kind"].unique()) == [
        "interaction",
        "mixed_model",
        "fisher",
        "correlation",
    ]
    assert planned["p"].notna().all()
