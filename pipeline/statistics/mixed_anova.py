"""Mixed (split-plot) analysis of variance: groups between subjects, sessions within."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.assumptions import brown_forsythe, does_not_vary, shapiro_wilk
from pipeline.statistics.effect_size import partial_eta2_interval
from pipeline.statistics.result import CONFIDENCE, Assumption, TestResult

METHODS = (
    "Group, time and their interaction were tested in a mixed (split-plot) analysis of variance "
    "of subjects with all sessions, type III sums of squares; effects are partial eta squared, "
    "intervals from the noncentral F; normality of the residuals was checked by the Shapiro-Wilk "
    "test and, where there is one residual per subject, equality of variances by the "
    "Brown-Forsythe test."
)
SPHERICITY_METHODS = (
    "Of more than two sessions, sphericity was checked by Mauchly's test; p that is held against "
    "alpha is corrected by the epsilon of Greenhouse and Geisser (1959)."
)

_MIN_PER_GROUP = 2


@dataclass(frozen=True, kw_only=True)
class AnovaEffect(TestResult):
    """One F of a mixed analysis of variance; `effect` is partial eta squared.

    An effect of one degree of freedom has an `estimate`, a difference of means; the groups are
    taken in the order of their labels.
    """

    sum_of_squares: float = math.nan
    """Of the effect, unit of the data squared."""
    error_sum_of_squares: float = math.nan
    generalised_eta2: float = math.nan
    """Share of all variance but that of the other effects (Olejnik & Algina 2003)."""
    p_greenhouse_geisser: float = math.nan
    """p with degrees of freedom times epsilon; NaN where sphericity is not at stake."""
    p_huynh_feldt: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Sphericity:
    """Whether differences between sessions vary alike; NaN with two sessions."""

    mauchly_w: float = math.nan
    mauchly_p: float = math.nan
    greenhouse_geisser: float = math.nan
    """Epsilon, 1 where sphericity holds."""
    huynh_feldt: float = math.nan
    """Epsilon with Lecoutre's correction for groups; may exceed 1, and is then taken as 1."""


@dataclass(frozen=True, kw_only=True)
class MixedAnova:
    """Mixed analysis of variance of groups and sessions."""

    groups: tuple[str, ...]
    group: AnovaEffect
    time: AnovaEffect
    interaction: AnovaEffect
    sphericity: Sphericity


@dataclass(frozen=True, eq=False)
class _Cells:
    """Complete subjects, by group."""

    names: tuple[str, ...]
    values: FloatArray
    """(N, M)"""
    index: NDArray[np.intp]
    """(N,) number of the group of every subject."""
    n_missing: int

    @property
    def n(self) -> NDArray[np.intp]:
        return np.bincount(self.index, minlength=len(self.names))

    def means(self, data: FloatArray) -> FloatArray:
        """Mean of every group, (G, K), of data (N, K)."""
        return np.array([data[self.index == g].mean(axis=0) for g in range(len(self.names))])


def mixed_anova(values: FloatArray, groups: NDArray[Any]) -> MixedAnova:
    r"""F tests of group, time and their interaction.

    With orthonormal contrasts C between the M sessions, the group effect is that of a one-way
    analysis of the subjects' means; time and interaction add up over the columns of YC [1]_:

    .. math::
        F_{time} = \frac{\sum_c (\bar\mu_c)^2 \big/ \frac{1}{G^2} \sum_g n_g^{-1}}{M - 1}
        \bigg/ \frac{\operatorname{tr} E}{(M - 1)(N - G)}, \qquad
        \varepsilon_{GG} = \frac{(\operatorname{tr} S)^2}{(M - 1) \operatorname{tr} S^2}

    where E sums squares and products within groups, S = E / (N - G), and the mean over groups,
    each counted once, makes time a type III test.

    Parameters
    ----------
    values : (N, M) array
        One row per subject, one column per session, two or more; NaN where missing.
    groups : (N,) array
        Label of every subject's group; with one, time alone is tested.

    Returns
    -------
    MixedAnova
        Of subjects with all sessions. What cannot be computed is NaN and its `reason` says why.

    Raises
    ------
    ValueError
        If there are fewer than two sessions, or not one label per subject.

    Notes
    -----
    Agrees with R's ``afex::aov_ez`` (type 3), and with ``aov`` where groups are of one size.
    Generalised eta squared takes the groups as assigned, not measured.

    References
    ----------
    .. [1] Maxwell SE, Delaney HD (2004). Designing Experiments and Analyzing Data, 2nd ed.
    .. [2] Olejnik S, Algina J (2003). Psychological Methods 8:434-447.
    .. [3] Lecoutre B (1991). Journal of Educational Statistics 16:371-372.

    Examples
    --------
    With two sessions the interaction is the squared t of the changes:

    >>> pre_post = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [1, 1], [2, 3], [3, 5]])
    >>> test = mixed_anova(pre_post, np.array(list("aaabbb"))).interaction
    >>> round(test.statistic, 3), test.df1, test.df2
    (1.5, 1.0, 4.0)
    """
    cells = _complete(values, groups)
    contrasts = cells.values @ _contrasts(cells.values.shape[1])
    obstacle = _obstacle(cells)
    blank = [
        AnovaEffect(
            name=name, n=tuple(int(n) for n in cells.n), n_missing=cells.n_missing,
            statistic_name="F", effect_name="partial eta squared", reason=obstacle,
        )
        for name in ("group", "time", "group x time")
    ]  # fmt: skip
    if obstacle:
        return MixedAnova(
            groups=cells.names, group=blank[0], time=blank[1], interaction=blank[2],
            sphericity=Sphericity(),
        )  # fmt: skip
    means = cells.values.mean(axis=1, keepdims=True) * math.sqrt(cells.values.shape[1])
    error_between = _error(cells, means)
    error_within = _error(cells, contrasts)
    errors = float(np.trace(error_between)), float(np.trace(error_within))
    sphericity = _sphericity(error_within, cells.values.shape[0] - len(cells.names))
    group, time, interaction = _estimated(
        cells,
        _between(blank[0], cells, means, errors),
        _within(blank[1], _time_squares(cells, contrasts), (cells, errors), sphericity),
        _within(blank[2], _group_squares(cells, contrasts), (cells, errors), sphericity),
    )
    return MixedAnova(
        groups=cells.names, group=group, time=time, interaction=interaction,
        sphericity=sphericity,
    )  # fmt: skip


