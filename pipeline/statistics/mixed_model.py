"""Linear mixed model of repeated sessions; subjects with some of them stay in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.tools.numdiff import approx_fprime, approx_hess3

from pipeline.core.volume import BoolArray, FloatArray
from pipeline.statistics.assumptions import shapiro_wilk
from pipeline.statistics.effect_size import partial_eta2_interval
from pipeline.statistics.paired import two_sided_p
from pipeline.statistics.result import CONFIDENCE, Assumption, TestResult

METHODS = (
    "A linear mixed model with group, time, their interaction and a random intercept of every "
    "subject was fitted by restricted maximum likelihood to all sessions there are; terms were "
    "tested by t and F (type III) with Satterthwaite's degrees of freedom. Effects are partial "
    "eta squared, approximately from F and its degrees of freedom, intervals from the "
    "noncentral F; normality of the residuals was checked by the Shapiro-Wilk test."
)


_ESTIMATES = {
    "group x time": "change of the first group minus that of the last",
    "group": "first group minus the last, mean over sessions",
    "time": "second minus first session, mean over groups",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LongData:
    """One row per subject and session.

    Parameters
    ----------
    outcome : (L,) array
        NaN where missing; the row is then left out.
    subject, group, session : (L,) arrays
        Labels.
    covariates : mapping
        Name to (L,) numbers, the same in all sessions or not.
    """

    outcome: FloatArray
    subject: NDArray[Any]
    group: NDArray[Any]
    session: NDArray[Any]
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)

    def complete(self) -> BoolArray:
        """Rows without missing numbers, (L,)."""
        numbers = [np.asarray(x, float) for x in (self.outcome, *self.covariates.values())]
        return np.asarray(np.isfinite(np.array(numbers)).all(axis=0))


@dataclass(frozen=True, kw_only=True)
class MixedModel:
    """Linear mixed model by restricted maximum likelihood."""

    coefficients: tuple[TestResult, ...]
    """t of every fixed effect but the intercept."""
    interaction: TestResult
    """Of group and time: t of its coefficient, or F of all where there are several."""
    group: TestResult
    """Over sessions, each counted once: t, or F with more than two groups."""
    time: TestResult
    """Over groups, each counted once: t, or F with more than two sessions."""
    covariates: tuple[TestResult, ...]
    """t of the coefficient of every covariate."""
    sd_subject: float = math.nan
    """Standard deviation of the subjects' intercepts, unit of the outcome."""
    sd_residual: float = math.nan


def mixed_model(data: LongData, sessions: tuple[str, ...]) -> MixedModel:
    r"""Fit of outcome ~ group * session + covariates + (1 | subject).

    .. math::
        y_{is} = x_{is}^T \beta + b_i + e_{is}, \qquad
        b_i \sim N(0, \sigma_b^2), \quad e_{is} \sim N(0, \sigma^2)

    Parameters
    ----------
    data : LongData
        Rows of all subjects.
    sessions : tuple of str
        Labels of the sessions that are compared, earliest first: the reference of time.

    Returns
    -------
    MixedModel
        The last group in the order of the alphabet is the reference, so that with two groups
        and sessions the interaction is the change of the first group minus that of the second,
        as in `pipeline.statistics.interaction`. Where the fit fails, figures are NaN and
        `reason` says why.

        The effect of a term is partial eta squared, :math:`F df_1 / (F df_1 + df_2)`: that of the
        mixed analysis of variance where nothing is missing, and an approximation elsewhere.

    Notes
    -----
    As R's ``lmer`` of lmerTest. For a ratio :math:`\gamma = \sigma_b^2 / \sigma^2` of variances,
    taking :math:`1 - (1 + n_i \gamma)^{-1/2}` of a subject's mean from its values makes them
    independent, so that least squares fit the rest; the ratio is that of the largest restricted
    likelihood, on one dimension [1]_. The degrees of freedom of a coefficient c are [2]_

    .. math::
        2 V^2 / (g^T A g), \qquad V = Var(c), \quad g = \partial V / \partial \theta, \quad
        A = Cov(\theta), \quad \theta = (\sigma_b^2, \sigma^2).

    References
    ----------
    .. [1] Laird NM, Ware JH (1982). Biometrics 38:963-974.
    .. [2] Fai AH, Cornelius PL (1996). J Stat Comput Simul 54:363-378.
    """
    keep = data.complete() & np.isin(data.session, sessions)
    design = _Design.of(data, keep, sessions)
    subjects = np.unique(data.subject[keep])
    n = tuple(
        len(np.unique(data.subject[keep & (data.group == group)])) for group in design.groups
    )
    terms = {
        name: TestResult(
            name=f"{name} in a mixed model",
            n=n,
            n_missing=len(np.unique(data.subject)) - len(subjects),
            statistic_name="t",
            estimate_name=_ESTIMATES.get(name, "coefficient"),
            effect_name="partial eta squared",
        )
        for name in ("group x time", "group", "time", *data.covariates)
    }
    obstacle = design.obstacle(len(subjects))
    if not obstacle and len(design.groups) < len(np.unique(data.group)):
        obstacle = "a group has no values"
    if obstacle:
        return _without_figures(terms, obstacle)
    fit = _Fit.of(np.asarray(data.outcome, float)[keep], design.X, data.subject[keep])
    if fit.variance <= 0:
        return _without_figures(terms, "the values do not vary about the model")
    tested = {name: fit.tested(terms[name], rows) for name, rows in design.contrasts.items()}
    single = replace(terms["group"], estimate_name="coefficient")
    rows = np.eye(len(design.names))
    return replace(
        _assembled(tested),
        coefficients=tuple(
            fit.tested(replace(single, name=name), rows[[i]])
            for i, name in enumerate(design.names)
            if i
        ),
        sd_subject=math.sqrt(fit.ratio * fit.variance),
        sd_residual=math.sqrt(fit.variance),
    )


