"""Tables of a paper as HTML: what is printed, and that it holds nothing but tables."""

import html
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import paper_trial as trial
from pipeline.bids.paper_tables import PaperContents, paper_tables
from pipeline.reports.paper_tables import printed_tables, render_tables
from pipeline.reports.printed_table import PaperWords

WORDS = PaperWords(labels=trial.LABELS, adjustment="p values were corrected by Holm's method.")


def frames_of(study, contents=trial.CONTENTS, tests=trial.TESTS):
    results = trial.results_of(study, tests) if tests else pd.DataFrame()
    made = paper_tables(trial.values_of(study), results, contents)
    return {name: table.frame for name, table in made.items()}


@pytest.fixture(scope="module")
def frames():
    return frames_of(trial.make_trial())


@pytest.fixture(scope="module")
def page(frames):
    return render_tables(frames, WORDS)


def plain(text):
    """Words without markup, spaces that may break."""
    return html.unescape(re.sub(r"<[^>]*>", "", str(text))).replace("\N{NO-BREAK SPACE}", " ")


def printed(frames, caption):
    """Heads of the lowest row, and rows as words by their first cell, of a table."""
    table = next(t for t in printed_tables(frames, WORDS) if plain(t.caption).startswith(caption))
    rows = {plain(row[0].text): [plain(cell.text) for cell in row[1:]] for row in table.rows}
    return [plain(head.text) for head in table.heads[-1]], rows, plain(" ".join(table.notes))


def test_responders_as_the_paper_prints_them(frames):
    heads, rows, _ = printed(frames, "Responders")
    cells = rows["Partial response, ≥ 25 %"]
    assert heads[1:4] == ["ketamine (n = 20)", "placebo (n = 10)", "All (n = 30)"]
    assert cells[0] == "15 (75 %) [53, 89]"
    assert cells[1] == "3 (30 %) [11, 60]"
    assert cells[heads.index("p") - 1] == ".045"


def test_demography_in_the_form_of_journals(frames):
    _, rows, notes = printed(frames, "Subjects")
    study = trial.make_trial()
    age = study.variables["age"][study.group == 1, 0, 0]
    assert rows["Age (years)"][1] == f"{age.mean():.1f} ({age.std(ddof=1):.1f})"
    assert re.fullmatch(r"\d+ \(\d+ %\)", rows["Female"][0])
    assert "n = 19" in notes
    assert "Of session pre: MADRS (points)." in notes
    assert "Holm's method" in notes


def test_binding_beside_its_tests(frames):
    heads, rows, notes = printed(frames, "BPND by region, group and session")
    assert heads == ["pre", "post", "p"] * 2
    assert list(rows) == list(trial.REGIONS)
    values = trial.make_trial()
    before = values.variables["BPND"][:20, 0, 0]
    assert rows["ACC"][0] == f"{before.mean():.2f} ({before.std(ddof=1):.2f})"
    assert all(re.fullmatch(r"< \.001|\.\d{3}", row[2]) for row in rows.values())
    assert "paired t test" in notes


def test_change_has_a_true_minus_and_an_interval(frames):
    table = next(
        t for t in printed_tables(frames, WORDS) if plain(t.caption) == "BPND: change, pre to post"
    )
    cells = [plain(cell.text) for row in table.rows for cell in row]
    assert any(re.fullmatch(r"−0\.\d\d \[−0\.\d\d, 0\.\d\d\]", text) for text in cells)
    assert not any("-" in text for text in cells)


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_tables_with_styles_in_place(page):
    read = _Tags()
    read.feed(page)
    assert set(read.tags) <= {
        "html", "head", "meta", "title", "body", "p", "b", "i", "sub", "sup", "table", "thead",
        "tbody", "tr", "th", "td",
    }  # fmt: skip
    names = {name for name, _ in read.attributes}
    assert not names & {"class", "id", "src", "href", "onclick"}
    assert "http" not in page
    assert not re.search(r"20\d\d-\d\d-\d\d", page)


def test_importer_finds_full_rectangles(page, frames):
    found = pd.read_html(io.StringIO(page))
    tables = printed_tables(frames, WORDS)
    assert len(found) == len(tables) == 12
    for frame, table in zip(found, tables, strict=True):
        assert frame.shape == (len(table.rows), len(table.rows[0]))
        assert {len(row) for row in table.rows} == {frame.shape[1]}
        assert frame.columns.nlevels == len(table.heads)


def test_page_is_the_same_each_time(page, frames):
    assert render_tables(frames, WORDS) == page


def test_names_are_escaped():
    odd = "<b>A & B</b>_$x$%"
    study = trial.make_trial(groups=(odd, "placebo"), regions=("<i>R&1</i>", "$k_2$"))
    contents = PaperContents(
        outcome="BPND",
        sessions=study.sessions,
        groups=study.groups,
        demography=("age",),
        motion=("mean_fd_mm",),
    )
    words = PaperWords(labels={"age": "<u>age</u>"}, adjustment="<script>")
    page = render_tables(frames_of(study, contents), words)
    read = _Tags()
    read.feed(page)
    assert not {"u", "script"} & set(read.tags)
    assert {odd, "<i>R&1</i>", "$k_2$"} <= {text.strip().split(" (")[0] for text in read.text}
    assert "<u>age</u>" in "".join(read.text)


def test_blinded_study_has_one_column_of_subjects():
    frames = frames_of(trial.blinded(trial.make_trial()), tests=())
    page = render_tables(frames, WORDS)
    assert "All (<i>n</i>" in page
    assert "ketamine" not in page
    heads, _, _ = printed(frames, "BPND by region and session")
    assert heads == ["pre", "post"]


def test_wide_study_leaves_p_to_the_changes():
    study = trial.make_trial(groups=tuple("xyz"), sessions=("s1", "s2", "s3"), regions=("",))
    contents = PaperContents(outcome="BPND", sessions=study.sessions, groups=study.groups)
    tests = (
        trial.PlannedPairedT(kind="paired_t", title="t", confirmatory=True, by_group=True,
                             sessions=("s1", "s3")),
        trial.PlannedInteraction(kind="interaction", title="i", confirmatory=True),
    )  # fmt: skip
    frames = frames_of(study, contents, tests)
    heads, rows, _ = printed(frames, "BPND by group and session")
    assert heads == ["s1", "s2", "s3"] * 3
    assert list(rows) == ["BPND"]
    heads, _, notes = printed(frames, "BPND: change, since s1")
    assert heads[1:4] == ["Group", "Session", "n"]
    assert "not tested" in notes


def test_reason_stands_where_p_is_missing():
    study = trial.make_trial()
    study.variables["BPND"][20:, 0, 0] = np.nan
    _, _, notes = printed(frames_of(study), "BPND by region")
    assert "no complete pair" in notes


def test_nothing_to_show_is_said():
    assert "There is nothing to show" in render_tables({}, WORDS)
