"""What figures of a study show, read back from their artists and the boxes of their texts."""

from dataclasses import replace
from itertools import combinations

import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy import stats

from pipeline.reports.study_figures import paired_figure, value_figure
from pipeline.reports.study_forest import forest_figure
from pipeline.reports.study_scatter import scatter_figure
from pipeline.reports.study_shown import PRINT_WIDTH_IN, StudyShown, adjusted_families
from pipeline.reports.style import BLUE, MUTED, VERMILLION, figure_bytes

TEXTS = (
    "title", "kind", "family", "variable", "with_variable", "region", "sessions", "groups",
    "n_by_group", "test_name", "estimate_name", "effect_name",
)  # fmt: skip
NUMBERS = (
    "test", "n", "p", "p_greenhouse_geisser", "p_adjusted", "estimate", "ci_low", "ci_high",
    "effect", "effect_low", "effect_high",
)  # fmt: skip
TALLER_PX = 2
"""How much boxes of text are taller than their letters."""
ODD_NAMES = ("$x_1$", "50 % & <b>", "a_b^2 \\frac", "$", "_hidden", "x$y_{", "{}")


def results(*rows):
    """Rows of a result table; what a row does not say is missing."""
    whole = []
    for row in rows:
        texts = dict.fromkeys(TEXTS) | {"family": "confirmatory", "title": "Test"}
        cells = texts | dict.fromkeys(NUMBERS, np.nan) | row
        whole.append(cells | {"p_adjusted": row.get("p_adjusted", row.get("p", np.nan))})
    return pd.DataFrame(whole, columns=[*TEXTS, *NUMBERS])


def paired_row(p, group="ketamine", region="ACC", **cells):
    row = {"kind": "paired_t", "variable": "BPND", "region": region, "sessions": "pre post"}
    return row | {"groups": group, "test_name": "paired t test", "p": p} | cells


def interaction_row(p, region="ACC", **cells):
    row = {"kind": "interaction", "variable": "BPND", "region": region, "sessions": "pre post"}
    return row | {"groups": "ketamine placebo", "test_name": "group x time", "p": p} | cells


def correlation_row(group=None, estimate_name="r", **cells):
    row = {
        "kind": "correlation", "variable": "BPND", "with_variable": "MADRS", "region": "ACC",
        "sessions": "pre", "groups": group, "estimate_name": estimate_name, "estimate": -0.51,
        "ci_low": -0.78, "ci_high": -0.09, "n": 20, "p": 0.022,
    }  # fmt: skip
    return row | cells


def long(variable, subjects, session, region, numbers, group=np.nan):
    return pd.DataFrame(
        {
            "variable": variable,
            "participant_id": list(subjects),
            "group": group,
            "session_id": session,
            "region": region,
            "value": np.asarray(numbers, float),
        }
    )


def drawn_study(groups=("ketamine", "placebo"), sessions=("pre", "post"), regions=("ACC",), n=8):
    """Normal binding potentials and MADRS, some of them missing."""
    rng = np.random.default_rng(7)
    parts = []
    for g, group in enumerate(groups or (np.nan,)):
        subjects = [f"{100 * g + i:03d}" for i in range(n)]
        for session in sessions:
            for region in regions:
                numbers = rng.normal(1.2, 0.3, n)
                parts.append(long("BPND", subjects, session, region, numbers, group))
            parts.append(long("MADRS", subjects, session, np.nan, rng.normal(25, 5, n), group))
        parts.append(long("relief", subjects, np.nan, np.nan, rng.normal(9, 5, n), group))
    values = pd.concat(parts, ignore_index=True)
    gone = (values["participant_id"] == "001") & (values["session_id"] == sessions[-1])
    values.loc[gone & (values["variable"] == "BPND"), "value"] = np.nan
    return StudyShown(
        values=values,
        results=results(),
        sessions=sessions,
        groups=groups,
        regions=regions,
        labels={"MADRS": "MADRS (points)"},
    )


@pytest.fixture
def study():
    return drawn_study()


def of(shown, variable, group=None, region="ACC"):
    """(N, K) values in the order of subjects, by pandas alone."""
    rows = shown.values[shown.values["variable"] == variable]
    rows = rows[rows["region"] == region] if region else rows
    rows = rows[rows["group"] == group] if group else rows
    table = rows.set_index(["participant_id", "session_id"])["value"].unstack()
    return table[list(shown.sessions)].to_numpy(float)


def lines(ax, **looks):
    """Lines of an axis whose properties are as asked."""
    return [
        line
        for line in ax.lines
        if all(getattr(line, f"get_{name}")() == value for name, value in looks.items())
    ]


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


