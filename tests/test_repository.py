"""The house itself: where packages lie, who may import whom, that every study file loads."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import pipeline
import workflows

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted((ROOT / "configs").glob("*.toml"))

ROOMS = {
    "bids", "cli", "config", "core", "execution", "imaging", "interfaces", "io", "kinetics",
    "reports", "simulation", "statistics",
}  # fmt: skip


@pytest.mark.parametrize("package", [pipeline, workflows], ids=lambda package: package.__name__)
def test_packages_are_those_of_this_repository(package):
    # Both names are common; another distribution of that name must not stand in front.
    assert Path(package.__file__).resolve().parent.parent == ROOT


def test_pipeline_has_exactly_the_rooms_of_the_plan():
    found = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert found == ROOMS


def test_no_module_is_named_after_nothing():
    homeless = {"utils", "util", "helpers", "helper", "misc", "common"}
    modules = [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("workflows/**/*.py")]
    assert not [path for path in modules if path.stem in homeless]


def test_every_module_says_what_it_is_responsible_for():
    modules = [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("workflows/**/*.py")]
    silent = [path for path in modules if not path.read_text("utf-8").startswith('"""')]
    assert modules
    assert not silent


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, pipeline; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert not {"numpy", "nibabel", "nipype", "pandas"} & set(run.stdout.split())


def test_imports_point_downwards():
    program = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("import-linter is not installed beside this Python")
    run = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_every_backend_is_held_apart_from_the_others():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (independent,) = (c["modules"] for c in contracts if c["type"] == "independence")
    steps = [path.parent for path in (ROOT / "workflows").glob("*/contract.py")]
    backends = {
        path.stem for step in steps for path in step.glob("[!_]*.py") if path.stem != "contract"
    }
    assert {f"workflows.*.{backend}" for backend in backends} == set(independent)


def test_version_is_written_once():
    assert version("petbind") == pipeline.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## {pipeline.__version__}" in changelog
    assert f"\nversion: {pipeline.__version__}\n" in citation


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_file_pins_with_hashes_and_names_no_place(name):
    text = (ROOT / name).read_text("utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    pins = [line for line in entries if line and not line.startswith("#")]
    assert pins
    assert all("==" in line and "--hash=sha256:" in line for line in pins)
    assert not [word for word in ("://", "--index", "--find-links", " @ ") if word in text]


def test_lock_file_covers_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, wanted in (
        ("requirements.lock", [*project["dependencies"], *extras["build"]]),
        ("requirements-dev.lock", [*project["dependencies"], *extras["build"], *extras["dev"]]),
    ):
        pinned = {
            line.split("==")[0] for line in (ROOT / name).read_text("utf-8").splitlines()
            if "==" in line
        }  # fmt: skip
        names = {requirement.split(">")[0] for requirement in wanted}
        assert names <= pinned
        assert all("<" in requirement for requirement in wanted)


@pytest.mark.skipif(
    importlib.util.find_spec("pipeline.config.load") is None, reason="no loader of settings"
)
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_in_configs_loads(path):
    from pipeline.config.load import load_settings

    assert load_settings(path)
    assert load_settings(path.stem) == load_settings(path)
