"""What made the outputs of a session, written beside them, and whether they are still the same."""

from __future__ import annotations

import math
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from nipype.interfaces.base import isdefined

from pipeline import __version__
from pipeline.bids.derivatives import bids_uri
from pipeline.core.errors import DataError
from pipeline.execution.digests import Digests, digest_of
from pipeline.execution.graph import part_of, step_of
from pipeline.execution.record import Record, moved
from pipeline.imaging.greedy import SEED
from pipeline.io.tables import read_json, write_json

_LONGEST_VALUE = 4000
_RAW = "bids:raw:"
_SEEDS = {"picsl-greedy": SEED}
"""Distribution to the seed that its programs are given."""


@dataclass(frozen=True)
class About:
    """What the nodes of a session do not know."""

    label: str
    parts: Collection[str]
    """Names of its anatomy and its own."""
    bids_dir: Path
    out_dir: Path
    files: tuple[Path, ...]
    """Raw data that it is made of."""
    settings: Mapping[str, Any]
    changed: tuple[str, ...] = ()
    """Settings that differ from those of the cohort, ``key=value``."""
    tools: Mapping[str, str] | None = None
    """Programs by others, to their versions."""

    @property
    def path(self) -> Path:
        """Where its provenance stands."""
        return provenance_path(self.out_dir, self.label)


def provenance_path(out_dir: Path, label: str) -> Path:
    """Of a session."""
    return out_dir / "logs" / f"{label}_provenance.json"


def write_provenance(graph: Any, about: About, ran: Collection[str]) -> None:
    """Write what made a session, unless the same is written already and nothing was computed."""
    nodes = [node for node in graph.nodes() if part_of(node) in about.parts]
    records = {node: record for node in nodes if (record := node.record())}
    key = digest_of(
        [
            sorted((node.fullname, record.key) for node, record in records.items()),
            digest_of(_shown(about.settings)),
            list(about.changed),
        ]
    )
    computed = {node.fullname for node in nodes} & set(ran)
    if not computed and _key_written(about.path) == key:
        return
    digests = nodes[0].digests() if nodes else Digests()
    content = {
        "Session": about.label,
        "GraphDigest": key,
        "Software": {"petbind": __version__, "Python": platform.python_version()},
        "Tools": dict(about.tools or {}),
        "SettingsDigest": digest_of(_shown(about.settings)),
        "Settings": _shown(about.settings),
        "SettingsChangedByRerun": list(about.changed),
        "Inputs": dict(_inputs(about, digests)),
        "Nodes": [_node(graph, node, records.get(node), about, computed) for node in nodes],
        "Outputs": {
            name: made
            for node in nodes
            if node in records and hasattr(node.inputs, "targets")
            for name, made in _outputs(graph, node, records[node])
        },
    }
    partial = about.path.with_name(f".{about.path.name}.partial")
    write_json(partial, content).replace(about.path)


def _key_written(path: Path) -> str:
    try:
        return str(read_json(path).get("GraphDigest", ""))
    except DataError:
        return ""


def _inputs(about: About, digests: Digests) -> Iterator[tuple[str, str]]:
    for path in about.files:
        sidecar = path.with_name(path.name.split(".")[0] + ".json")
        for file in (path, sidecar):
            if file.is_file():
                yield _uri(file, about.bids_dir), digests.sha256(file)


def _node(
    graph: Any, node: Any, record: Record | None, about: About, ran: Collection[str]
) -> dict[str, Any]:
    told: dict[str, Any] = {"Part": part_of(node), "Name": step_of(node)}
    if record is None:
        return {**told, "State": "not done"}
    seeds = {name: seed for name, seed in _SEEDS.items() if name in record.libraries}
    return {
        **told,
        "State": "run" if node.fullname in ran else "cache",
        "Interface": record.interface,
        "Digest": record.key,
        "SourcesDigest": record.sources,
        "Libraries": dict(record.libraries),
        **({"Seeds": seeds} if seeds else {}),
        "Inputs": _node_inputs(graph, node, record, about.bids_dir),
        "Seconds": round(record.seconds, 3),
        "PeakMemory_GB": _rounded(record.peak_gb),
        "DeclaredMemory_GB": _rounded(record.declared_gb),
    }