def _complete(values: FloatArray, groups: NDArray[Any]) -> _Cells:
    values, groups = np.asarray(values, float), np.asarray(groups)
    if values.ndim != 2 or values.shape[1] < 2 or groups.shape != values.shape[:1]:
        raise ValueError(
            "values of subjects by sessions, two or more, and a group each expected, "
            f"not {values.shape} and {groups.shape}"
        )
    complete = np.isfinite(values).all(axis=1)
    names, index = np.unique(groups, return_inverse=True)
    return _Cells(
        tuple(str(name) for name in names),
        values[complete],
        index[complete],
        int((~complete).sum()),
    )


def _obstacle(cells: _Cells) -> str:
    if not cells.names or cells.n.min() < _MIN_PER_GROUP:
        counts = ", ".join(str(n) for n in cells.n) or "no"
        return f"{counts} subjects with all sessions; two in each group are needed"
    residuals = cells.values - cells.means(cells.values)[cells.index]
    within = residuals - residuals.mean(axis=1, keepdims=True)
    if np.abs(within).max() <= 1e-12 * np.abs(cells.values).max():
        return "the changes do not vary"
    return ""


def _contrasts(sessions: int) -> FloatArray:
    """Orthonormal contrasts between sessions, (M, M - 1)."""
    return np.asarray(linalg.helmert(sessions).T)


def _error(cells: _Cells, data: FloatArray) -> FloatArray:
    residuals = data - cells.means(data)[cells.index]
    return np.asarray(residuals.T @ residuals)


def _group_squares(cells: _Cells, data: FloatArray) -> float:
    """Sum of squares of the groups' means about the common mean, over all columns."""
    spread = cells.means(data) - data.mean(axis=0)
    return float((cells.n[:, None] * spread**2).sum())


def _time_squares(cells: _Cells, contrasts: FloatArray) -> float:
    """Type III: every group's mean counts once, however many subjects are in it."""
    mean = cells.means(contrasts).mean(axis=0)
    return float((mean**2).sum() / (1 / cells.n).sum() * len(cells.names) ** 2)


def _between(
    effect: AnovaEffect, cells: _Cells, means: FloatArray, errors: tuple[float, float]
) -> AnovaEffect:
    if len(cells.names) < 2:
        return replace(effect, reason="there is one group")
    residuals = (means - cells.means(means)[cells.index])[:, 0]
    if does_not_vary(np.append(residuals, means.max())) or errors[0] <= 0:
        return replace(effect, reason="the means of the subjects do not vary")
    by_group = [means[cells.index == g, 0] for g in range(len(cells.names))]
    checks = (shapiro_wilk(residuals, "residuals"), brown_forsythe(*by_group))
    squares, df_error = _group_squares(cells, means), len(means) - len(cells.names)
    tested = _tested(effect, (squares, errors[0]), (len(cells.names) - 1, df_error), sum(errors))
    return replace(tested, assumptions=checks)


