"""Small PET-BIDS data sets, made of zeros, with any one thing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

SIDECAR = {
    "Units": "Bq/mL",
    "TracerName": "AZ10419369",
    "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 400,
    "InjectedRadioactivityUnits": "MBq",
    "TimeZero": "10:00:00",
    "ScanStart": 0,
    "InjectionStart": 0,
    "FrameTimesStart": [0, 10, 30],
    "FrameDuration": [10, 20, 60],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}


class PetTree:
    """Builder of a data set; keys given as None are left out of the sidecar."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.write("dataset_description.json", {"Name": "tiny", "BIDSVersion": "1.10.0"})

    def write(self, path: str, content: Any) -> Path:
        """Write text, or JSON of anything else."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        target.write_text(text, encoding="utf-8")
        return target

    def image(self, path: str, shape: tuple[int, ...], affine: np.ndarray | None = None) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        grid = np.eye(4) if affine is None else affine
        nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), grid), target)
        return target

    def pet(self, name: str = "sub-01", n_frames: int = 3, **keys: Any) -> Path:
        """Add a run such as ``sub-01_ses-pre_trc-AZ``; returns the image."""
        stem = f"{self._folder(name, 'pet')}/{name}_pet"
        sidecar = {key: value for key, value in (SIDECAR | keys).items() if value is not None}
        self.write(f"{stem}.json", sidecar)
        return self.image(f"{stem}.nii.gz", (2, 2, 2, n_frames))

    def t1w(self, name: str = "sub-01", shape: tuple[int, ...] = (2, 2, 2)) -> Path:
        """Add a T1w such as ``sub-01_ses-pre_acq-mprage``; returns the image."""
        return self.image(f"{self._folder(name, 'anat')}/{name}_T1w.nii.gz", shape)

    @staticmethod
    def _folder(name: str, datatype: str) -> str:
        places = [part for part in name.split("_") if part[:4] in {"sub-", "ses-"}]
        return "/".join([*places, datatype])


@pytest.fixture
def tree(tmp_path: Path) -> PetTree:
    """A data set with a description and nothing else."""
    return PetTree(tmp_path / "bids")