def _node_inputs(graph: Any, node: Any, record: Record, bids_dir: Path) -> dict[str, Any]:
    sources = dict(_connections(graph, node))
    told: dict[str, Any] = {}
    for name, digest in record.inputs.items():
        value = getattr(node.inputs, name, None)
        if name in sources:
            told[name] = {"From": sources[name], "Digest": digest}
        elif isinstance(value, str) and value.startswith("/") and Path(value).is_file():
            told[name] = {"File": _uri(Path(value), bids_dir), "Digest": digest}
        elif name in ("targets", "metadata") or not isdefined(value):
            told[name] = {"Digest": digest}
        else:
            shown = _shown(value)
            short = len(str(shown)) <= _LONGEST_VALUE
            told[name] = {**({"Value": shown} if short else {}), "Digest": digest}
    return told


def _connections(graph: Any, node: Any) -> Iterator[tuple[str, str]]:
    """Inputs of a node, each with the node and output that it comes from."""
    for before, _, data in graph.in_edges(node, data=True):
        for source, port in data["connect"]:
            name = source[0] if isinstance(source, tuple) else source
            yield port, f"{part_of(before)} {step_of(before)}.{name}"


def _outputs(graph: Any, node: Any, record: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    """Outputs that a node published, with what made them."""
    out_dir = node.roots()[-1]
    digests = {
        Path(path).relative_to(out_dir).as_posix(): file.sha256
        for file in record.files
        if Path(path := moved(file.path, record.roots, node.roots())).is_relative_to(out_dir)
    }
    sources = dict(_connections(graph, node))
    for port, targets in node.inputs.targets.items():
        about = node.inputs.metadata.get(port, {})
        for place, target in enumerate([targets] if isinstance(targets, str) else targets):
            said = about[place] if isinstance(about, list) else about
            made = {"GeneratedBy": sources.get(port, step_of(node))}
            if "Sources" in said:
                made["Sources"] = said["Sources"]
            for name in (target, f"{target.split('.')[0]}.json"):
                if name in digests:
                    yield name, {"SHA256": digests[name], **made}


def _uri(path: Path, bids_dir: Path) -> str:
    """A BIDS URI; the bare name of what lies elsewhere."""
    try:
        return bids_uri(path.absolute(), bids_dir.absolute(), "raw")
    except DataError:
        return path.name


def _shown(value: Any) -> Any:
    """A value as JSON holds it, without folders of this machine."""
    if isinstance(value, Enum):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _shown(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith("/")):
        return Path(value).name
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [_shown(item) for item in value]
    return type(value).__name__


def _rounded(value: float) -> float | str:
    return "n/a" if math.isnan(value) else round(value, 3)


@dataclass(frozen=True)
class Altered:
    """A file that is not what a session's provenance says."""

    label: str
    name: str
    """BIDS URI of an input, or path below the outputs."""
    what: str
    """``altered``, ``missing`` or ``not looked at``."""


def verify(out_dir: Path, label: str, bids_dir: Path | None) -> list[Altered]:
    """Read every input and output of a session again, and tell which are not what they were."""
    try:
        content = read_json(provenance_path(out_dir, label))
    except DataError:
        return [Altered(label, provenance_path(Path(), label).as_posix(), "missing")]
    expected = {
        name: (out_dir / name, made["SHA256"]) for name, made in content["Outputs"].items()
    }
    raw = bids_dir or out_dir
    for uri, digest in content["Inputs"].items():
        if uri.startswith(_RAW):
            expected[uri] = (raw / uri.removeprefix(_RAW), digest)
    found = []
    for name, (path, digest) in expected.items():
        if name.startswith(_RAW) and bids_dir is None:
            found.append(Altered(label, name, "not looked at"))
        elif not path.is_file():
            found.append(Altered(label, name, "missing"))
        elif Digests().sha256(path) != digest:
            found.append(Altered(label, name, "altered"))
    return found
