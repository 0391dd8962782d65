"""The page of a session: complete, safe, private, alone, and the same every time."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest

from pipeline.core.volume import Volume
from pipeline.reports import session
from pipeline.reports.page import Note, facts, number, public
from pipeline.reports.session import ModelReport, PartialVolume, render_session

ATTACK = '<script>alert("x")</script>'


class Elements(HTMLParser):
    """Tags, their attributes, and text outside style."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        if "style" not in self._open[-1:]:
            self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(full_report):
    return render_session(full_report)


def test_every_part_is_there(html):
    sections = [attrs["id"] for attrs in Elements(html).named("section") if "id" in attrs]
    assert sections == [
        "findings",
        "kinetics",
        "kinetics-loganref",
        "curves",
        "anatomy",
        "coregistration",
        "motion",
        "regions",
        "maps",
        "maps-loganref",
        "methods",
        "provenance",
    ]
    text = " ".join(Elements(html).text)
    for words in ("sub-01 ses-pre", "0.51", "failed, at bound", "settings.motion.backend"):
        assert words in text


def test_links_within_the_page_have_their_target(html):
    page = Elements(html)
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert {attrs["href"].removeprefix("#") for attrs in page.named("a")} <= ids


def test_loads_nothing_and_runs_nothing(html):
    page = Elements(html)
    assert not page.named("script")
    assert not page.named("link")
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    sources = [attrs["src"] for attrs in page.named("img")]
    assert len(sources) == 10
    assert all(source.startswith("data:image/") for source in sources)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert not re.search(r"url\(|@import", " ".join(styles))


def test_figures_do_not_load_anything_either(html):
    for encoded in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html):
        svg = base64.b64decode(encoded).decode()
        assert "<script" not in svg
        assert not re.search(r'href="(?!#)', svg)


