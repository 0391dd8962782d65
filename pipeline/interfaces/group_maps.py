"""Nodes of the maps of a cohort: regions and masks, means, comparisons, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline import __version__
from pipeline.bids.group_maps import (
    MEAN_TEXTS,
    Comparison,
    MapDesign,
    MapTable,
    about_design,
    comparison_stem,
    map_uris,
    mean_map_stem,
    statistic_text,
)
from pipeline.core.volume import Volume
from pipeline.io.group_maps import (
    LEAST_SHARE,
    changes,
    common_voxels,
    mean_map,
    regions_in_mni,
    template_mask,
)
from pipeline.io.images import read_grid, read_labels, read_volume, write_volume
from pipeline.io.map_inference import MINIMUM_SUBJECTS, Inference, StatisticMaps, compare_maps
from pipeline.io.tables import read_json, write_json
from pipeline.reports.group_maps import MapRow, mean_map_figure, statistic_map_figure
from pipeline.reports.style import figure_bytes

_PAPER_DPI, _PAGE_DPI = 300, 115


class _MniRegionsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    atlas = File(exists=True, mandatory=True, desc="FreeSurfer-numbered labels, MNI152 space")
    region_labels = traits.Dict(mandatory=True, desc="region to its label numbers")
    mni = traits.List(traits.Any, desc="regions drawn in MNI152 space, `MniRegion`")


class _MniRegionsOutputSpec(TraitedSpec):  # type: ignore[misc]
    regions = File(exists=True, desc="numbers from 1, in the order of the names")
    names = traits.List(traits.Str, desc="of the regions, those of labels first")


class MniRegions(SimpleInterface):  # type: ignore[misc]
    """Label image of the regions in MNI152 space."""

    input_spec, output_spec = _MniRegionsInputSpec, _MniRegionsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        mni = self.inputs.mni if isdefined(self.inputs.mni) else []
        made = regions_in_mni(read_labels(self.inputs.atlas), self.inputs.region_labels, mni)
        path = write_volume(Path(runtime.cwd) / "regions.nii.gz", made.labels, np.int16)
        self._results |= {"regions": str(path), "names": list(made.names)}
        return runtime


class _MapsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    maps = traits.List(File(exists=True), mandatory=True, desc="maps in MNI152 space, one a run")
    participant_ids = traits.List(traits.Str, mandatory=True, desc="of every map")
    sessions = traits.List(traits.Str, mandatory=True, desc="of every map")
    groups = traits.List(traits.Str, mandatory=True, desc="of every map; empty for none")
    design = traits.Instance(MapDesign, mandatory=True, desc="what is averaged and compared")


def _table(inputs: Any) -> MapTable:
    return MapTable(
        tuple(str(path) for path in inputs.maps),
        tuple(inputs.participant_ids),
        tuple(inputs.sessions),
        tuple(inputs.groups),
    )


class _MeanMapsOutputSpec(TraitedSpec):  # type: ignore[misc]
    means = traits.List(File(exists=True), desc="by group and session")
    images = traits.List(File(exists=True), desc="the means, and how many subjects each has")
    sidecars = traits.List(File(exists=True), desc="of the images")
    titles = traits.List(traits.List(traits.Str), desc="group, session and number of every mean")


class MeanMaps(SimpleInterface):  # type: ignore[misc]
    """Mean maps by group and session; what nobody has is left out."""

    input_spec, output_spec = _MapsInputSpec, _MeanMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        design, table, folder = self.inputs.design, _table(self.inputs), Path(runtime.cwd)
        means, images, sidecars, titles = [], [], [], []
        for group in design.parts:
            for session in design.sessions:
                runs = table.runs(group, session)
                if not runs:
                    continue
                made = mean_map(list(runs.values()))
                about = {
                    **about_design(design, (group,), (session,)),
                    "N": len(runs),
                    "Subjects": list(runs),
                    "LeastShareOfSubjects": LEAST_SHARE,
                    "Smoothing": _smoothing(self.inputs.maps, 0.0),
                    "Sources": map_uris([path for paths in runs.values() for path in paths]),
                }
                for desc, volume in (("mean", made.mean), ("n", made.count)):
                    stem = mean_map_stem(design, group, session, desc)
                    units = "1" if desc == "n" else _units(self.inputs.maps)
                    content = {"Description": MEAN_TEXTS[desc], "Units": units, **about}
                    images.append(_written(folder / stem, volume))
                    sidecars.append(_described(folder / stem, content))
                means.append(images[-2])
                titles.append([group, session, str(len(runs))])
        self._results |= {
            "means": means, "images": images, "sidecars": sidecars, "titles": titles,
        }  # fmt: skip
        return runtime


def _written(stem: Path, volume: Volume) -> str:
    return str(write_volume(stem.with_name(stem.name + ".nii.gz"), volume))


def _described(stem: Path, content: Mapping[str, Any]) -> str:
    software = {"SoftwareName": "petbind", "SoftwareVersion": __version__}
    return str(write_json(stem.with_name(stem.name + ".json"), {**content, **software}))


def _sidecar_of(path: str) -> dict[str, Any]:
    """Sidecar of a map, empty if there is none."""
    file = Path(path.removesuffix(".nii.gz") + ".json")
    return read_json(file) if file.exists() else {}


def _units(maps: Sequence[str]) -> str:
    return str(_sidecar_of(str(maps[0])).get("Units", "1"))


def _smoothing(maps: Sequence[str], fwhm_mm: float) -> dict[str, Any]:
    """Gaussians the maps have seen, FWHM in mm."""
    of_frames = _sidecar_of(str(maps[0])).get("SpatialSmoothing_mm", "n/a")
    return {"FramesFWHM_mm": of_frames, "MapsFWHM_mm": fwhm_mm}


class _CompareMapsInputSpec(_MapsInputSpec):
    comparison = traits.Instance(Comparison, mandatory=True, desc="what is tested")
    template = File(exists=True, mandatory=True, desc="skull-stripped, MNI152 space")
    atlas = File(exists=True, mandatory=True, desc="FreeSurfer-numbered labels, MNI152 space")
    mask = traits.Enum("brain", "grey", usedefault=True, desc="where voxels are compared")
    smoothing_fwhm_mm = traits.Float(8.0, usedefault=True, desc="of the maps of the change")
    inference = traits.Instance(Inference, mandatory=True, desc="how family-wise errors are held")


class _CompareMapsOutputSpec(TraitedSpec):  # type: ignore[misc]
    images = traits.List(File(exists=True), desc="statistic maps; none if too few subjects")
    sidecars = traits.List(File(exists=True), desc="of the images")
    t_map = traits.List(File(exists=True), desc="the map of t, if there is one")
    thresholded = traits.List(File(exists=True), desc="that with a threshold, if there is one")
    facts = traits.Dict(desc="subjects, voxels, what was found, or why there is no map")


class CompareMaps(SimpleInterface):  # type: ignore[misc]
    """Voxelwise test of the change, in a group or between two."""

    input_spec, output_spec = _CompareMapsInputSpec, _CompareMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        self._results |= {key: [] for key in ("images", "sidecars", "t_map", "thresholded")}
        pairs = {
            group: _table(inputs).pairs(group, inputs.design.compared)
            for group in inputs.comparison.groups
        }
        facts = {
            "Kind": inputs.comparison.kind,
            "Groups": [group for group in pairs if group],
            "N": [len(subjects) for subjects, *_ in pairs.values()],
            "Reason": _too_few(pairs),
        }
        if not facts["Reason"]:
            facts |= self._compare(list(pairs.values()), Path(runtime.cwd), facts)
        self._results["facts"] = facts
        return runtime

    def _compare(self, pairs: list[Any], folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the maps; what else is to be told."""
        inputs = self.inputs
        where = template_mask(
            read_volume(inputs.template),
            read_labels(inputs.atlas),
            read_grid(pairs[0][1][0][0]),
            inputs.mask,
        )
        fwhm_mm = inputs.smoothing_fwhm_mm
        samples = [changes(first, second, where, fwhm_mm) for _, first, second in pairs]
        mask = common_voxels(where, *samples)
        n_voxels = int(mask.data.sum())
        if n_voxels == 0:
            return {"Reason": "no voxel of the mask has a value in every subject"}
        kept = mask.data[where.data]
        first, *others = (sample[:, kept] for sample in samples)
        made = compare_maps(first, others[0] if others else None, mask, inputs.inference)
        told = _found(made, n_voxels, mask)
        said = {**facts, **told, **self._said(pairs)}
        del said["Reason"]
        self._write(made, folder, said)
        return told

    def _said(self, pairs: list[Any]) -> dict[str, Any]:
        """What sidecars say of the settings and sources."""
        inputs = self.inputs
        permuted = inputs.inference.method != "none"
        options = asdict(inputs.inference) if permuted else {"method": "none"}
        if inputs.inference.method != "mass":
            options.pop("cluster_p", None)
        return {
            **about_design(inputs.design, inputs.comparison.groups, inputs.design.compared),
            "Subjects": [subjects for subjects, *_ in pairs],
            "Mask": inputs.mask,
            "Smoothing": _smoothing(inputs.maps, inputs.smoothing_fwhm_mm),
            **{_OPTION_NAMES[key]: value for key, value in options.items()},
            "Sources": map_uris(
                [path for _, *both in pairs for runs in both for paths in runs for path in paths]
            ),
        }

    def _write(self, made: StatisticMaps, folder: Path, said: dict[str, Any]) -> None:
        kind, units = self.inputs.comparison.kind, _units(self.inputs.maps)
        images: list[str] = []
        sidecars: list[str] = []
        volumes = {
            ("effect", ""): (made.effect, units),
            ("t", ""): (made.t, "1"),
            ("z", ""): (made.z, "1"),
            ("logp", ""): (made.logp, "1"),
            ("t", "thresh"): (made.thresholded, "1"),
        }
        for (stat, desc), (volume, unit) in volumes.items():
            if volume is None:
                continue
            stem = folder / comparison_stem(self.inputs.design, self.inputs.comparison, stat, desc)
            text = statistic_text(kind, desc or stat)
            content = {"Description": text, "Units": unit, **said}
            images.append(_written(stem, volume))
            sidecars.append(_described(stem, content))
            if stat == "t":
                self._results["thresholded" if desc else "t_map"] = images[-1:]
        self._results |= {"images": images, "sidecars": sidecars}


