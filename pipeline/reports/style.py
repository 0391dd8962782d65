"""How every figure looks, and how it becomes bytes that do not change from run to run."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec

import matplotlib.style
from matplotlib.figure import Figure

P = ParamSpec("P")
Colour = tuple[float, float, float]

INK = "#1f2933"
MUTED = "#7b8794"
SKY, ORANGE, GREEN, PINK = "#56B4E9", "#E69F00", "#009E73", "#CC79A7"
BLUE, VERMILLION, YELLOW = "#0072B2", "#D55E00", "#F0E442"
CYCLE = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY)
"""Colours that stay apart for colour-blind eyes (Okabe & Ito 2008)."""

UNITS = {
    "BPND": "unitless",
    "DVR": "unitless",
    "SUVR": "unitless",
    "SUV": "g/mL",
    "R1": "unitless",
    "k2": "1/min",
    "k2a": "1/min",
    "k2prime": "1/min",
    "tstar": "min",
    "residual": "Bq/mL",
}
"""Units of the parameters that tables and maps show."""

SYMBOLS = {
    "BPND": r"$BP_\mathrm{ND}$",
    "R1": "$R_1$",
    "k2": "$k_2$",
    "k2a": "$k_\\mathrm{2a}$",
    "k2prime": "$k_2'$",
    "tstar": "$t^*$",
    "residual": "Weighted residual",
}
"""Parameters as axes write them."""

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "petbind",
    "svg.fonttype": "path",
    "image.interpolation": "nearest",
}
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style, whatever the user's own matplotlib settings are."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.style.context(["default", _RC]):
            return draw(*args, **kwargs)

    return drawn


def figure_bytes(figure: Figure, kind: Literal["png", "svg"], dpi: int = 115) -> bytes:
    """The figure as a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _RC]):
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            facecolor=figure.get_facecolor(),
            metadata=_METADATA[kind],
        )
    return buffer.getvalue()


def data_uri(figure: Figure, kind: Literal["png", "svg"], dpi: int = 115) -> str:
    """The figure as the source of an image element, with no file beside the page."""
    return image_uri(figure_bytes(figure, kind, dpi), kind)


def image_uri(content: bytes, kind: Literal["png", "svg"]) -> str:
    """A drawn image as the source of an image element."""
    mime = {"png": "image/png", "svg": "image/svg+xml"}[kind]
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def distinct_colours(count: int) -> list[Colour]:
    """Colours for many labels: golden-angle hues on three lightnesses."""
    return [
        colorsys.hls_to_rgb((0.56 + i * 0.381966) % 1, (0.5, 0.66, 0.4)[i % 3], 0.75)
        for i in range(count)
    ]


def as_hex(colour: Colour) -> str:
    """A colour as HTML writes it.

    Examples
    --------
    >>> as_hex((1.0, 0.0, 0.5))
    '#ff0080'
    """
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)
