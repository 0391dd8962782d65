"""Tools by others as they lie on a disk: there or not, old or new."""

import pytest

from pipeline.core.errors import ConfigError
from pipeline.execution.tools import TOOLS, look_for


@pytest.fixture
def bin_dir(tmp_path, monkeypatch):
    """The only folder on the PATH, and no environment of any tool."""
    folder = tmp_path / "fsl" / "share" / "fsl" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(folder))
    for name in ("FREESURFER_HOME", "FSLDIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


def put(bin_dir, tool, script="exit 1"):
    for program in TOOLS[tool].programs:
        path = bin_dir / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.mark.parametrize("tool", [name for name in TOOLS if name != "spm"])
def test_every_program_that_is_missing_is_named(tool, bin_dir):
    put(bin_dir, tool)
    (bin_dir / TOOLS[tool].programs[0]).unlink()
    found = look_for(TOOLS[tool])
    assert found.problem == f"not on the PATH: {TOOLS[tool].programs[0]}"
    assert found.version == ""


# stamps of the releases, the last a build between them
@pytest.mark.parametrize(
    ("stamp", "version", "usable"),
    [
        ("freesurfer-linux-ubuntu22_x86_64-7.4.1-20230614-7eb8460\n", "7.4.1", True),
        ("freesurfer-Linux-centos6_x86_64-stable-pub-v6.0.0-2beb96c", "6.0.0", True),
        ("freesurfer-Linux-centos6_x86_64-stable-pub-v5.3.0", "5.3.0", False),
        ("freesurfer-linux-ubuntu22_x86_64-dev-20240101-abcdef0", "", True),
    ],
)
def test_version_of_freesurfer_is_that_of_its_stamp(stamp, version, usable, bin_dir, monkeypatch):
    put(bin_dir, "freesurfer")
    monkeypatch.setenv("FREESURFER_HOME", str(bin_dir))
    (bin_dir / "build-stamp.txt").write_text(stamp)
    found = look_for(TOOLS["freesurfer"])
    assert (found.version, not found.problem) == (version, usable)
    if not usable:
        assert found.problem == "5.3.0 is too old: 6.0 or later (mri_coreg came with it)"


def test_freesurfer_without_its_environment_is_told_of(bin_dir):
    put(bin_dir, "freesurfer")
    assert "$FREESURFER_HOME is not set" in look_for(TOOLS["freesurfer"]).problem


@pytest.mark.parametrize(
    ("text", "version", "usable"),
    [("6.0.7.4:1f2e3d\n", "6.0.7.4", True), ("6.0.1", "6.0.1", True), ("5.0.11", "5.0.11", False)],
)
def test_version_of_fsl_is_that_of_its_flirt(text, version, usable, bin_dir, monkeypatch):
    put(bin_dir, "fsl")
    home = bin_dir.parents[2]
    (home / "etc").mkdir()
    (home / "etc" / "fslversion").write_text(text)
    assert "$FSLDIR is not set" in look_for(TOOLS["fsl"]).problem
    # another installation than that of the flirt that would run
    other = bin_dir / "another"
    (other / "etc").mkdir(parents=True)
    (other / "etc" / "fslversion").write_text("6.9.9")
    monkeypatch.setenv("FSLDIR", str(other))
    found = look_for(TOOLS["fsl"])
    assert (found.version, not found.problem) == (version, usable)


@pytest.mark.parametrize(
    ("script", "version", "usable"),
    [
        ('test "$1" = -version && echo "Version: 1.2.12"', "1.2.12", True),
        ('echo "Version: 1.0.0"', "1.0.0", False),
        ("echo no such option; exit 1", "", True),
    ],
)
def test_petpvc_is_asked_for_its_version(script, version, usable, bin_dir):
    put(bin_dir, "petpvc", script)
    found = look_for(TOOLS["petpvc"])
    assert (found.version, not found.problem) == (version, usable)


def test_whoever_looks_may_know_how_to_ask():
    assert look_for(TOOLS["spm"], lambda: "r7771 (GNU Octave 7.3.0)").problem == ""
    assert "r5236 (MATLAB) is too old" in look_for(TOOLS["spm"], lambda: "r5236 (MATLAB)").problem

    def no_licence():
        raise ConfigError("no licence")

    assert look_for(TOOLS["spm"], no_licence).problem == "no licence"


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_every_tool_says_where_it_comes_from(tool):
    assert "https://" in tool.install
    assert tool.reason