def test_means_and_their_intervals_are_of_subjects_with_all_sessions(study):
    panel = paired_figure(study, "BPND").axes[0]
    means = lines(panel, linewidth=2.0)
    bars = [np.array(c.get_segments()) for c in panel.collections]
    for group, line, bar in zip(study.groups, means, bars, strict=True):
        values = of(study, "BPND", group)
        complete = values[np.isfinite(values).all(axis=1)]
        np.testing.assert_allclose(line.get_ydata(), complete.mean(axis=0), rtol=1e-12)
        low, high = stats.ttest_1samp(complete, 0).confidence_interval()
        np.testing.assert_allclose(bar[:, :, 1], np.transpose([low, high]), rtol=1e-12)
        np.testing.assert_allclose(bar[:, 0, 0], line.get_xdata())
    assert len({line.get_marker() for line in means}) == 2
    assert len({str(line.get_linestyle()) for line in means}) == 2


def test_every_subject_is_a_line_and_those_with_one_session_are_crosses(study):
    panel = paired_figure(study, "BPND").axes[0]
    for group, colour in (("ketamine", BLUE), ("placebo", VERMILLION)):
        values = of(study, "BPND", group)
        complete = values[np.isfinite(values).all(axis=1)]
        thin = lines(panel, linewidth=0.7, color=colour)
        np.testing.assert_array_equal([line.get_ydata() for line in thin], complete)
    (cross,) = lines(panel, marker="x")
    np.testing.assert_array_equal(cross.get_ydata(), of(study, "BPND", "ketamine")[1, :1])


def test_partial_subjects_are_dotted_and_not_in_the_mean():
    study = drawn_study(groups=(), sessions=("pre", "post", "late"))
    panel = paired_figure(study, "BPND").axes[0]
    values = of(study, "BPND")
    (dotted,) = lines(panel, linestyle=":")
    np.testing.assert_array_equal(dotted.get_ydata(), values[1, :2])
    (mean,) = lines(panel, linewidth=2.0)
    np.testing.assert_allclose(mean.get_ydata(), np.delete(values, 1, axis=0).mean(axis=0))


def test_blinded_subjects_are_drawn_together(study):
    values = study.values.assign(group=np.nan)
    rows = results(paired_row(0.03, group=None))
    figure = paired_figure(replace(study, values=values, results=rows), "BPND")
    (mean,) = lines(figure.axes[0], linewidth=2.0)
    every = of(study, "BPND")
    expected = every[np.isfinite(every).all(axis=1)].mean(axis=0)
    np.testing.assert_allclose(mean.get_ydata(), expected, rtol=1e-12)
    assert texts_of(figure.axes[0]) == ["p = 0.030"]


def test_subjects_of_other_groups_are_not_drawn(study):
    panel = paired_figure(replace(study, groups=("placebo",)), "BPND").axes[0]
    thin = lines(panel, linewidth=0.7)
    np.testing.assert_array_equal(
        [line.get_ydata() for line in thin], of(study, "BPND", "placebo")
    )


def test_p_stands_below_its_group_and_that_of_the_interaction_below_the_axis(study):
    found = results(
        paired_row(0.0355),
        paired_row(0.9, region="HIP"),
        paired_row(0.0002, group="placebo"),
        paired_row(0.4, group=None),
        interaction_row(0.7, test_name="group"),
        interaction_row(0.021),
    )
    panel = paired_figure(replace(study, results=found), "BPND").axes[0]
    assert texts_of(panel) == ["ketamine\np = 0.035", "placebo\np < 0.001"]
    assert panel.get_xlabel() == "group × time p = 0.021\nall subjects p = 0.400"
    assert [t.get_text() for t in panel.get_xticklabels()] == ["pre", "post"] * 2


def test_without_a_planned_test_there_is_no_p(study):
    panel = paired_figure(study, "BPND").axes[0]
    assert texts_of(panel) == ["ketamine", "placebo"]
    assert panel.get_xlabel() == ""


def test_adjusted_p_is_shown_where_the_plan_adjusts_even_if_it_is_the_same(study):
    found = results(
        paired_row(0.01, p_adjusted=0.02),
        paired_row(0.3, group="placebo", p_adjusted=0.3),
        interaction_row(0.2, family="exploratory"),
    )
    panel = paired_figure(replace(study, results=found), "BPND").axes[0]
    assert texts_of(panel) == ["ketamine\np = 0.010\nadj. 0.020", "placebo\np = 0.300\nadj. 0.300"]
    assert panel.get_xlabel() == "group × time p = 0.200"