def _within(
    effect: AnovaEffect, squares: float, data: tuple[_Cells, tuple[float, float]], s: Sphericity
) -> AnovaEffect:
    cells, errors = data
    subjects, sessions = cells.values.shape
    groups = len(cells.names)
    interaction = effect.name != "time"
    if interaction and groups < 2:
        return replace(effect, reason="there is one group")
    df = (sessions - 1) * (groups - 1 if interaction else 1)
    df_error = (sessions - 1) * (subjects - groups)
    tested = _tested(effect, (squares, errors[1]), (df, df_error), sum(errors))
    corrected = [
        float(stats.f.sf(tested.statistic, epsilon * df, epsilon * df_error))
        for epsilon in (s.greenhouse_geisser, min(s.huynh_feldt, 1.0))
    ]
    contrasts = cells.values @ _contrasts(sessions)
    residuals = contrasts - cells.means(contrasts)[cells.index]
    checks: tuple[Assumption, ...] = (shapiro_wilk(residuals.ravel(), "residuals"),)
    if sessions == 2:
        by_group = [contrasts[cells.index == g, 0] for g in range(groups)]
        checks += (brown_forsythe(*by_group),)
    return replace(
        tested,
        p_greenhouse_geisser=corrected[0],
        p_huynh_feldt=corrected[1],
        assumptions=checks,
    )


def _estimated(
    cells: _Cells, group: AnovaEffect, time: AnovaEffect, interaction: AnovaEffect
) -> tuple[AnovaEffect, AnovaEffect, AnovaEffect]:
    """The effects, those of two groups and of two sessions with the difference they look at."""
    groups, sessions = len(cells.names), cells.values.shape[1]
    change = cells.values[:, 1] - cells.values[:, 0]
    first_minus_second = np.array([1.0, -1.0])
    if groups == 2:
        name = "first minus second group, mean over sessions"
        means = cells.values.mean(axis=1)
        group = _with_difference(
            replace(group, estimate_name=name), cells, means, first_minus_second
        )
    if sessions == 2:
        name = "second minus first session, mean over groups"
        share = np.full(groups, 1 / groups)
        time = _with_difference(replace(time, estimate_name=name), cells, change, share)
    if groups == sessions == 2:
        name = "change of the first group minus that of the second"
        interaction = _with_difference(
            replace(interaction, estimate_name=name), cells, change, first_minus_second
        )
    return group, time, interaction


def _with_difference(
    effect: AnovaEffect, cells: _Cells, data: FloatArray, weights: FloatArray
) -> AnovaEffect:
    """The effect with a weighted sum of the groups' means of data, (N,), and its interval."""
    if effect.reason:
        return effect
    means = cells.means(data[:, None])[:, 0]
    df = len(data) - len(means)
    variance = float(((data - means[cells.index]) ** 2).sum()) / df
    error = math.sqrt(variance * float((weights**2 / cells.n).sum()))
    margin, estimate = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * error, float(weights @ means)
    return replace(effect, estimate=estimate, ci_low=estimate - margin, ci_high=estimate + margin)


def _tested(
    effect: AnovaEffect, squares: tuple[float, float], df: tuple[int, int], all_errors: float
) -> AnovaEffect:
    f = squares[0] / df[0] / (squares[1] / df[1])
    low, high = partial_eta2_interval(f, *df)
    return replace(
        effect,
        statistic=f,
        df1=float(df[0]),
        df2=float(df[1]),
        p=float(stats.f.sf(f, *df)),
        effect=squares[0] / sum(squares),
        effect_low=low,
        effect_high=high,
        sum_of_squares=squares[0],
        error_sum_of_squares=squares[1],
        generalised_eta2=squares[0] / (squares[0] + all_errors),
    )


def _sphericity(error: FloatArray, df: int) -> Sphericity:
    r"""Mauchly's test and epsilons of squares and products within groups, (P, P).

    W is det S over the P-th power of its mean eigenvalue; its logarithm times
    :math:`-\rho\, df` is chi-squared, with a term of second order (Anderson 1958, 10.7.4).
    """
    size = len(error)
    if size < 2:
        return Sphericity()
    trace = float(np.trace(error))
    epsilon = trace**2 / (size * float((error**2).sum()))
    rest = df - size * epsilon
    corrected = ((df + 1) * size * epsilon - 2) / (size * rest) if rest > 0 else math.nan
    found = Sphericity(greenhouse_geisser=epsilon, huynh_feldt=corrected)
    if df < size:
        return found
    log_w = float(np.linalg.slogdet(error)[1]) - size * math.log(trace / size)
    rho = 1 - (2 * size**2 + size + 2) / (6 * size * df)
    terms = (size + 2) * (size - 1) * (size - 2) * (2 * size**3 + 6 * size**2 + 3 * size + 2)
    second = terms / (288 * (size * df * rho) ** 2)
    freedom, chi2 = size * (size + 1) / 2 - 1, -df * rho * log_w
    first = float(stats.chi2.sf(chi2, freedom))
    p = first + second * (float(stats.chi2.sf(chi2, freedom + 4)) - first)
    return replace(found, mauchly_w=math.exp(log_w), mauchly_p=p)
