"""What SLURM is asked and how its answers are taken; with a double of its clients."""

import pytest

from cheap_nodes import sessions
from pipeline.config.cluster import SlurmOptions, load_slurm_options
from pipeline.core.errors import ConfigError, ToolError
from pipeline.execution import slurm_client
from pipeline.execution.run import Limits, run_graph, run_graphs
from pipeline.execution.slurm_client import (
    JobState,
    NoAnswer,
    client_environment,
    ending,
    list_jobs,
    ran_out_of_memory,
    submit_job,
)
from slurm_double import INVALID_PARTITION, TIMED_OUT, UNREACHABLE, Double
from small_graphs import Cohort

RECORDED = """\
4|CANCELLED|None|(null)
12_3|OUT_OF_MEMORY|OutOfMemory|cohort.sub-01_wf.first 2
13|PENDING|DependencyNeverSatisfied|(null)
14|PENDING|launch failed requeued held|(null)
15|RUNNING|None|cohort.sub-02_wf.first 3"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_client.time, "sleep", lambda _: None)
    return Double(tmp_path / "bin", monkeypatch)


def test_jobs_are_read_with_their_reasons(slurm):
    slurm.answer(squeue=RECORDED)
    jobs = list_jobs("petbind-1")
    assert list(jobs) == ["4", "12_3", "13", "14", "15"]
    assert [job for job, state in jobs.items() if state.is_live] == ["15"]
    assert [job for job, state in jobs.items() if state.has_ended] == ["4", "12_3"]
    assert str(jobs["12_3"]) == "OUT_OF_MEMORY (OutOfMemory)"
    assert jobs["12_3"].comment == "cohort.sub-01_wf.first 2"
    assert str(jobs["4"]) == "CANCELLED"


def test_a_squeue_that_fails_is_no_answer_whatever_the_reason(slurm):
    for said in (UNREACHABLE, "slurm_load_jobs error: Invalid user id"):
        slurm.answer(squeue=said)
        with pytest.raises(NoAnswer, match=said.partition("error: ")[2][:12]):
            list_jobs("petbind-1")


def test_a_refusal_is_told_once_and_not_repeated(slurm):
    slurm.answer(sbatch=INVALID_PARTITION)
    with pytest.raises(ToolError, match="invalid partition specified: nope"):
        submit_job(["job.sh"], "petbind-1", "node 1", patience_s=60)
    assert len(slurm.asked("sbatch")) == 1


def test_silence_is_met_with_patience(slurm):
    slurm.answer(sbatch=[TIMED_OUT, TIMED_OUT, "17;cluster"], squeue="")
    assert submit_job(["job.sh"], "petbind-1", "node 1", patience_s=60) == "17"
    slurm.answer(sbatch=TIMED_OUT)
    with pytest.raises(NoAnswer, match="Socket timed out"):
        submit_job(["job.sh"], "petbind-1", "node 1", patience_s=0.5)


def test_a_job_whose_answer_was_lost_is_not_submitted_twice(slurm):
    slurm.answer(sbatch=TIMED_OUT, squeue="18|PENDING|Priority|node 1\n19|RUNNING|None|node 11")
    assert submit_job(["job.sh"], "petbind-1", "node 1", patience_s=60) == "18"
    assert len(slurm.asked("sbatch")) == 1


def test_a_run_within_a_job_does_not_hand_that_on():
    mine = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_PARTITION": "long", "PATH": "/bin"}
    spoilt = {"SLURM_MEM_PER_NODE": "1", "SBATCH_WAIT": "1", "SQUEUE_FORMAT": "%u"}
    assert client_environment(mine | spoilt) == mine


def test_a_missing_slurm_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="sbatch is not on the PATH"):
        submit_job(["job.sh"], "petbind-1", "node 1", patience_s=60)


@pytest.mark.parametrize(
    ("state", "log", "told"),
    [
        (
            JobState("FAILED", "JobLaunchFailure"),
            "slurmstepd-n1: error: Job 2 exceeded memory limit (253 > 104), being killed\n"
            "slurmstepd-n1: error: *** JOB 2 ON n1 CANCELLED AT 2026-11-28T13:54:13 ***\n",
            "FAILED (JobLaunchFailure), exceeded memory limit (253 > 104), being killed",
        ),
        (
            JobState("OUT_OF_MEMORY", "OutOfMemory"),
            "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=2.batch. Some of your "
            "processes may have been killed by the cgroup out-of-memory handler.\n",
            "OUT_OF_MEMORY (OutOfMemory), oom-kill event",
        ),
        (JobState("OUT_OF_MEMORY"), "", "OUT_OF_MEMORY"),
    ],
)
def test_too_much_memory_is_told_in_either_way_and_without_the_machine(state, log, told, tmp_path):
    path = tmp_path / "1.log"
    path.write_text(log)
    assert ending(state, path) == told
    assert ran_out_of_memory(told)
    assert not ran_out_of_memory(str(JobState("TIMEOUT", "TimeLimit")))


def test_options_come_as_words_or_as_a_file(tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text('time = "10:00:00"\nsbatch = ["--qos=long", "--mail-user me"]\npoll_s = 5\n')
    from_file = load_slurm_options(str(path))
    words = "time=10:00:00 sbatch=--qos=long sbatch='--mail-user me' poll_s=5"
    assert load_slurm_options(words) == from_file
    assert from_file.words == ["--time=10:00:00", "--qos=long", "--mail-user", "me"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("partitoin=x", "did you mean 'partition'"),
        ("poll_s=0", "poll_s"),
        ("long", "'long' is not key=value"),
        ("time='1h; rm -r /'", "time"),
        ("sbatch=qos", "no option of sbatch"),
    ],
)
def test_wrong_options_are_named(words, said):
    with pytest.raises(ConfigError, match=said):
        load_slurm_options(words)


def test_a_job_gets_what_its_node_needs(tmp_path, monkeypatch):
    double = Double(tmp_path / "bin", monkeypatch, runs_jobs=True)
    double.answer(sbatch="7", squeue="7|COMPLETED|None|(null)")
    options = SlurmOptions(account="pet", sbatch=("--qos=long",), memory_factor=2)
    folder = tmp_path / "a b"
    assert run_graph(sessions(folder, "well"), Limits(1, 1, slurm=options)) == []

    first, second = double.asked("sbatch")
    # 0.1 GB twice over, and half a GB for Python
    assert {"--cpus-per-task=2", "--mem=717M", "--account=pet"} <= set(first)
    assert {"--cpus-per-task=1", "--mem=717M"} <= set(second)
    assert first.index("--qos=long") > first.index("--account=pet")
    name = next(word for word in first if word.startswith("--job-name="))
    assert name in second
    assert "--comment=cohort.sub-00_wf.first 1" in first
    assert any(word.startswith(f"--output={folder}/slurm/") for word in first)


def test_only_what_changed_is_handed_over_and_counted(tmp_path, monkeypatch):
    cohort = Cohort(tmp_path, ["sub-01_ses-pre"])
    assert run_graphs(cohort.workflows(), Limits(1, 1)).failures == []
    double = Double(tmp_path / "bin", monkeypatch, runs_jobs=True)
    double.answer(sbatch="7", squeue="7|COMPLETED|None|(null)")
    limits = Limits(1, 1, slurm=SlurmOptions())
    unchanged = run_graphs(cohort.workflows(), limits)
    assert (unchanged.ran, unchanged.cached, double.asked("sbatch")) == ([], 5, [])
    # sums are modulo ten: c runs, and d and e, which come after it, hold
    changed = run_graphs(cohort.workflows(c=10), limits)
    assert (changed.ran, changed.cached) == (["petbind_wf.sub-01_ses-pre_wf.c"], 4)
    assert len(double.asked("sbatch")) == 1


def test_an_old_result_is_not_taken_for_a_new_one(tmp_path, monkeypatch):
    double = Double(tmp_path / "bin", monkeypatch, runs_jobs=True)
    double.answer(sbatch="7", squeue="")
    assert run_graph(sessions(tmp_path, "well"), Limits(1, 1, slurm=SlurmOptions())) == []
    # its directory holds a result now, and the job of the changed node leaves none
    (tmp_path / "quiet").mkdir()
    silent = Double(tmp_path / "quiet" / "bin", monkeypatch)
    silent.answer(sbatch="8", squeue="8|FAILED|JobLaunchFailure|(null)")
    failures = run_graph(
        sessions(tmp_path, "a while"), Limits(1, 1, slurm=SlurmOptions(poll_s=0.1))
    )
    assert [(f.step, "FAILED (JobLaunchFailure)" in f.reason) for f in failures] == [
        ("first", True)
    ]


def test_a_job_that_waits_for_ever_is_cancelled_and_told_of(tmp_path, monkeypatch):
    double = Double(tmp_path / "bin", monkeypatch)
    double.answer(sbatch="9", squeue="9|PENDING|BadConstraints|(null)")
    failures = run_graph(sessions(tmp_path, "well"), Limits(1, 1, slurm=SlurmOptions(poll_s=0.1)))
    assert "PENDING (BadConstraints)" in failures[0].reason
    assert ["--quiet", "9"] in double.asked("scancel")


def test_a_lost_job_is_told_of_when_its_files_had_time(tmp_path, monkeypatch):
    double = Double(tmp_path / "bin", monkeypatch)
    double.answer(sbatch="9", squeue="", sacct="NODE_FAIL\n")
    options = SlurmOptions(poll_s=0.1, file_delay_s=1)
    failures = run_graph(sessions(tmp_path, "well"), Limits(1, 1, slurm=options))
    assert "NODE_FAIL" in failures[0].reason