_OPTION_NAMES = {
    "method": "Inference",
    "n_permutations": "Permutations",
    "cluster_p": "ClusterFormingP",
    "alpha": "Alpha",
    "seed": "Seed",
}


def _too_few(pairs: Mapping[str, Any]) -> str:
    """Why groups cannot be compared, empty if they can."""
    small = [
        f"{group or 'all subjects'}: {len(subjects)} with maps of both sessions"
        for group, (subjects, *_) in pairs.items()
        if len(subjects) < MINIMUM_SUBJECTS
    ]
    return f"at least {MINIMUM_SUBJECTS} are needed; {'; '.join(small)}" if small else ""


def _found(made: StatisticMaps, n_voxels: int, mask: Volume) -> dict[str, Any]:
    t = made.t.data
    voxel_ml = mask.voxel_volume_mm3 / 1000
    found: dict[str, Any] = {
        "DegreesOfFreedom": made.degrees_of_freedom,
        "MaskVoxels": n_voxels,
        "MaskVolume_mL": round(n_voxels * voxel_ml, 3),
        "LargestT": float(np.nanmax(t)),
        "SmallestT": float(np.nanmin(t)),
    }
    if made.logp is not None:
        found |= {
            "SmallestPossibleP": made.smallest_p,
            "SmallestP": float(10 ** -np.nanmax(made.logp.data)),
            "SignificantVolume_mL": round(made.significant_voxels * voxel_ml, 3),
        }
    return found


