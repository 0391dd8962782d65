"""What is done, what is stale and why, what runs again; who depends on whom is written here."""

import os
import shutil

import pytest

from pipeline.core.errors import ConfigError
from pipeline.execution.graph import executable_graph
from pipeline.execution.locks import BusyError, Locks
from pipeline.execution.rerun import Again, matches, require_known
from pipeline.execution.run import Limits, run_graphs
from pipeline.execution.states import examine, lock_of
from small_graphs import Cohort

ALL = ["a", "b", "c", "d", "e"]
LIMITS = Limits(n_procs=1, mem_gb=1, wait=False)


@pytest.fixture
def cohort(tmp_path):
    """Two sessions, computed."""
    made = Cohort(tmp_path)
    assert run_graphs(made.workflows(), LIMITS).failures == []
    assert made.ran() == [f"{session}.{node}" for session in made.sessions for node in ALL]
    return made


def states(cohort, **numbers):
    """Letter of a node to its state, and the reasons, of the first session."""
    looks = examine(executable_graph(next(iter(cohort.workflows(**numbers))))).values()
    return {look.step: str(look.state) for look in looks}, {
        look.step: look.reason for look in looks
    }


def again(cohort, *names, only=False, **numbers):
    parts = [cohort.sessions[0]]
    run_graphs(cohort.workflows(**numbers), LIMITS, Again(names, parts, only))
    return "".join(name[-1] for name in cohort.ran())


def test_what_is_done_is_not_done_again(cohort):
    outcome = run_graphs(cohort.workflows(), LIMITS)
    assert (outcome.ran, outcome.cached) == ([], 10)
    assert cohort.ran() == []
    assert set(states(cohort)[0].values()) == {"done"}


@pytest.mark.parametrize(
    ("changed", "runs"),
    # d adds b and c; modulo ten, so that 10 more of c is the same result
    [({"a": 1}, "abde"), ({"b": 1}, "bde"), ({"c": 1}, "cde"), ({"d": 1}, "de"), ({"e": 1}, "e"),
     ({"c": 10}, "c"), ({"a": 10}, "a"), ({"a": 1, "b": 9}, "ab")],
)  # fmt: skip
def test_a_changed_setting_runs_what_it_changes(cohort, changed, runs):
    found, reasons = states(cohort, **changed)
    assert all(found[node] == "stale" for node in changed if node in runs[:1])
    assert reasons[runs[0]] == "changed: number"
    run_graphs(cohort.workflows(**changed), LIMITS)
    assert cohort.ran() == [f"{session}.{node}" for session in cohort.sessions for node in runs]


def test_times_and_copies_are_nothing_but_a_byte_is_all(cohort):
    data = cohort.data(cohort.sessions[0])
    data.touch()
    for path in cohort.work.rglob("sum.json"):
        path.touch()
    run_graphs(cohort.workflows(), LIMITS)
    assert cohort.ran() == []

    before = data.stat()
    data.write_text("2")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert data.stat().st_mtime_ns == before.st_mtime_ns
    run_graphs(cohort.workflows(), LIMITS)
    assert cohort.ran() == [f"{cohort.sessions[0]}.{node}" for node in "abde"]


def test_a_copied_study_goes_on_in_its_new_place(cohort, tmp_path):
    new = tmp_path / "elsewhere"
    shutil.copytree(cohort.root, new, ignore=shutil.ignore_patterns("elsewhere"))
    for folder in ("work", "data"):
        shutil.rmtree(cohort.root / folder)
    moved = Cohort(new)
    run_graphs(moved.workflows(), LIMITS)
    assert moved.ran() == []
    # d runs there, on results that lie in the new place only
    assert run_graphs(moved.workflows(d=1), LIMITS).failures == []
    assert {name[-1] for name in moved.ran()} == {"d", "e"}


