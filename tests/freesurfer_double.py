"""Test doubles of mri_coreg, mri_robust_template and recon-all: no FreeSurfer is here.

Each writes down the words it was started with, and leaves an answer that the test chose, in the
files FreeSurfer leaves: an LTA of voxels (mri_coreg), LTAs of points (mri_robust_template), the
folder of a subject (recon-all). They register and label nothing.
"""

import json
import shutil
import stat
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

PROGRAMS = ("mri_coreg", "mri_robust_template", "recon-all")
BINARY = {
    "mri_coreg": {"--no-cras0"},
    "mri_robust_template": {"--satit", "--iscale"},
    "recon-all": {"-all", "-parallel"},
}
"""Options of each that take no value."""


class FreeSurferDouble:
    """The doubles in a folder of programs, what they are to answer and what they were told."""

    def __init__(self, folder: Path):
        self.folder = folder
        for program in PROGRAMS:
            tool = folder / program
            tool.write_text(
                f"#!/bin/sh\nexec '{sys.executable}' '{__file__}' '{folder}' {program} \"$@\"\n"
            )
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    def answer(self, **answers):
        """What the programs find: see the functions below."""
        (self.folder / "answers.json").write_text(json.dumps(answers))

    @property
    def calls(self):
        """Words of every start, the program's name first."""
        record = self.folder / "calls.jsonl"
        lines = record.read_text().splitlines() if record.is_file() else []
        return [json.loads(line)["words"] for line in lines]

    @property
    def threads(self):
        """$OMP_NUM_THREADS at every start."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [json.loads(line)["threads"] for line in lines]


def options(words, binary=()):
    """Option to its values, in the order given; what takes no value has none."""
    found, last = {}, None
    for word in words:
        if word in binary:
            found[word], last = [], None
        elif word.startswith("-"):
            last = word
            found.setdefault(word, [])
        else:
            found[last].append(word)
    return found


def lta(kind, matrix, source, destination):
    """An LTA as FreeSurfer 7 writes it; `kind` 0 for voxels, 1 for points."""

    def geometry(path):
        image = nib.load(path)
        sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
        axes = image.affine[:3, :3] / sizes
        middle = image.affine[:3, :3] @ (np.array(image.shape[:3]) / 2) + image.affine[:3, 3]
        rows = [f"{name}ras   = {' '.join(f'{v:.15e}' for v in axis)}"
                for name, axis in zip("xyz", axes.T, strict=True)]  # fmt: skip
        return "\n".join([
            "valid = 1  # volume info valid", f"filename = {path}",
            f"volume = {' '.join(map(str, image.shape[:3]))}",
            f"voxelsize = {' '.join(f'{v:.15e}' for v in sizes)}", *rows,
            f"cras   = {' '.join(f'{v:.15e}' for v in middle)}",
        ])  # fmt: skip

    rows = "\n".join(" ".join(f"{v:.15e}" for v in row) for row in matrix)
    return (
        f"# transform file\n# created by a double\n\ntype      = {kind}\n"
        f"nxforms   = 1\nmean      = 0.0000 0.0000 0.0000\nsigma     = 1.0000\n1 4 4\n{rows}\n"
        f"src volume info\n{geometry(source)}\ndst volume info\n{geometry(destination)}\n"
        "subject unknown\nfscale 0.150000\n"
    )


def mri_coreg(given, voxel2ref):
    """`voxel2ref`: voxels of the moved image to world points of the reference, (4, 4)."""
    (moved,), (reference,), (out,) = given["--mov"], given["--ref"], given["--lta"]
    voxels = np.linalg.inv(nib.load(reference).affine) @ np.array(voxel2ref)
    Path(out).write_text(lta(0, voxels, moved, reference))


def mri_robust_template(given, poses):
    """`poses`: of every image, its world to that of the template, (F, 4, 4)."""
    shutil.copy(given["--mov"][0], given["--template"][0].replace(".mgz", ".nii"))
    for moved, pose, out in zip(given["--mov"], poses, given["--lta"], strict=True):
        Path(out).write_text(lta(1, np.array(pose), moved, given["--mov"][0]))
    first = nib.load(given["--mov"][0])
    nib.save(nib.MGHImage(first.get_fdata(dtype=np.float32), first.affine), given["--template"][0])


def recon_all(given, labels, fails=False):
    """`labels`: an image, whose numbers the finished subject has as its aparc+aseg."""
    (subjects,), (subject,) = given["-sd"], given["-subjid"]
    folder = Path(subjects) / subject
    if "-i" in given and folder.exists():
        sys.exit("ERROR: You are trying to re-run an existing subject with (possibly)")
    if "-i" not in given and not (folder / "mri" / "orig" / "001.mgz").is_file():
        sys.exit("ERROR: no run data found in mri. Make sure to")
    if any((folder / "scripts").glob("IsRunning.*")):
        sys.exit("ERROR: it appears that recon-all is already running")
    for part in ("mri/orig", "scripts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if "-i" in given:
        image = nib.load(given["-i"][0])
        data = image.get_fdata(dtype=np.float32)
        nib.save(nib.MGHImage(data, image.affine), folder / "mri" / "orig" / "001.mgz")
    if fails:
        (folder / "scripts" / "recon-all.error").write_text("CMD mri_em_register\n")
        (folder / "scripts" / "recon-all.done").write_text("1\n")
        sys.exit("ERROR: mri_em_register: could not open file")
    numbers = nib.load(labels)
    data = np.asarray(numbers.dataobj).astype(np.int32)
    nib.save(nib.MGHImage(data, numbers.affine), folder / "mri" / "aparc+aseg.mgz")
    (folder / "scripts" / "recon-all.error").unlink(missing_ok=True)
    (folder / "scripts" / "recon-all.done").write_text(f"SUBJECT {subject}\n")


def _main():
    import os

    folder, program, *words = sys.argv[1:]
    with (Path(folder) / "calls.jsonl").open("a") as record:
        call = {"words": [program, *words], "threads": os.environ.get("OMP_NUM_THREADS")}
        record.write(json.dumps(call) + "\n")
    name = program.replace("-", "_")
    answers = json.loads((Path(folder) / "answers.json").read_text())
    globals()[name](options(words, BINARY[program]), **answers[name])


if __name__ == "__main__":
    _main()
