"""Binding potentials of a trial drawn from means, spreads and correlations, without images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialGroup:
    """A group of a trial, its regions R and sessions M.

    Parameters
    ----------
    n : int
        Subjects.
    means : (R, M) array
        Mean BPND, unitless.
    sds : (R, M) array
        Standard deviation of BPND between subjects, unitless.
    correlation : (R,) array
        Correlation of any two sessions within subjects, 0 to 1.

    Raises
    ------
    ValueError
        If the shapes differ, a size or spread is negative, or a correlation is out of its range.
    """

    n: int
    means: FloatArray
    sds: FloatArray
    correlation: FloatArray

    def __post_init__(self) -> None:
        shape = self.means.shape
        if self.means.ndim != 2 or self.sds.shape != shape or self.correlation.shape != shape[:1]:
            raise ValueError(
                "means and SDs of regions by sessions, and a correlation per region, expected, "
                f"not {shape}, {self.sds.shape} and {self.correlation.shape}"
            )
        if self.n < 0 or not (self.sds >= 0).all():
            raise ValueError("numbers of subjects and standard deviations are not negative")
        if not ((self.correlation >= 0) & (self.correlation <= 1)).all():
            raise ValueError("correlations within subjects lie between 0 and 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Drawn binding potentials."""

    groups: tuple[str, ...]
    group: NDArray[np.intp]
    """(N,) number of every subject's group."""
    bpnd: FloatArray
    """(N, R, M) of subjects, regions and sessions."""

    def of(self, group: str, region: int) -> FloatArray:
        """Binding potentials of a group in one region, (n, M)."""
        return np.asarray(self.bpnd[self.group == self.groups.index(group), region])


def draw_trial(
    rng: np.random.Generator,
    groups: Mapping[str, TrialGroup],
    *,
    region_correlation: float = 0.8,
) -> Trial:
    r"""A trial of normal binding potentials.

    .. math::
        x_{irs} = \mu_{rs} + \sigma_{rs}
        \left(\sqrt{\rho_r}\, u_{ir} + \sqrt{1 - \rho_r}\, v_{irs}\right)

    with standard normal u of the subject and v of the visit, each correlated between regions.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    groups : mapping
        Name to `TrialGroup`, all with the same regions and sessions.
    region_correlation : float
        Correlation of any two regions, of subjects and of visits alike.

    Returns
    -------
    Trial
        Subjects, group after group.

    Notes
    -----
    Values are normal, so a small mean with a wide spread may come out negative.
    """
    drawn = [_draw_group(rng, group, region_correlation) for group in groups.values()]
    return Trial(
        groups=tuple(groups),
        group=np.repeat(np.arange(len(groups)), [group.n for group in groups.values()]),
        bpnd=np.concatenate(drawn),
    )


def _draw_group(rng: np.random.Generator, group: TrialGroup, between: float) -> FloatArray:
    regions, sessions = group.means.shape

    def correlated(*shape: int) -> FloatArray:
        common = rng.standard_normal((shape[0], 1, *shape[2:]))
        own = rng.standard_normal(shape)
        return np.asarray(np.sqrt(between) * common + np.sqrt(1 - between) * own)

    rho = group.correlation[:, None]
    person = correlated(group.n, regions, 1)
    visit = correlated(group.n, regions, sessions)
    deviates = np.sqrt(rho) * person + np.sqrt(1 - rho) * visit
    return np.asarray(group.means + group.sds * deviates)


TIGER2020_REGIONS = ("ACC", "DBS", "HIP", "VST")
_BASELINE = (1.22, 1.31, 0.46, 1.98)
_CHANGE = (0.12, 0.04, 0.08, 0.11)
_SD_OF_CHANGE = (0.306, 0.283, 0.158, 0.423)
_CORRELATION = (0.61, 0.80, 0.70, 0.66)


def tiger2020_groups(*, effect: bool = True) -> dict[str, TrialGroup]:
    r"""Twenty patients on ketamine and ten on placebo, as in Table 2 of Tiger et al. (2020).

    Parameters
    ----------
    effect : bool
        Whether ketamine changes binding by the printed differences; placebo never does.

    Notes
    -----
    Means, SDs of the change and correlations of the two sessions are those that the printed
    figures of the ketamine group imply. The SD between subjects follows from the last two,
    :math:`\sigma = \sigma_\Delta / \sqrt{2 (1 - \rho)}`, the same in both sessions. The placebo
    group is in the paper's supplement alone: here it starts as the other does, and stays.
    """
    correlation = np.array(_CORRELATION)
    sd = np.array(_SD_OF_CHANGE) / np.sqrt(2 * (1 - correlation))
    before = np.array(_BASELINE)
    placebo = TrialGroup(
        n=10,
        means=np.column_stack([before, before]),
        sds=np.column_stack([sd, sd]),
        correlation=correlation,
    )
    after = before + np.array(_CHANGE) if effect else before
    ketamine = replace(placebo, n=20, means=np.column_stack([before, after]))
    return {"ketamine": ketamine, "placebo": placebo}