def _without_figures(terms: Mapping[str, TestResult], reason: str) -> MixedModel:
    return _assembled({name: replace(term, reason=reason) for name, term in terms.items()})


def _assembled(terms: Mapping[str, TestResult]) -> MixedModel:
    interaction, group, time, *covariates = terms.values()
    return MixedModel(
        coefficients=(), interaction=interaction, group=group, time=time,
        covariates=tuple(covariates),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Design:
    names: tuple[str, ...]
    X: FloatArray
    groups: tuple[str, ...]
    contrasts: Mapping[str, FloatArray]
    """Term to the combinations of columns that it tests, (K, P)."""

    @classmethod
    def of(cls, data: LongData, keep: BoolArray, sessions: tuple[str, ...]) -> _Design:
        groups = tuple(str(group) for group in np.unique(data.group[keep]))
        columns = {"intercept": np.ones(int(keep.sum()))}
        treated = {g: (data.group[keep] == g).astype(float) for g in groups[:-1]}
        later = {s: (data.session[keep] == s).astype(float) for s in sessions[1:]}
        columns |= treated | later
        columns |= {name: np.asarray(x, float)[keep] for name, x in data.covariates.items()}
        columns |= {f"{g} x {s}": treated[g] * later[s] for g in treated for s in later}
        names = tuple(columns)
        contrasts = _contrasts(names, tuple(treated), tuple(later), tuple(data.covariates))
        return cls(names, np.column_stack(list(columns.values())), groups, contrasts)

    def obstacle(self, subjects: int) -> str:
        """Why the model cannot be fitted; empty where it can."""
        rows, columns = self.X.shape
        if len(self.groups) < 2:
            return "there are not two groups"
        if rows <= columns or subjects >= rows or np.linalg.matrix_rank(self.X) < columns:
            return "there are too few values for the terms of the model"
        return ""


def _contrasts(
    names: tuple[str, ...], treated: tuple[str, ...], later: tuple[str, ...],
    covariates: tuple[str, ...],
) -> dict[str, FloatArray]:  # fmt: skip
    """Type III: every session, and every group, counts once; the references without difference."""
    one = dict(zip(names, np.eye(len(names)), strict=True))

    def rows(found: list[FloatArray]) -> FloatArray:
        return np.array(found).reshape(-1, len(names))

    share_of_session, share_of_group = 1 / (len(later) + 1), 1 / (len(treated) + 1)
    return {
        "group x time": rows([one[f"{g} x {s}"] for g in treated for s in later]),
        "group": rows(
            [one[g] + share_of_session * sum(one[f"{g} x {s}"] for s in later) for g in treated]
        ),
        "time": rows(
            [one[s] + share_of_group * sum(one[f"{g} x {s}"] for g in treated) for s in later]
        ),
        **{name: rows([one[name]]) for name in covariates},
    }


@dataclass(frozen=True, eq=False)
class _Fit:
    """Restricted maximum likelihood of a random intercept."""

    outcome: FloatArray
    X: FloatArray
    subject: NDArray[np.intp]
    ratio: float
    """Variance between subjects over that of the residual."""
    variance: float
    """Of the residual."""

    @classmethod
    def of(cls, outcome: FloatArray, X: FloatArray, labels: NDArray[Any]) -> _Fit:
        subject = np.unique(labels, return_inverse=True)[1]
        fit = cls(outcome, X, subject, 0.0, 0.0)
        spread = float(outcome.var())
        if fit.at(0.0).ssr <= 1e-20 * spread or spread == 0:
            return fit

        def deviance(share: float) -> float:
            return fit.deviance(share / (1 - share))

        # the share of subjects in all variance; a coarse grid first, as there may be two valleys
        grid = np.linspace(0, 0.999, 41)
        at = int(np.argmin([deviance(share) for share in grid]))
        low, high = grid[max(at - 1, 0)], grid[at + 1] if at + 1 < len(grid) else 1 - 1e-9
        found = optimize.minimize_scalar(
            deviance, bounds=(low, high), method="bounded", options={"xatol": 1e-10}
        )
        best = 0.0 if at == 0 and deviance(0.0) <= found.fun else float(found.x)
        ratio = best / (1 - best)
        return replace(fit, ratio=ratio, variance=float(fit.at(ratio).scale))

    def at(self, ratio: float) -> Any:
        """Least squares for a ratio of variances, subjects' means taken off in part."""
        n = np.bincount(self.subject)
        part = (1 - 1 / np.sqrt(1 + n * ratio))[self.subject]

        def independent(column: FloatArray) -> FloatArray:
            means = np.bincount(self.subject, column) / n
            return np.asarray(column - part * means[self.subject])

        X = np.column_stack([independent(column) for column in self.X.T])
        return OLS(independent(self.outcome), X).fit()

    def deviance(self, ratio: float, variance: float | None = None) -> float:
        """Minus twice the restricted log likelihood, without its constant.

        Without a variance of the residual, at its best.
        """
        fit, n = self.at(ratio), np.bincount(self.subject)
        variance = fit.scale if variance is None else variance
        freedom = len(self.outcome) - self.X.shape[1]
        information = -np.linalg.slogdet(fit.normalized_cov_params)[1]
        determinant = np.log1p(n * ratio).sum() + information
        return float(freedom * math.log(variance) + determinant + fit.ssr / variance)

    def covariance(self, between: float, variance: float) -> FloatArray:
        """Of the coefficients, for variances between subjects and of the residual."""
        return np.asarray(variance * self.at(between / variance).normalized_cov_params)

    def df(self, contrast: FloatArray) -> float:
        """Satterthwaite's degrees of freedom of a combination of coefficients."""
        if self.ratio < 1e-6:  # the residual is then all that is estimated
            return float(len(self.outcome) - self.X.shape[1])

        def spread(theta: FloatArray) -> float:
            return float(contrast @ self.covariance(theta[0], theta[1]) @ contrast)

        # in units of the residual's variance, so that steps suit any data
        theta = np.array([self.ratio, 1.0])
        slope = approx_fprime(theta, spread, centered=True)
        return float(2 * spread(theta) ** 2 / (slope @ self._uncertainty @ slope))

    @cached_property
    def _uncertainty(self) -> FloatArray:
        """Covariance of the two variances, in units of the residual's."""

        def deviance(theta: FloatArray) -> float:
            return self.deviance(theta[0] / theta[1], theta[1] * self.variance)

        hessian = approx_hess3(np.array([self.ratio, 1.0]), deviance)
        return np.asarray(2 * np.linalg.inv(hessian))

    @cached_property
    def normality(self) -> Assumption:
        """Of the residuals about the predicted intercept of every subject."""
        residuals = self.outcome - self.X @ self.at(self.ratio).params
        n = np.bincount(self.subject)
        shrunk = self.ratio / (1 + n * self.ratio) * np.bincount(self.subject, residuals)
        return shapiro_wilk(residuals - shrunk[self.subject], "residuals")

    def tested(self, blank: TestResult, chosen: FloatArray) -> TestResult:
        """t of one combination of coefficients, (1, P), or F of several, (K, P)."""
        blank = replace(blank, assumptions=(self.normality,))
        estimates = chosen @ self.at(self.ratio).params
        covariance = chosen @ self.covariance(self.ratio * self.variance, self.variance) @ chosen.T
        if len(chosen) > 1:
            return self._tested_together(blank, chosen, estimates, covariance)
        estimate, error = float(estimates[0]), math.sqrt(float(covariance[0, 0]))
        df = self.df(chosen[0])
        margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * error
        return replace(
            _with_share(blank, (estimate / error) ** 2, 1.0, df),
            statistic=estimate / error,
            df1=df,
            p=two_sided_p(estimate / error, df),
            estimate=estimate,
            ci_low=estimate - margin,
            ci_high=estimate + margin,
        )

    def _tested_together(
        self, blank: TestResult, chosen: FloatArray, estimates: FloatArray, covariance: FloatArray
    ) -> TestResult:
        """F over independent combinations, its denominator after Fai & Cornelius (1996)."""
        spreads, axes = np.linalg.eigh(covariance)
        count = len(estimates)
        f = float(((axes.T @ estimates) ** 2 / spreads).sum() / count)
        each = np.array([self.df(axis @ chosen) for axis in axes.T])
        expected = float((each[each > 2] / (each[each > 2] - 2)).sum())
        df = 2 * expected / (expected - count) if expected > count else math.nan
        return replace(
            _with_share(blank, f, float(count), df),
            statistic_name="F",
            statistic=f,
            df1=float(count),
            df2=df,
            p=float(stats.f.sf(f, count, df)),
            estimate_name="",
        )


def _with_share(test: TestResult, f: float, df_effect: float, df_error: float) -> TestResult:
    """The test with partial eta squared of its F."""
    low, high = partial_eta2_interval(f, df_effect, df_error)
    share = f * df_effect / (f * df_effect + df_error)
    return replace(test, effect=share, effect_low=low, effect_high=high)