class _DrawMeanMapsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    means = traits.List(File(exists=True), mandatory=True, desc="mean maps, a row each")
    titles = traits.List(
        traits.List(traits.Str), mandatory=True, desc="group, session and number of every mean"
    )
    template = File(exists=True, mandatory=True, desc="skull-stripped, MNI152 space")
    regions = File(exists=True, mandatory=True, desc="label image, MNI152 space")
    names = traits.List(traits.Str, mandatory=True, desc="of the regions, from number 1 on")
    symbol = traits.Str("BPND", usedefault=True, desc="parameter shown")


class _FigureOutputSpec(TraitedSpec):  # type: ignore[misc]
    svg = File(exists=True, desc="for papers")
    png = File(exists=True, desc="for slides")
    page_png = File(exists=True, desc="for the page")


class DrawMeanMaps(SimpleInterface):  # type: ignore[misc]
    """Mean maps by group and session, with the regions marked."""

    input_spec, output_spec = _DrawMeanMapsInputSpec, _FigureOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        rows = [
            MapRow(tuple(line for line in (group, session, f"n = {n}") if line), read_volume(path))
            for path, (group, session, n) in zip(inputs.means, inputs.titles, strict=True)
        ]
        names = dict(enumerate(inputs.names, start=1))
        figure = mean_map_figure(
            inputs.symbol, rows, read_volume(inputs.template), read_labels(inputs.regions), names
        )
        self._results |= _drawn(
            figure, Path(runtime.cwd), f"group_desc-{inputs.symbol}maps_figure"
        )
        return runtime