@pytest.mark.parametrize("damage", ["deleted", "altered", "record cut short", "result cut short"])
def test_what_is_damaged_is_computed_again(cohort, damage):
    folder = cohort.work / "petbind_wf" / f"{cohort.sessions[0]}_wf" / "b"
    name = {"record cut short": "_petbind.json", "result cut short": "result_b.pklz"}
    path = folder / name.get(damage, "sum.json")
    content = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"7" if damage == "altered" else content[: len(content) // 2])
    found, _ = states(cohort)
    assert found["b"] == ("waiting" if damage.startswith("record") else "stale")
    assert found["a"] == "done"
    run_graphs(cohort.workflows(), LIMITS)
    # the same result as ever: nothing else has to run
    assert cohort.ran() == [f"{cohort.sessions[0]}.b"]


def test_another_version_of_the_code_makes_stale(cohort, monkeypatch):
    from pipeline.execution import node
    from pipeline.execution.code import CodeVersion

    monkeypatch.setattr(node, "code_version", lambda _: CodeVersion("new", (("numpy", "9"),)))
    found, reasons = states(cohort)
    assert found["a"] == "stale"
    assert reasons["a"] == "its code changed; numpy absent became 9"


@pytest.mark.parametrize("name", ALL)
def test_a_node_that_gives_the_same_again_changes_nothing(cohort, name):
    assert again(cohort, name) == name


@pytest.mark.parametrize(
    ("name", "runs"), [("a", "abde"), ("b", "bde"), ("c", "cde"), ("d", "de"), ("e", "e")]
)
def test_a_node_with_a_changed_setting_runs_with_what_it_changes(cohort, name, runs):
    assert again(cohort, name, **{name: 1}) == runs
    # nobody asked for the other session
    second = list(cohort.workflows(**{name: 1}))[1]
    assert [str(look.state) for look in examine(executable_graph(second)).values()].count(
        "done"
    ) < 5


def test_only_leaves_the_rest_stale(cohort):
    assert again(cohort, "b", only=True, b=1) == "b"
    assert states(cohort, b=1)[0] == {
        "a": "done",
        "b": "done",
        "c": "done",
        "d": "stale",
        "e": "stale",
    }
    run_graphs(cohort.workflows(b=1), LIMITS, Again(["d"], [cohort.sessions[0]]))
    assert cohort.ran() == [f"{cohort.sessions[0]}.{node}" for node in "de"]


def test_what_a_node_needs_is_made_first_and_the_rest_left(tmp_path):
    made = Cohort(tmp_path, ["sub-01_ses-pre"])
    # d also waits for c, which nobody asked for
    assert again(made, "b") == "ab"
    assert states(made)[0] == {
        "a": "done",
        "b": "done",
        "c": "waiting",
        "d": "waiting",
        "e": "waiting",
    }


def test_a_failure_is_told_and_mended(cohort):
    outcome = run_graphs(cohort.workflows(c=-9), LIMITS)
    assert {(f.part, f.step) for f in outcome.failures} == {(s, "c") for s in cohort.sessions}
    found, reasons = states(cohort, c=-9)
    assert found == {"a": "done", "b": "done", "c": "failed", "d": "stale", "e": "stale"}
    assert reasons["c"].endswith("ValueError: -9 is negative")
    cohort.ran()
    assert run_graphs(cohort.workflows(c=1), LIMITS).failures == []
    assert {name[-1] for name in cohort.ran()} == {"c", "d", "e"}
    assert set(states(cohort, c=1)[0].values()) == {"done"}


def test_a_second_run_says_what_it_would_wait_for(cohort):
    node = next(iter(executable_graph(next(iter(cohort.workflows()))).nodes()))
    locks = Locks()
    locks.take([lock_of(node)], wait=False)
    # nothing to do, nothing to wait for
    run_graphs(cohort.workflows(), LIMITS)
    with pytest.raises(BusyError, match=rf"sub-01_ses-pre: another run.*process {os.getpid()} on"):
        run_graphs(cohort.workflows(a=1), LIMITS)
    locks.free()
    assert run_graphs(cohort.workflows(a=1), LIMITS).failures == []


def test_names_mean_steps_nodes_and_patterns():
    step = "coregistration_wf.coregister"
    for name in ("coregistration", "coregistration_wf", "coregister", step, "core*", "*.coreg*"):
        assert matches(name, step), name
    for name in ("coreg", "page", "regions", "coregister.x"):
        assert not matches(name, step), name
    with pytest.raises(ConfigError, match=r"no node is called corregister; did you mean coreg"):
        require_known(["corregister"], [step, "page"])


def test_times_and_memory_are_measured(cohort):
    looks = examine(executable_graph(next(iter(cohort.workflows())))).values()
    for look in looks:
        assert 0 < look.seconds < 30
        # a Python process with NumPy takes 30 MB at least, and these hold nothing
        assert 0.03 < look.peak_gb < 2