def test_corrected_degrees_of_freedom_are_no_adjustment(study):
    found = results(interaction_row(0.01, p_greenhouse_geisser=0.02, p_adjusted=0.02))
    assert not adjusted_families(found)
    panel = paired_figure(replace(study, results=found), "BPND").axes[0]
    assert panel.get_xlabel() == "group × time p = 0.020"


def test_tests_of_some_of_the_sessions_say_which():
    study = drawn_study(sessions=("pre", "post", "late"))
    found = results(paired_row(0.02), interaction_row(0.5))
    panel = paired_figure(replace(study, results=found), "BPND").axes[0]
    assert texts_of(panel)[0] == "ketamine\npre–post\np = 0.020"
    assert panel.get_xlabel() == "group × time, pre–post p = 0.500"


def test_variables_without_regions_have_one_panel_without_a_name(study):
    figure = paired_figure(study, "MADRS")
    assert len(figure.axes) == 1
    assert figure.axes[0].get_title("left") == ""
    assert figure.axes[0].get_ylabel() == "MADRS (points)"


def test_regions_are_in_the_order_of_the_plan_and_without_one_in_that_of_the_values():
    study = drawn_study(regions=("VST", "ACC", "HIP"))
    for regions, expected in ((("HIP", "VST"), ["HIP", "VST"]), ((), ["VST", "ACC", "HIP"])):
        figure = paired_figure(replace(study, regions=regions), "BPND")
        assert [ax.get_title("left") for ax in figure.axes if ax.axison] == expected


def test_nothing_is_drawn_of_nothing(study):
    missing = replace(study, values=study.values.assign(value=np.nan))
    for shown, variable in ((missing, "BPND"), (study, "relief"), (study, "no such column")):
        assert paired_figure(shown, variable) is None
    assert value_figure(missing, "BPND") is None
    assert scatter_figure(missing, results(correlation_row())) is None
    assert scatter_figure(study, results(paired_row(0.5))) is None
    assert forest_figure(results()) is None
    assert forest_figure(results(paired_row(0.5))) is None


def test_one_subject_has_a_mean_and_no_interval():
    panel = paired_figure(drawn_study(n=1), "BPND").axes[0]
    assert len(lines(panel, linewidth=2.0)) == 2
    assert not panel.collections


