"""Every output name in one table; BEP023 (PET derivatives) is a draft, so a rename is one edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from pipeline.bids.entities import ENTITY_ORDER, FileName, build_name, parse_name
from pipeline.core.errors import DataError

MNI_SPACE = "MNI152NLin2009cAsym"
"""Template space of parametric maps and of regions drawn outside the subject."""

BIDS_VERSION = "1.10.0"

MODEL_LABELS: Mapping[str, str] = {
    "srtm": "SRTM",
    "srtm2": "SRTM2",
    "mrtm1": "MRTM1",
    "mrtm2": "MRTM2",
    "logan": "LoganRef",
    "suvr": "SUVR",
    "suv": "SUV",
    "wapi": "WAPI",
}
"""Model in the settings to the label of its `model` entity; BEP023 where it names the model."""


@dataclass(frozen=True)
class OutputName:
    """Pattern of one kind of output.

    Parameters
    ----------
    folder : str
        Data type folder (``anat``, ``pet``, ``figures``), or empty for the top of the output.
    suffix, extension : str
        Ends of the name.
    fixed : mapping
        Entities every file of this kind has.
    required, optional : tuple of str
        Entities the caller gives, or may give.
    """

    folder: str
    suffix: str
    extension: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def _xfm(source: str, target: str) -> dict[str, str]:
    return {"from": source, "to": target, "mode": "image"}


OUTPUT_NAMES: Mapping[str, OutputName] = {
    # anatomy, keyed by the entities of the T1w
    "t1w_preproc": OutputName("anat", "T1w", ".nii.gz", {"desc": "preproc"}),
    "brain_mask": OutputName("anat", "mask", ".nii.gz", {"desc": "brain"}),
    "probseg": OutputName("anat", "probseg", ".nii.gz", required=("label",)),
    "dseg": OutputName("anat", "dseg", ".nii.gz", required=("desc",)),
    "dseg_tsv": OutputName("anat", "dseg", ".tsv", required=("desc",)),
    "t1w2mni_xfm": OutputName("anat", "xfm", ".nii.gz", _xfm("T1w", MNI_SPACE)),
    "mni2t1w_xfm": OutputName("anat", "xfm", ".nii.gz", _xfm(MNI_SPACE, "T1w")),
    "t1w_acpc": OutputName("anat", "T1w", ".nii.gz", {"space": "ACPC", "desc": "preproc"}),
    "t1w2acpc_xfm": OutputName("anat", "xfm", ".txt", _xfm("T1w", "ACPC")),
    # PET, keyed by the entities of the run
    "petref": OutputName("pet", "petref", ".nii.gz"),
    "pet_preproc": OutputName("pet", "pet", ".nii.gz", {"desc": "preproc"}),
    "confounds": OutputName("pet", "timeseries", ".tsv", {"desc": "confounds"}),
    "motion_xfm": OutputName("pet", "xfm", ".txt", _xfm("orig", "petref")),
    "petref2t1w_xfm": OutputName("pet", "xfm", ".txt", _xfm("petref", "T1w")),
    "regions_dseg": OutputName("pet", "dseg", ".nii.gz", {"space": "petref", "desc": "regions"}),
    "regions_dseg_tsv": OutputName("pet", "dseg", ".tsv", {"space": "petref", "desc": "regions"}),
    "reference_mask": OutputName("pet", "mask", ".nii.gz", {"space": "T1w", "desc": "reference"}),
    "tacs": OutputName("pet", "tacs", ".tsv", required=("desc",), optional=("pvc",)),
    "tac_statistics": OutputName("pet", "stats", ".tsv", required=("desc",)),
    "uptake": OutputName("pet", "stats", ".tsv", {"desc": "uptake"}),
    "morph": OutputName("pet", "morph", ".tsv", required=("desc",), optional=("pvc",)),
    "kinpar": OutputName("pet", "kinpar", ".tsv", required=("model",), optional=("pvc", "desc")),
    "mimap": OutputName(
        "pet", "mimap", ".nii.gz", required=("model", "meas"), optional=("space", "desc")
    ),
    "figure": OutputName("figures", "pet", ".svg", required=("desc",), optional=("model",)),
    "anat_figure": OutputName("figures", "T1w", ".svg", required=("desc",)),
    "report": OutputName("", "", ".html"),
}
"""Kind of output to its pattern; sidecars have the same name and ``.json``."""


def derivative_path(entities: Mapping[str, str], key: str, **extra: str) -> Path:
    """Place of an output below the output folder.

    Parameters
    ----------
    entities : mapping
        `ScanInputs.entities` for PET, `ScanInputs.t1w_entities` for anatomy; short keys.
    key : str
        One of `OUTPUT_NAMES`.
    **extra : str
        Entities this kind of output asks for, such as ``desc="regions"``; ``extension`` and
        ``suffix`` are never given.

    Returns
    -------
    Path
        Relative; in the session's folder if there is a session.

    Raises
    ------
    KeyError
        If there is no such kind of output.
    ValueError
        If entities are missing, superfluous or not labels.

    Examples
    --------
    >>> derivative_path({"sub": "01"}, "mimap", model="SRTM", meas="BPND").as_posix()
    'sub-01/pet/sub-01_model-SRTM_meas-BPND_mimap.nii.gz'
    """
    pattern = OUTPUT_NAMES[key]
    missing = set(pattern.required) - set(extra)
    superfluous = set(extra) - set(pattern.required) - set(pattern.optional)
    if missing or superfluous:
        raise ValueError(f"{key}: missing {sorted(missing)}, not expected {sorted(superfluous)}")
    if key == "report":
        # a page is named by the run alone; BIDS knows no suffix for it
        run = (f"{entity}-{entities[entity]}" for entity in ENTITY_ORDER if entity in entities)
        return Path("_".join(run) + pattern.extension)
    name = build_name({**entities, **pattern.fixed, **extra}, pattern.suffix, pattern.extension)
    folders = [f"{k}-{entities[k]}" for k in ("sub", "ses") if k in entities]
    if pattern.folder == "figures":
        folders = folders[:1]
    return Path(*folders, pattern.folder, str(name))


def sidecar_path(path: Path) -> Path:
    """The JSON file that describes an output, beside it.

    Examples
    --------
    >>> sidecar_path(Path("sub-01_petref.nii.gz")).name
    'sub-01_petref.json'
    """
    name = parse_name(path.name)
    if name is None:
        raise ValueError(f"{path.name} is not a BIDS name")
    return path.with_name(name.stem + ".json")


def parse_derivative(path: Path) -> tuple[str, FileName] | None:
    """Kind and name of an output from its path, or None if it is none of ours.

    Kinds with more fixed entities are tried first, so that a name has one kind only.
    """
    name = parse_name(path.name)
    if name is None:
        return None
    entities = dict(name.entities)
    for key, pattern in sorted(OUTPUT_NAMES.items(), key=lambda item: -len(item[1].fixed)):
        if (
            (name.suffix, name.extension) == (pattern.suffix, pattern.extension)
            and path.parent.name == pattern.folder
            and pattern.fixed.items() <= entities.items()
            and set(pattern.required) <= set(entities)
        ):
            return key, name
    return None


def bids_uri(path: Path, root: Path, dataset: Literal["raw", "curves", ""] = "") -> str:
    """BIDS URI of a file.

    Parameters
    ----------
    path, root : Path
        The file, and the folder of the data set it lies in; both absolute, or `path` relative
        to `root` already.
    dataset : {"raw", "curves", ""}
        Key in ``DatasetLinks``; empty for the output itself.

    Raises
    ------
    DataError
        If the file lies outside the data set.

    Examples
    --------
    >>> bids_uri(Path("sub-01/pet/sub-01_pet.nii.gz"), Path("."), "raw")
    'bids:raw:sub-01/pet/sub-01_pet.nii.gz'
    """
    if path.is_absolute():
        try:
            path = path.relative_to(root.absolute())
        except ValueError as error:
            raise DataError(
                f"{path.name}: lies outside the data set it is said to come from"
            ) from error
    if ".." in path.parts:
        raise DataError(f"{path.as_posix()}: leaves the data set it is said to come from")
    return f"bids:{dataset}:{quote(PurePosixPath(path.as_posix()).as_posix(), safe='/+')}"


def raw_link(bids_dir: Path, out_dir: Path) -> str | None:
    """Way from the output to the raw data for ``DatasetLinks``, or None if it would tell too much.

    Only an output inside the raw data set or beside it gets one; any other path would show how
    this machine is laid out. Side by side at the root are mounts of a container, whatever lies
    beside each other outside.

    Examples
    --------
    >>> raw_link(Path("/data/bids"), Path("/data/bids/derivatives/petbind"))
    '../..'
    """
    bids_dir, out_dir = bids_dir.resolve(), out_dir.resolve()
    if out_dir.is_relative_to(bids_dir) and out_dir != bids_dir:
        return "/".join([".."] * len(out_dir.relative_to(bids_dir).parts))
    if out_dir.parent == bids_dir.parent != Path("/"):
        return quote(f"../{bids_dir.name}", safe="/.")
    return None


def dataset_description(
    version: str,
    raw_description: Mapping[str, Any],
    link: str | None = None,
    key: Literal["raw", "curves"] = "raw",
    tools: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Content of ``dataset_description.json`` of the output.

    Parameters
    ----------
    version : str
        Version of this software.
    raw_description : mapping
        ``dataset_description.json`` of the raw data set, empty if it has none.
    link : str, optional
        Where the raw data are, from `raw_link`; a DOI of theirs is used first.
    key : {"raw", "curves"}
        What BIDS URIs call the data that the output was made from.
    tools : mapping, optional
        Programs by others that take part: name to version, empty where it is not known.

    Returns
    -------
    dict
        ``SourceDatasets`` names the raw data by BIDS URI, DOI and version. ``DatasetLinks``
        resolves the URIs where a DOI or `link` is known; no absolute path is written.
    """
    doi = str(raw_description.get("DatasetDOI") or "").removeprefix("doi:")
    doi = doi.removeprefix("https://doi.org/")
    source = {"URL": f"bids:{key}:"}
    if doi:
        source["DOI"] = doi
    if raw_version := str(raw_description.get("DatasetVersion") or ""):
        source["Version"] = raw_version
    raw_name = str(raw_description.get("Name") or "unnamed data set")
    description: dict[str, Any] = {
        "Name": f"petbind: {raw_name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "petbind",
                "Version": version,
                "Description": "Binding potentials from dynamic PET and MR images",
            },
            *(
                {"Name": name, **({"Version": number} if number else {})}
                for name, number in (tools or {}).items()
            ),
        ],
        "SourceDatasets": [source],
    }
    target = f"https://doi.org/{doi}" if doi else link
    if target is not None:
        description["DatasetLinks"] = {key: target}
    return description
