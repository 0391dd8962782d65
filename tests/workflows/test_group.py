"""The group level as it runs: what it writes, what it reads again, what it leaves alone."""

import numpy as np
import pandas as pd
import pytest
from nipype import config

from graph import dangling_ports
from pipeline.io.tables import read_json, read_table, write_table
from pipeline.statistics.design import GroupDesign
from workflows.group import group_targets, init_group_wf

REGIONS = ("ACC", "Hippocampus")


def write_session(out, subject, session, bpnd, pvc=""):
    folder = out / f"sub-{subject}" / f"ses-{session}" / "pet"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(
        {"index": [1, 2], "name": REGIONS, "R1": 0.9, "BPND": bpnd, "flag": "n/a"}
    )
    write_table(folder / f"sub-{subject}_ses-{session}{pvc}_model-SRTM_kinpar.tsv", table)


def write_uptake(out, subject, session, suv):
    """Uptake of the reference region, of a subject whose dose is known and weight is too."""
    rows = {"name": "CBL", "window": ["scan", "late"], "frame_start": [0, 2400],
            "frame_end": 5400, "mean": 1000.0, "suv": [suv, suv / 2]}  # fmt: skip
    table = pd.DataFrame(rows).assign(**{"percent-per-litre": "n/a"})
    folder = out / f"sub-{subject}" / f"ses-{session}" / "pet"
    write_table(folder / f"sub-{subject}_ses-{session}_desc-uptake_stats.tsv", table)