def test_scatter_shows_the_pairs_of_every_group_and_the_line_of_all(study):
    (panel,) = scatter_figure(study, results(correlation_row())).axes
    pairs = np.stack([of(study, "BPND")[:, 0], of(study, "MADRS", region=None)[:, 0]], axis=1)
    points = [line for line in panel.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(np.concatenate([p.get_xydata() for p in points]), pairs)
    assert [p.get_marker() for p in points] == ["o", "s"]
    assert [p.get_markeredgecolor() for p in points] == [BLUE, VERMILLION]
    (line,) = lines(panel, linestyle="-")
    x, y = line.get_data()
    slope, intercept = np.polyfit(*pairs.T, 1)
    np.testing.assert_allclose(y, intercept + slope * x, rtol=1e-9)
    assert (x[0], x[-1]) == (pairs[:, 0].min(), pairs[:, 0].max())
    (band,) = panel.collections
    corners = band.get_paths()[0].vertices
    fit = stats.linregress(*pairs.T)
    rest = pairs[:, 1] - fit.intercept - fit.slope * pairs[:, 0]
    n, far = len(pairs), x[-1] - pairs[:, 0].mean()
    spread = pairs[:, 0].var() * n
    error = np.sqrt(rest @ rest / (n - 2) * (1 / n + far**2 / spread))
    at_end = corners[corners[:, 0] == x[-1], 1]
    expected = y[-1] + np.array([-1, 1]) * stats.t.ppf(0.975, n - 2) * error
    np.testing.assert_allclose([at_end.min(), at_end.max()], expected, rtol=1e-9)
    assert texts_of(panel) == ["r = −0.51 [−0.78, −0.09]\nn = 20, p = 0.022"]
    assert panel.get_xlabel() == r"$BP_\mathrm{ND}$ (unitless), pre"
    assert panel.get_ylabel() == "MADRS (points), pre"


def test_correlation_within_a_group_shows_that_group_alone(study):
    row = correlation_row(group="placebo", with_variable="relief")
    (panel,) = scatter_figure(study, results(row)).axes
    (points,) = [line for line in panel.lines if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(points.get_xdata(), of(study, "BPND", "placebo")[:, 0])
    assert panel.get_title("left") == "ACC, placebo"
    assert panel.get_ylabel() == "relief"


def test_spearman_has_no_line_and_a_missing_test_says_so(study):
    rows = results(
        correlation_row(estimate_name="rho"),
        correlation_row(estimate=np.nan, ci_low=np.nan, ci_high=np.nan, p=np.nan, n=2),
    )
    first, second = scatter_figure(study, rows).axes
    for panel in (first, second):
        assert not panel.collections
        assert all(line.get_linestyle() == "None" for line in panel.lines)
    assert texts_of(first)[0].startswith("ρ = −0.51")
    assert texts_of(second) == ["r n/a\nn = 2"]


def test_subjects_in_no_group_are_in_the_correlation_and_marked(study):
    shown = replace(study, groups=("placebo",))
    figure = scatter_figure(shown, results(correlation_row()))
    points = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert [len(p.get_xdata()) for p in points] == [8, 8]
    assert points[1].get_markeredgecolor() == MUTED
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["placebo", "in no group"]


def test_pairs_need_both_values(study):
    row = correlation_row(sessions="post", with_variable="relief")
    (panel,) = scatter_figure(study, results(row)).axes
    points = [line for line in panel.lines if line.get_linestyle() == "None"]
    assert [len(p.get_xdata()) for p in points] == [7, 8]


def forest_rows():
    effect = {"effect_name": "dz", "effect": 0.51, "effect_low": 0.03, "effect_high": 0.97}
    return results(
        paired_row(0.0355, **effect),
        paired_row(0.7, region="HIP", effect_name="dz"),  # could not be computed
        paired_row(0.0004, region="VST", family="exploratory", **(effect | {"effect": -1.2})),
        {"kind": "fisher", "title": "Responders", "effect_name": "odds ratio", "effect": np.inf,
         "effect_low": 1.2, "effect_high": np.inf, "p": 0.045, "groups": "a b",
         "n_by_group": "20 10"},
        {"kind": "permutation", "p": 0.5},
    )  # fmt: skip


def test_forest_has_a_row_for_every_effect_and_a_facet_for_every_kind():
    first, second = forest_figure(forest_rows()).axes
    labels = [t.get_text() for t in first.get_yticklabels()]
    assert labels == ["Test, ACC, ketamine", "Test, VST, ketamine"]
    assert texts_of(first) == [
        "0.51 [0.03, 0.97]", "−1.20 [0.03, 0.97]", "p .035", "p < .001",
    ]  # fmt: skip
    points = lines(first, marker="o")
    assert [p.get_xdata()[0] for p in points] == [0.51, -1.2]
    assert [to_hex(p.get_markerfacecolor()) for p in points] == [BLUE.lower(), "#ffffff"]
    bars = lines(first, linewidth=1.2)
    np.testing.assert_allclose([b.get_xdata() for b in bars], [[0.03, 0.97]] * 2)
    np.testing.assert_allclose([b.get_ydata()[0] for b in bars], first.get_yticks())
    np.testing.assert_array_equal(first.lines[0].get_xdata(), [0, 0])
    assert [t.get_text() for t in second.get_yticklabels()] == ["Responders"]
    assert texts_of(second)[0] == "∞ [1.20, ∞]"


def test_what_the_plan_only_describes_is_a_diamond_with_the_name_of_its_term():
    row = interaction_row(
        0.03, family="descriptive", test_name="time", n_by_group="2 1",
        effect_name="partial eta squared", effect=0.2, effect_low=0.0, effect_high=0.4,
    )  # fmt: skip
    figure = forest_figure(results(row))
    assert len(lines(figure.axes[0], marker="D")) == 1
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["Test, ACC, time"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["descriptive"]


def test_an_interval_without_end_is_an_arrow_at_that_end():
    ax = forest_figure(forest_rows()).axes[1]
    assert not lines(ax, marker="o")
    (arrow,) = lines(ax, marker=">")
    assert arrow.get_xdata()[0] == pytest.approx(ax.get_xlim()[1])
    assert not lines(ax, marker="<")
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 1])


def test_forest_shows_adjusted_p_where_the_plan_adjusts():
    rows = forest_rows()
    rows.loc[0, "p_adjusted"] = 0.142
    texts = texts_of(forest_figure(rows).axes[0])
    assert texts[2:] == ["p .035, adj. .142", "p < .001"]


def test_values_stand_at_their_region_by_group(study):
    figure = value_figure(study, "BPND")
    for group, line in zip(study.groups, figure.axes[0].lines, strict=True):
        expected = of(study, "BPND", group)
        found = np.sort(line.get_xdata())
        np.testing.assert_array_equal(found, np.sort(expected[np.isfinite(expected)]))
        assert (np.abs(line.get_ydata()) < 0.5).all()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["ACC"]


REGIONS = (*ODD_NAMES, "Dorsolateral prefrontal cortex", "ctx_lh_caudalmiddlefrontal_and_more")
MANY = (*REGIONS, *(f"Region {i}" for i in range(20 - len(REGIONS))))


def full_results(study):
    """Every kind of row of a figure, in all regions, with adjusted p."""
    rows = []
    for region in study.regions:
        effect = {"effect_name": "dz", "effect": 0.5, "effect_low": -0.1, "effect_high": 1.1}
        for group in study.groups or (None,):
            rows.append(paired_row(0.0301, group, region, p_adjusted=0.5, **effect))
            rows.append(correlation_row(group, region=region, p_adjusted=0.3))
        rows.append(interaction_row(0.0301, region, p_adjusted=0.5))
    return results(*rows)


def boxes(figure):
    """Boxes of all texts but those of ticks, in pixels."""
    with matplotlib.style.context("default"):
        FigureCanvasAgg(figure).draw()
    found = []
    for ax in figure.axes:
        ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
        found += [t for t in ax.findobj(Text) if t not in ticks and ax.axison and t.get_text()]
    return [text.get_window_extent() for text in found]


def gap(a, b):
    """Pixels between two boxes; negative where they overlap."""
    return max(a.x0 - b.x1, b.x0 - a.x1, a.y0 - b.y1, b.y0 - a.y1)


TWO = (("ketamine", "placebo"), ("baseline", "post"))
THREE = (("ketamine 0.5 mg/kg", "$x_1$", "_placebo"), ("pre", "post", "followup"))
ONE = (("ketamine",), ("baseline", "post"))


@pytest.mark.parametrize(
    ("design", "regions"),
    [
        (TWO, MANY[:1]),
        (TWO, MANY[4:8]),
        (THREE, MANY[:1]),
        (THREE, MANY[4:8]),
        pytest.param(TWO, MANY, marks=pytest.mark.slow),
        pytest.param(THREE, MANY, marks=pytest.mark.slow),
        pytest.param(ONE, MANY, marks=pytest.mark.slow),
        pytest.param(((), ("pre", "post")), MANY, marks=pytest.mark.slow),
    ],
)
def test_texts_of_panels_lie_apart_and_within_a_page(design, regions):
    study = drawn_study(*design, regions, n=3)
    study = replace(study, results=full_results(study))
    figure = paired_figure(study, "BPND")
    assert figure.get_figwidth() <= PRINT_WIDTH_IN + 1e-9
    assert figure.get_figheight() <= 1 + 2.6 * np.ceil(len(regions) / 2)
    found = boxes(figure)
    width, height = figure.canvas.get_width_height()
    for box in found:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -TALLER_PX
    for a, b in combinations(found, 2):
        assert gap(a, b) > -TALLER_PX


@pytest.mark.parametrize("draw", ["scatter", "forest"])
def test_texts_of_long_figures_lie_apart(draw):
    study = drawn_study(regions=REGIONS[-3:], groups=("ketamine", "$x_1$"), n=3)
    found = full_results(study)
    figure = (
        scatter_figure(replace(study, results=found), found)
        if draw == "scatter"
        else forest_figure(found)
    )
    assert figure.get_figwidth() <= PRINT_WIDTH_IN + 1e-9
    for a, b in combinations(boxes(figure), 2):
        assert gap(a, b) > -TALLER_PX


def test_names_are_never_formulas_and_all_stand_in_the_legend():
    study = drawn_study(groups=ODD_NAMES, regions=ODD_NAMES[:2], n=3)
    study = replace(study, labels={"MADRS": "$MADRS_x$"}, results=full_results(study))
    for figure in (
        paired_figure(study, "BPND"),
        value_figure(study, "BPND"),
        scatter_figure(study, study.results),
        forest_figure(study.results),
    ):
        figure_bytes(figure, "svg")
        for text in figure.findobj(Text):
            assert "BP_" in text.get_text() or not is_math_text(text.get_text())
    legend = value_figure(study, "BPND").legends[0]
    shown = tuple(text.get_text().replace(r"\$", "$") for text in legend.get_texts())
    assert shown == ODD_NAMES


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_study_gives_the_same_bytes(kind):
    study = drawn_study(regions=("ACC", "HIP"))
    study = replace(study, results=full_results(study))
    for draw in (
        lambda: paired_figure(study, "BPND"),
        lambda: value_figure(study, "BPND"),
        lambda: scatter_figure(study, study.results),
        lambda: forest_figure(study.results),
    ):
        first = figure_bytes(draw(), kind)
        assert first == figure_bytes(draw(), kind)
        assert b"dc:date" not in first