def _drawn(figure: Any, folder: Path, stem: str) -> dict[str, str]:
    made = {}
    for port, kind, name, dpi in (
        ("svg", "svg", f"{stem}.svg", _PAPER_DPI),
        ("png", "png", f"{stem}.png", _PAPER_DPI),
        ("page_png", "png", f"{stem}_page.png", _PAGE_DPI),
    ):
        path = folder / name
        path.write_bytes(figure_bytes(figure, "svg" if kind == "svg" else "png", dpi=dpi))
        made[port] = str(path)
    return made


class _DrawStatisticMapsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t_maps = traits.List(File(exists=True), mandatory=True, desc="of comparisons that were made")
    thresholded = traits.List(File(exists=True), mandatory=True, desc="the same; or none of all")
    facts = traits.List(traits.Dict, mandatory=True, desc="of every comparison, made or not")
    template = File(exists=True, mandatory=True, desc="skull-stripped, MNI152 space")
    regions = File(exists=True, mandatory=True, desc="label image, MNI152 space")
    names = traits.List(traits.Str, mandatory=True, desc="of the regions, from number 1 on")


class _StatisticFigureOutputSpec(TraitedSpec):  # type: ignore[misc]
    svg = traits.List(File(exists=True), desc="for papers; none without a comparison")
    png = traits.List(File(exists=True), desc="for slides")
    page_png = traits.List(File(exists=True), desc="for the page")


class DrawStatisticMaps(SimpleInterface):  # type: ignore[misc]
    """Maps of t, a row per comparison, with what passes outlined."""

    input_spec, output_spec = _DrawStatisticMapsInputSpec, _StatisticFigureOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        done = [facts for facts in inputs.facts if not facts["Reason"]]
        passed = [*inputs.thresholded] or [None] * len(done)
        rows = [
            MapRow(
                _comparison_title(facts),
                read_volume(t),
                None if thresholded is None else _passed(read_volume(thresholded)),
            )
            for facts, t, thresholded in zip(done, inputs.t_maps, passed, strict=True)
        ]
        made: dict[str, str] = {}
        if rows:
            names = dict(enumerate(inputs.names, start=1))
            figure = statistic_map_figure(
                rows, read_volume(inputs.template), read_labels(inputs.regions), names
            )
            made = _drawn(figure, Path(runtime.cwd), "group_desc-tmaps_figure")
        self._results |= {p: [made[p]] if made else [] for p in ("svg", "png", "page_png")}
        return runtime


def _passed(thresholded: Volume) -> Volume:
    return thresholded.with_data((np.abs(thresholded.data) > 0).astype(np.float32))


def _comparison_title(facts: Mapping[str, Any]) -> tuple[str, ...]:
    groups, numbers = facts["Groups"], "n = " + " + ".join(map(str, facts["N"]))
    if facts["Kind"] == "paired":
        return (*groups, "change", numbers)
    return (groups[0], f"− {groups[1]}", "change", numbers)
