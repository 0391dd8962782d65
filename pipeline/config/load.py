"""TOML files and `key=value` overrides to validated settings."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config.kinetics import Kinetics
from pipeline.config.plan import told_problem
from pipeline.config.regions import Ellipsoid, MniImage, Regions
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError
from pipeline.imaging.reference import TrimByDistance, TrimByPlanes
from pipeline.kinetics import MODELS
from pipeline.kinetics.contract import is_image_model


def load_settings(config: str | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Defaults, then a file, then overrides.

    Parameters
    ----------
    config : str, optional
        Path of a TOML file, or the name of a study that comes with petbind.
    overrides : iterable of str
        ``section.key=value``; the value is read as TOML, and as text where it is not TOML. A
        single region is added to those that are there.

    Raises
    ------
    ConfigError
        Naming every wrong key at once, with the nearest known name.

    Notes
    -----
    Relative paths in a file count from the folder of that file. A file that starts with
    ``extends = "NAME"`` holds what differs from another.
    """
    content: dict[str, Any] = {}
    source = "settings"
    if config is not None:
        path = find_study(config)
        source = path.name
        content = _read_study(path)
    return _validated(content, overrides, source)


def changed_settings(content: Mapping[str, Any], overrides: Iterable[str]) -> Settings:
    """Settings that were in force before, as JSON holds them, with overrides.

    Raises
    ------
    ConfigError
        Naming every wrong key at once, with the nearest known name.
    """
    return _validated(copy.deepcopy(dict(content)), overrides, "settings")


def _validated(content: dict[str, Any], overrides: Iterable[str], source: str) -> Settings:
    for override in overrides:
        _start_from_defaults(content, override)
        _merge_override(content, override)
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def load_kinetics(models: Iterable[str], weights: str, overrides: Iterable[str]) -> Kinetics:
    """Models by name with single options, for curves without a study.

    Parameters
    ----------
    models : iterable of str
        Names of models.
    weights : str
        Weights of the frames.
    overrides : iterable of str
        ``model.key=value``, as for `load_settings`.

    Raises
    ------
    ConfigError
        If a name or a key is not known, or a model fits images only.
    """
    content: dict[str, Any] = {}
    for override in overrides:
        _merge_override(content, override)
    named = list(models)
    if strangers := sorted(set(content) - set(named)):
        raise ConfigError(f"--set {strangers[0]}...: not among the models ({', '.join(named)})")
    described = [{**content.get(name, {}), "model": name} for name in named]
    try:
        kinetics = Kinetics.model_validate({"models": described, "weights": weights})
    except ValidationError as error:
        raise ConfigError(_explain(error, "models")) from error
    if images := [model.model for model in kinetics.models if is_image_model(model)]:
        raise ConfigError(f"{images[0]} fits images, not curves; use petbind BIDS OUT participant")
    return kinetics


def studies() -> dict[str, Path]:
    """Studies that come with petbind, name to file."""
    installed = Path(str(files("pipeline.config"))) / "studies"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_study(config: str) -> Path:
    """The file behind a path or a study's name.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    path = Path(config)
    if path.is_file():
        return path
    known = studies()
    if config in known:
        return known[config]
    raise ConfigError(
        f"{config}: neither a file nor a study that comes with petbind ({', '.join(known)})"
    )


def _read_study(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Content of a file, on that of the file it extends."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from error
    if "outcome" in content and "tests" in content:
        raise ConfigError(
            f"{path}: this is a plan, as petbind stats takes it; put it under [group.plan], its "
            "tests under [[group.plan.tests]]"
        )
    _count_from(path.parent, content)
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise ConfigError(
            f"{path}: extends: the name of a study or file is expected, not {base!r}"
        )
    beside = path.parent / base
    place = beside if beside.is_file() else find_study(base)
    if place.resolve() in {other.resolve() for other in (path, *extended_by)}:
        raise ConfigError(f"{path}: extends: {place} is extended by this file itself")
    return _merged(_read_study(place, (path, *extended_by)), content)


def _merged(base: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Tables key by key; one that names another backend takes nothing from the base."""
    merged = dict(base)
    for key, value in content.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            backend = below.get("backend")
            merged[key] = (
                _merged(below, value) if value.get("backend", backend) == backend else value
            )
        else:
            merged[key] = value
    return merged


def _count_from(folder: Path, content: dict[str, Any]) -> None:
    """Take relative paths in the content of a file as relative to its folder."""
    named = [(_table(content, "parcellation"), key) for key in ("dseg", "subjects_dir")]
    named += [(_table(content, "anatomy"), "folder")]
    named += [(area, "image") for area in _table(content, "regions", "mni").values()]
    for section, key in named:
        if isinstance(section, dict) and isinstance(section.get(key), str) and section[key]:
            # the shortest way from here, so that no folder of this machine enters the outputs
            section[key] = os.path.relpath(folder / section[key])