@pytest.fixture
def study(tmp_path):
    """Three subjects a group; changes -.02, 0, .02, and .2 more in the active hippocampus."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    groups = {f"{i:02d}": "active" if i < 4 else "placebo" for i in range(1, 7)}
    table = {"participant_id": [f"sub-{s}" for s in groups], "group": list(groups.values())}
    write_table(raw / "participants.tsv", pd.DataFrame(table))
    for i, (subject, group) in enumerate(groups.items()):
        before = np.array([1.2, 0.5]) + 0.1 * i
        change = 0.02 * (i % 3 - 1) + np.array([0.0, 0.2 if group == "active" else 0.0])
        write_session(out, subject, "pre", before)
        write_session(out, subject, "post", before + change)
    return raw, out


def run(study, tmp_path, **design):
    raw, out = study
    workflow = init_group_wf(out, raw, GroupDesign(**design))
    workflow.base_dir = str(tmp_path / "work")
    config.set("execution", "crashdump_dir", str(tmp_path))
    workflow.run()
    return out


def test_nothing_dangles(study):
    raw, out = study
    assert dangling_ports(init_group_wf(out, raw, GroupDesign())) == []


def test_writes_tables_figure_and_page(study, tmp_path):
    out = run(study, tmp_path)
    expected = {
        path
        for place in group_targets().values()
        for path in ([place] if isinstance(place, str) else place)
    }
    written = {p.relative_to(out).as_posix() for p in [*out.glob("group/*"), *out.glob("*.html")]}
    assert written == expected
    sidecar = read_json(out / "group/group_desc-BPND_table.json")
    assert "bids::sub-01/ses-post/pet/sub-01_ses-post_model-SRTM_kinpar.tsv" in sidecar["Sources"]
    assert sidecar["SessionsCompared"] == ["ses-pre", "ses-post"]
    for path in (out / "group").glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    html = (out / "group.html").read_text()
    assert str(tmp_path) not in html
    assert "<script" not in html
    assert 'src="data:image/svg+xml;base64,' in html


def test_every_column_is_explained(study, tmp_path):
    out = run(study, tmp_path)
    for name in ("pairedttest_stats", "interaction_stats", "exclusions_table", "BPNDpairs_table"):
        table = read_table(out / f"group/group_desc-{name}.tsv")
        explained = read_json(out / f"group/group_desc-{name}.json")
        entities = {"task", "tracer", "reconstruction", "model"}
        assert set(table.columns) - entities <= set(explained), name


def test_the_planted_rise_is_found(study, tmp_path):
    """By hand: pooled SD .02, so F = (.2 / (.02 sqrt(2/3)))^2 = 150 with 1 and 4 df."""
    out = run(study, tmp_path)
    table = read_table(out / "group/group_desc-interaction_stats.tsv").set_index("region")
    assert table.loc["Hippocampus", "difference"] == pytest.approx(0.2)
    assert table.loc["Hippocampus", "F"] == pytest.approx(150.0)
    assert table.loc["Hippocampus", "df_error"] == 4
    assert table.loc["ACC", "p"] == pytest.approx(1.0)


def test_corrected_tables_are_a_setting(study, tmp_path):
    _, out = study
    for path in sorted(out.glob("sub-*/*/pet/*_kinpar.tsv")):
        subject, session = path.name.split("_")[:2]
        values = 2 * read_table(path)["BPND"]
        write_session(out, subject[4:], session[4:], values, "_pvc-GTM")
    plain = read_table(run(study, tmp_path) / "group/group_desc-BPNDwide_table.tsv")
    sidecar = read_json(out / "group/group_desc-BPND_table.json")
    assert sidecar["PartialVolumeCorrection"] == "none"
    assert not [uri for uri in sidecar["Sources"] if "pvc-" in uri]
    run(study, tmp_path, pvc="GTM")
    folder = out / "group_pvc-GTM"
    corrected = read_table(folder / "group_desc-BPNDwide_table.tsv")
    np.testing.assert_allclose(corrected["ACC"], 2 * plain["ACC"])
    assert read_json(folder / "group_desc-BPND_table.json")["PartialVolumeCorrection"] == "GTM"
    tests = read_json(folder / "group_desc-pairedttest_stats.json")
    assert tests["Sources"] == ["bids::group_pvc-GTM/group_desc-BPNDpairs_table.tsv"]
    assert "GTM" in (out / "group_pvc-GTM.html").read_text()
    # what was there without a correction is as it was
    again = read_table(out / "group/group_desc-BPNDwide_table.tsv")
    np.testing.assert_array_equal(again["ACC"], plain["ACC"])


def test_a_session_that_changed_is_read_again(study, tmp_path):
    out = run(study, tmp_path)
    write_session(out, "01", "post", [9.0, 9.0])
    run(study, tmp_path)
    wide = read_table(out / "group/group_desc-BPNDwide_table.tsv")
    changed = wide.query("participant_id == 'sub-01' and session_id == 'ses-post'")
    assert changed["ACC"].item() == 9.0


def test_an_unchanged_cohort_keeps_its_files_and_a_deleted_one_comes_back(study, tmp_path):
    out = run(study, tmp_path)
    page, table = out / "group.html", out / "group/group_desc-BPND_table.tsv"
    before = page.stat().st_mtime_ns
    table.unlink()
    run(study, tmp_path)
    assert page.stat().st_mtime_ns == before
    assert table.exists()


def test_one_group_and_no_sessions_still_give_a_page(study, tmp_path):
    out = run(study, tmp_path, group_column=None, sessions=())
    assert "sessions not compared" in (out / "group.html").read_text()
    assert read_table(out / "group/group_desc-pairedttest_stats.tsv").empty


def test_three_groups_are_told_why_there_is_no_interaction(study, tmp_path):
    raw, _ = study
    people = read_table(raw / "participants.tsv")
    people.loc[0, "group"] = "waiting list"
    write_table(raw / "participants.tsv", people)
    out = run(study, tmp_path)
    assert read_table(out / "group/group_desc-interaction_stats.tsv").empty
    assert "exactly two groups, and participants.tsv names 3" in (out / "group.html").read_text()


def test_a_change_of_the_reference_region_is_seen(study, tmp_path):
    """SUV rises by 0.02, 0.04 and 0.06 in the active group, by hand t = 0.04 / (0.02 / sqrt 3).

    It stays in the placebo group but for 0.01 up and down. Half of that late in the scan.
    """
    _, out = study
    changes = dict(zip(("01", "02", "03", "04", "05", "06"), (2, 4, 6, -1, 0, 1), strict=True))
    for subject, change in changes.items():
        write_uptake(out, subject, "pre", 1.0 + 0.1 * int(subject))
        write_uptake(out, subject, "post", 1.0 + 0.1 * int(subject) + 0.01 * change)
    run(study, tmp_path)
    tests = read_table(out / "group/group_desc-uptakettest_stats.tsv")
    # nobody's share of the injected activity is known: no row stands for it
    assert set(tests["measure"]) == {"SUV (g/mL), scan", "SUV (g/mL), late"}
    scan = tests[tests["measure"] == "SUV (g/mL), scan"].set_index("group")
    assert scan.loc["active", "mean_difference"] == pytest.approx(0.04)
    assert scan.loc["active", "t"] == pytest.approx(0.04 / (0.02 / 3**0.5))
    assert scan.loc["placebo", "mean_difference"] == pytest.approx(0, abs=1e-9)
    late = tests[tests["measure"] == "SUV (g/mL), late"].set_index("group")
    assert late.loc["active", "mean_difference"] == pytest.approx(0.02)
    between = read_table(out / "group/group_desc-uptakeinteraction_stats.tsv")
    # pooled variance (.0004 + .0001) / 2: F = .04^2 / (.00025 * 2 / 3)
    assert between["F"].tolist() == pytest.approx([9.6, 9.6])
    page = (out / "group.html").read_text()
    assert "Uptake of the reference region by the dose" in page
    assert "SUV (g/mL), late" in page
    for name in ("uptakepairs_table", "uptakettest_stats", "uptakeinteraction_stats"):
        table = read_table(out / f"group/group_desc-{name}.tsv")
        explained = read_json(out / f"group/group_desc-{name}.json")
        entities = {"task", "tracer", "reconstruction", "model"}
        assert set(table.columns) - entities <= set(explained), name


def test_without_doses_there_is_no_word_of_uptake(study, tmp_path):
    out = run(study, tmp_path)
    assert read_table(out / "group/group_desc-uptakepairs_table.tsv").empty
    assert "Uptake of the reference region" not in (out / "group.html").read_text()
