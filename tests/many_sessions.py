"""A data set of any number of subjects whose images hold next to nothing."""

import json

import nibabel as nib
import numpy as np

SESSIONS = ("pre", "post")


def make_tree(root, subjects):
    """A data set of tiny images: every subject has one T1w and two PET sessions."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.10.0"}')
    t1w, pet = root / "t1w.nii.gz", root / "pet.nii.gz"
    nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_filename(t1w)
    nib.Nifti1Image(np.ones((4, 4, 4, 3), np.float32), np.eye(4)).to_filename(pet)
    sidecar = {
        "TracerName": "x", "TracerRadionuclide": "C11", "Units": "Bq/mL", "TimeZero": "10:00:00",
        "ScanStart": 0, "InjectionStart": 0, "FrameTimesStart": [0, 60, 120],
        "FrameDuration": [60, 60, 60], "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0,
        "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq", "BodyWeight": 70,
    }  # fmt: skip
    for number in range(subjects):
        name = f"sub-{number:04d}"
        for session in SESSIONS:
            folder = root / name / f"ses-{session}"
            (folder / "pet").mkdir(parents=True)
            stem = f"{name}_ses-{session}"
            (folder / "pet" / f"{stem}_pet.nii.gz").write_bytes(pet.read_bytes())
            (folder / "pet" / f"{stem}_pet.json").write_text(json.dumps(sidecar))
        (root / name / "ses-pre" / "anat").mkdir()
        (root / name / "ses-pre" / "anat" / f"{name}_ses-pre_T1w.nii.gz").write_bytes(
            t1w.read_bytes()
        )
    t1w.unlink()
    pet.unlink()