def _table(content: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """A table within tables; empty where it is none."""
    section: Any = content
    for part in path:
        section = section.get(part) if isinstance(section, Mapping) else None
    return section if isinstance(section, dict) else {}


def _start_from_defaults(content: dict[str, Any], override: str) -> None:
    """Fill in the default regions where an override sets a single one and no file lists any."""
    parts = override.partition("=")[0].strip().split(".")
    if parts[0] != "regions" or len(parts) < 3 or parts[1] not in ("labels", "mni"):
        return
    section = content.setdefault("regions", {})
    if isinstance(section, dict) and parts[1] not in section:
        section[parts[1]] = Regions().model_dump(include={parts[1]})[parts[1]]
    if parts[3:] and parts[3] in MniImage.model_fields and isinstance(section, dict):
        # an image takes the place of a shape
        area = _table(section, "mni", parts[2])
        for key in Ellipsoid.model_fields:
            area.pop(key, None)


def _merge_override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    section = content
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: '{part}' is a value, not a section")
    section[parts[-1]] = value


def _explain(error: ValidationError, source: str) -> str:
    problems = error.errors(include_url=False)
    lines = [f"{source}: {len(problems)} problem(s)"]
    for problem in problems:
        if problem["loc"][:2] == ("group", "plan") and len(problem["loc"]) > 2:
            inside = {**problem, "loc": problem["loc"][2:]}
            lines.append(f"  group.plan, {told_problem(inside).strip()}")
            continue
        where = ".".join(_written_place(problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "union_tag_invalid":
            told = problem["ctx"]
            where += "." + told["discriminator"].strip("'")
            message = f"'{told['tag']}' is not one of {told['expected_tags']}"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            message = _of_another_backend(problem["loc"])
            message = message or "no such setting" + _nearest(problem["loc"])
        if problem["type"] == "tuple_type":
            message = f"a list is expected, as in [17, 53], not {problem['input']!r}"
        if problem["type"] == "dataclass_type":
            message = f"has options of its own; set them by name, as in {where}.per_min"
        lines.append(f"  {where}: {message}" if where else f"  {message}")
    return "\n".join(lines)


def _written_place(location: tuple[int | str, ...]) -> list[str]:
    """A place in the settings as people write it, without the backend or recipe chosen there."""
    steps = {
        *("anatomy", "normalisation", "parcellation", "motion", "coregistration"),
        "partial_volume",
    }
    backend = len(location) > 2 and location[0] in steps
    recipe = len(location) > 3 and location[:2] == ("regions", "reference")
    left_out = {1} if backend else {2} if recipe else set()
    return [str(part) for i, part in enumerate(location) if i not in left_out]


def _of_another_backend(location: tuple[int | str, ...]) -> str:
    """What to do about an option that other backends of its step have; empty where none has."""
    if len(location) != 3:
        return ""
    step, _, key = location
    others = [name for name, options in _backends(step).items() if key in options.model_fields]
    named = " or ".join(f"'{name}'" for name in others)
    return f"no option of this backend; set {step}.backend = {named} too" if others else ""


def _backends(step: int | str) -> dict[str, type[BaseModel]]:
    """Backends of a step with their sections; none where the step has no backends."""
    field = Settings.model_fields.get(str(step))
    annotation = field.annotation if field else None
    kinds = [kind for kind in get_args(annotation) if "backend" in kind.model_fields]
    return {kind.model_fields["backend"].default: kind for kind in kinds}


RECIPES: Mapping[str, Any] = {rules.recipe: rules for rules in (TrimByPlanes, TrimByDistance)}


def _nearest(location: tuple[int | str, ...]) -> str:
    chosen = _backends(location[0]).get(str(location[1])) if len(location) == 3 else None
    known = list(chosen.model_fields) if chosen else _field_names(Settings, location[:-1])
    match = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(known)}"


def _field_names(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section that a location lies in."""
    section: Any = Settings().model_dump()
    names = list(schema.model_fields)
    for part in path:
        if part in RECIPES:
            section = {}
            names = [option.name for option in dataclasses.fields(RECIPES[str(part)])]
        elif part in MODELS:
            section = {}
            names = [option.name for option in dataclasses.fields(cast(Any, MODELS[str(part)]))]
        elif isinstance(section, Mapping) and part in section:
            section = section[part]
            names = list(section) if isinstance(section, Mapping) else names
    return names
