"""Debian's slurm-wlm and munge as a cluster of two nodes on this machine, without systemd.

Everything lies in one folder and is started, and ended, by this process alone: it touches no other
cluster. Ports are taken from those that are free. As a script it prints what to export, and runs
until it is interrupted: ``python tests/one_machine_slurm.py FOLDER``.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

NODES = ("n1", "n2")
CPUS, MEMORY_MB = 4, 6000
"""Of each node, whatever the machine has: what runs here is small."""
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
_WITHIN_S = 60


def lacking():
    """Why no cluster can be started here; empty where it can."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"SLURM: {', '.join(missing)} missing; apt-get install slurm-wlm munge"
    return "" if os.getuid() == 0 else "SLURM: its daemons start as root only"


class Cluster:
    """A cluster that lives as long as its context."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = self.folder / "slurm.conf"
        self._stack = ExitStack()
        self._controller = None
        self._spool = {name: self.folder / name for name in ("state", "logs", *NODES)}

    @property
    def environment(self):
        """What clients need to find it."""
        return os.environ | {"SLURM_CONF": str(self.config)}

    def __enter__(self):
        for folder in (self.folder, *self._spool.values()):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._write_config()
        try:
            self._start_munge()
            self.start_controller()
            for node in NODES:
                self._start(node, "slurmd", "-D", "-N", node, "-f", str(self.config))
            self._wait(lambda: self.call("sinfo", "-h", "-o", "%D %t") == f"{len(NODES)} idle")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self.call("scancel", "--user", getpass.getuser(), check=False)
        with suppress(TimeoutError):
            self._wait(lambda: not self.queued(), within_s=10)
        self._stack.close()

    def call(self, *words, check=True):
        """What a client says."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=check, timeout=120
        )
        return done.stdout.strip()

    def queued(self):
        """Ids of jobs that wait or run."""
        return self.call("squeue", "-h", "-r", "-o", "%i").split()

    def states(self):
        """Id to state, of all jobs that the controller remembers."""
        said = self.call("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in said)

    def start_controller(self):
        self._controller = self._start("slurmctld", "slurmctld", "-D", "-i", "-f", self.config)
        self._wait(lambda: "UP" in self.call("scontrol", "ping", check=False))

    def stop_controller(self):
        """As if its host were down."""
        _end(self._controller)

    def _start_munge(self):
        # munge trusts no folder that others may write to
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        options = {
            "--key-file": key,
            "--socket": self._socket,
            "--pid-file": self.folder / "munge.pid",
            "--log-file": self.folder / "logs" / "munge.log",
            "--seed-file": self.folder / "munge.seed",
        }
        words = [f"{name}={place}" for name, place in options.items()]
        self._start("munged", "munged", "--foreground", "--force", *words)
        self._wait(self._socket.exists)

    @property
    def _socket(self):
        return self.folder / "munge.socket"

    def _start(self, name, program, *words):
        log = self._stack.enter_context((self._spool["logs"] / f"{name}.out").open("ab"))
        process = subprocess.Popen(
            [_program(program), *map(str, words)],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        return process

    def _write_config(self):
        # all at once, so that none is given twice
        with ExitStack() as taken:
            sockets = [taken.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            controller, *nodes = [one.getsockname()[1] for one in sockets]
        user, logs = getpass.getuser(), self._spool["logs"]
        lines = [
            "ClusterName=here",
            f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            f"SlurmctldPort={controller}",
            f"AuthInfo=socket={self._socket}",
            f"StateSaveLocation={self._spool['state']}",
            f"SlurmdSpoolDir={self.folder}/%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={logs}/slurmctld.log",
            f"SlurmdLogFile={logs}/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "MpiDefault=none",
            "SwitchType=switch/none",
            "ReturnToService=2",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=100000",
            "SlurmdParameters=config_overrides",
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=task=1",
            "JobAcctGatherParams=OverMemoryKill",
            "KillWait=2",
            "MinJobAge=300",
            "InactiveLimit=0",
            *(
                f"NodeName={name} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
                f"RealMemory={MEMORY_MB} State=UNKNOWN"
                for name, port in zip(NODES, nodes, strict=True)
            ),
            f"PartitionName=main Nodes={','.join(NODES)} Default=YES MaxTime=60 State=UP",
        ]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _wait(self, happened, within_s=_WITHIN_S):
        end = time.monotonic() + within_s
        while not happened():
            if time.monotonic() > end:
                logs = "\n".join(
                    p.read_text(errors="replace") for p in self._spool["logs"].glob("*")
                )
                raise TimeoutError(f"the cluster did not come up:\n{logs[-4000:]}")
            time.sleep(0.1)


def _program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Cluster(Path(sys.argv[1]).absolute()) as cluster:
        print(f"export SLURM_CONF={cluster.config}", flush=True)
        signal.pause()
