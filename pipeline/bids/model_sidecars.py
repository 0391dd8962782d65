"""What sidecars and pages say of kinetic models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pipeline.bids.derivatives import MODEL_LABELS
from pipeline.kinetics.contract import RESIDUAL, Flag, flag_text, is_image_model
from pipeline.kinetics.goodness import GOODNESS

MODEL_METHODS = {
    "srtm": "The simplified reference tissue model (Lammertsma & Hume 1996) was fitted by its "
    "full nonlinear optimum (variable projection).",
    "srtm2": "The simplified reference tissue model with one k2' for the scan (Wu & Carson 2002) "
    "was fitted by its full nonlinear optimum.",
    "mrtm1": "The multilinear reference tissue model with three parameters (Ichise et al. 2003) "
    "was fitted by weighted least squares.",
    "mrtm2": "The multilinear reference tissue model with one k2' for the scan (Ichise et al. "
    "2003) was fitted by weighted least squares.",
    "logan": "Distribution volume ratios are from the reference Logan plot (Logan et al. 1996).",
    "suvr": "SUVR is the ratio of mean uptake to the reference region within the stated window.",
    "suv": "SUV is mean uptake within the stated window by injected activity per body weight.",
    "wapi": "Wavelet-aided parametric images (Cselényi et al. 2002) are multilinear reference "
    "Logan fits of wavelet coefficients; regional values are means of the maps.",
}
"""Model to what is said of it."""
_WEIGHTS_METHODS = {
    "counts": "Frames were weighted by the inverse variance of the decay-corrected count model.",
    "uniform": "All frames had the same weight.",
    "duration": "Frames were weighted by their duration.",
}


_FLAG_MEANINGS = {
    Flag.FAILED: "No estimate",
    Flag.NONFINITE_INPUT: "A frame with weight has no value",
    Flag.FEW_FRAMES: "Fewer than five frames with weight",
    Flag.AT_BOUND: "The optimum lies on a bound of the search",
    Flag.SINGULAR: "The curve does not determine every parameter",
    Flag.IMPLAUSIBLE: "A rate or R1 is not positive",
    Flag.IMPRECISE: "The standard error of BPND exceeds the stated share",
    Flag.NO_K2PRIME: "k2prime is not finite",
}


def weights_methods(weights: str) -> str:
    """What is said of the weights of frames."""
    by_number = f"Frames were weighted as kinfitr's method {weights.rpartition('-')[2]} does."
    return _WEIGHTS_METHODS.get(weights, by_number)


def model_metadata(model: Any, reference: str, weights: str) -> dict[str, Any]:
    """What shaped a fit, in the words of BEP023."""
    options = dict(_options(asdict(model)))
    del options["model"]
    return {
        "ModelName": MODEL_LABELS[model.model],
        "ReferenceRegion": reference,
        "BloodType": "none",
        "AdditionalModelDetails": MODEL_METHODS[model.model],
        "InputLabels": list(options),
        "InputValues": list(options.values()),
        "Weights": weights_methods(weights),
    }


def _options(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options of a model that have a value; those of its parts with a dot."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _options(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            yield f"{prefix}{key}", value


def parameter_columns(model: Any) -> dict[str, Any]:
    """Columns of the table of a fit."""
    columns: dict[str, Any] = {
        "index": {"Description": "Number of the region in this table"},
        "name": {"Description": "Region"},
    }
    for parameter in model.parameters:
        symbol = parameter.symbol
        columns[symbol] = {"Description": parameter.meaning, "Units": parameter.unit}
        if not is_image_model(model):
            columns[f"{symbol}-se"] = {"Description": f"Standard error of {symbol}", "Units": "%"}
    for figure in () if is_image_model(model) else GOODNESS:
        columns[figure.symbol] = {"Description": figure.meaning, "Units": figure.unit}
    columns["flag"] = {
        "Description": "What to know about the fit, several joined by commas; failed fits have no "
        "estimate",
        "Levels": {flag_text(flag): _FLAG_MEANINGS[flag] for flag in Flag},
    }
    return columns


def flags_metadata() -> dict[str, Any]:
    """What an image of flags holds."""
    return {
        "Description": "Sum of the numbers of the flags raised in the voxel; 0 raises none",
        "Levels": {str(flag.value): flag_text(flag) for flag in Flag},
    }


def map_metadata(model: Any, symbol: str) -> dict[str, Any]:
    """What a map holds."""
    if symbol == RESIDUAL:
        return {
            "Description": "Weighted root mean square of the residuals, the same for every model",
            "Units": "Bq/mL",
        }
    parameter = next(p for p in model.parameters if p.symbol == symbol)
    return {"Description": parameter.meaning, "Units": parameter.unit}