def test_text_from_the_data_set_is_escaped(bare_report, full_report):
    html = render_session(
        replace(
            bare_report,
            curves=replace(full_report.curves, reference=ATTACK),
            scan={"subject": "01", "tracer_name": ATTACK, "t1w_reason": ATTACK},
            models=[
                ModelReport(model=ATTACK, kinetics=[{"name": ATTACK, "BPND": 1.0, "flag": ATTACK}])
            ],
            methods=[ATTACK],
            findings=[Note(f'"{ATTACK}', ATTACK, ATTACK)],
            provenance={ATTACK: ATTACK},
        )
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 9


def test_folders_of_the_machine_stay_out(bare_report):
    html = render_session(
        replace(
            bare_report,
            scan={"subject": "01", "t1w": "/home/jane/data/sub-01_T1w.nii.gz"},
            findings=[Note("error", "cannot read /scratch/jane/x/sub-01_pet.json: broken")],
            provenance={"settings": {"bids_dir": "/home/jane/data"}},
        )
    )
    assert "jane" not in html
    assert "sub-01_pet.json: broken" in html


def test_the_same_report_gives_the_same_bytes(full_report, html):
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other", "image.cmap": "jet"}):
        again = render_session(full_report)
    assert again == html


def test_a_large_step_of_the_head_is_among_the_findings(full_report, html):
    assert "the head moved" not in html
    motion = replace(full_report.motion, displacement_mm=np.r_[np.nan, np.zeros(6), 3.2])
    moved = render_session(replace(full_report, motion=motion))
    assert "the head moved by 3.2 mm" in moved
    assert "Nothing was found wrong" not in moved


def test_a_region_that_leaves_the_field_of_view_is_a_finding(full_report, html):
    assert "outside the field of view" not in html
    cut = replace(full_report.regions, in_field={"Caudate": 0.62, "Cerebellum": 0.99})
    page = render_session(replace(full_report, regions=cut))
    assert page.count("outside the field of view") == 1
    assert "38 % of it lie outside" in page


def test_a_region_that_frames_lack_in_part_is_a_finding(full_report, html):
    assert "in every frame" not in html
    lost = replace(
        full_report.regions,
        in_field={"Caudate": 0.96, "Cerebellum": 1.02, "HIP": 0.96},
        covered={"Caudate": 0.61, "Cerebellum": 0.95, "HIP": 0.1},
        uncovered=("HIP",),
    )
    page = render_session(replace(full_report, regions=lost))
    assert page.count("not in every frame") == 1
    assert "35 % of it lie in the field of view" in page
    assert page.count("less than half of it lies in every frame") == 1


def test_doubts_about_the_anatomy_are_among_the_findings(full_report):
    told = "2 % of the brain lie outside the T1w image or where it is zero"
    doubtful = replace(full_report, anatomy_quality={"gm_dice": 0.8, "Warnings": [told]})
    page = render_session(doubtful)
    assert page.count(told) == 1


def test_motion_within_a_frame_is_among_the_findings(full_report, html):
    assert "within frame" not in html
    quality = {"FramesMovedWithin": [5], "FramesMovedWithin_mm": [2.1], "FramesResidualRise": [6]}
    page = render_session(
        replace(full_report, motion=replace(full_report.motion, quality=quality))
    )
    assert "the head moved by 2.1 mm or more within frame 5, 5.0 to 6.0 min" in page
    assert "worse than their neighbours: 6" in page


def test_the_page_says_whether_and_why_motion_was_corrected(full_report, html):
    assert "every session is corrected" in html
    rows = [row for row in html.split("<tr") if "0 to 2" in row]
    assert rows
    assert "copied" in rows[0]
    nobody = replace(full_report.motion, source=["none"] * 8)
    assert "Head motion was not estimated" in render_session(replace(full_report, motion=nobody))


def test_a_doubtful_coregistration_is_a_finding(full_report):
    quality = {"Flagged": True, "Score": 0.312, "LeastScore": 0.5, "BrainInField": 0.514}
    doubtful = replace(full_report.coregistration, quality=quality)
    page = render_session(replace(full_report, coregistration=doubtful))
    assert "its score is 0.31, below 0.50, and 51 % of the brain" in page
    sound = replace(full_report.coregistration, quality={**quality, "Flagged": False})
    assert "may not lie on" not in render_session(replace(full_report, coregistration=sound))


def test_labels_beside_the_tissue_are_a_finding(full_report):
    t1w = full_report.tissues.t1w
    labels = np.zeros(t1w.shape, np.int32)
    labels[: t1w.shape[0] // 2], labels[t1w.shape[0] // 2 :] = 1024, 2
    ramp = np.arange(t1w.data.size, dtype=np.float32).reshape(t1w.shape)
    tissues = replace(full_report.tissues, t1w=t1w.with_data(ramp))
    told = "brighter than their cortex in 0 % of pairs"
    mirrored = replace(full_report, tissues=tissues, labels=t1w.with_data(labels[::-1].copy()))
    assert told in render_session(mirrored)
    sound = replace(mirrored, labels=t1w.with_data(labels))
    assert "of pairs of voxels" not in render_session(sound)


def test_an_unusual_score_of_the_coregistration_is_a_note(full_report):
    quality = {"Flagged": False, "Score": 0.70, "TypicalScores": [0.836, 0.87, 0.914]}
    told = "score of the coregistration, 0.70, is lower than that of any"
    for score, expected in ((0.70, True), (0.75, False)):
        low = replace(full_report.coregistration, quality={**quality, "Score": score})
        assert (told in render_session(replace(full_report, coregistration=low))) is expected


def test_noise_of_a_correction_is_a_finding(full_report):
    noisy = PartialVolume(
        method="GTM", kinetics={}, noise_factor={"CBL": 3.03, "HIP": 2.06, "PUT": 1.4}
    )
    page = render_session(replace(full_report, partial_volume=noisy))
    assert "more than 2 times what it was: CBL 3.0, HIP 2.1;" in page
    calm = replace(noisy, noise_factor={"CBL": 1.2})
    assert "times what it was" not in render_session(replace(full_report, partial_volume=calm))


def test_guessed_poses_are_a_finding(full_report):
    motion = full_report.motion
    guessed = replace(motion, quality={**motion.quality, "FramesGuessed": [0, 1]})
    page = render_session(replace(full_report, motion=guessed))
    assert "the other side of a break in the scan: 0, 1" in page
    assert "other side of a break" not in render_session(full_report)


def test_a_page_without_any_result_still_says_what_it_knows(bare_report):
    page = Elements(render_session(bare_report))
    assert "Nothing was found wrong" in " ".join(page.text)
    assert not page.named("img")


@pytest.mark.parametrize(
    "missing", ["tissues", "labels", "coregistration", "motion", "regions", "curves"]
)
def test_any_part_may_be_missing(changed, missing, monkeypatch):
    monkeypatch.setattr(session, "data_uri", lambda *_: "data:image/png;base64,")
    html = render_session(changed(**{missing: None}))
    assert "Kinetic parameters" in html


def test_a_map_without_a_single_value_is_drawn_empty(bare_report, full_report):
    empty = full_report.models[0].maps["BPND"]
    empty = Volume(np.full(empty.shape, np.nan, np.float32), empty.affine)
    assert "data:image/png" in render_session(
        replace(bare_report, models=[ModelReport(model="SRTM", maps={"BPND": empty})])
    )


def test_a_failed_estimate_is_never_a_number():
    assert number(float("nan")).text == "n/a"
    assert number(float("inf")).kind == "missing"
    assert number(-0.5).text == "−0.50"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mL/cm3/min and and/or", "mL/cm3/min and and/or"),
        ("bids::sub-01/pet/x.tsv", "bids::sub-01/pet/x.tsv"),
        ("see https://doi.org/10.1/x", "see https://doi.org/10.1/x"),
        ("(/a/b/c.json)", "(c.json)"),
        ("sub-01/ses-pre/x.json", "sub-01/ses-pre/x.json"),
    ],
)
def test_only_absolute_paths_are_shortened(text, shown):
    assert public(text) == shown


def test_facts_carry_units_and_missing_values():
    shown = facts({"brain_volume_ml": 1234.56, "Scores": {"gm_dice": None}, "ok": True})
    assert shown == {"Brain volume (mL)": "1235", "Scores: GM dice": "n/a", "Ok": "yes"}


def test_a_region_too_small_is_told_once_and_not_as_a_failed_fit(full_report):
    rows = [{"name": "TINY", "BPND": float("nan"), "flag": "failed,nonfinite_input"}]
    report = replace(
        full_report,
        regions=replace(full_report.regions, too_small=("TINY",)),
        models=[ModelReport(model="SRTM", kinetics=rows)],
    )
    findings = render_session(report).split('id="findings"')[1].split("</section>")[0]
    assert "too small for an estimate" in findings
    assert "SRTM fit" not in findings


def test_uptake_of_the_reference_region_is_shown_beside_the_curves(full_report, html):
    assert "Injected activity (%/L)" not in html
    row = {"name": "CBL", "frame_start": 0.0, "frame_end": 5580.0, "mean": 4321.0, "suv": 0.87,
           "percent-per-litre": float("nan"), "window": "scan"}  # fmt: skip
    late = {"name": "CBL", "window": "late"}  # a scan that was over before
    text = " ".join(Elements(render_session(replace(full_report, uptake=[row, late]))).text)
    for words in ("CBL, scan", "0.0 to 93.0", "4.32", "0.87", "CBL, late"):
        assert words in text
