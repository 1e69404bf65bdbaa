"""Test how many processors are counted, and what OpenMP is told before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragcore.process.cpus import configure_openmp, usable_cpus

AFFINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

needs_two = pytest.mark.skipif(AFFINE < 2, reason="a quota of one processor is no limit here")


def system(root: Path, cgroup: str, **files: str) -> Path:
    """A file system whose control groups say this."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "0::/jobs/mine\n"
V1 = "5:memory:/\n4:cpu,cpuacct:/jobs/mine\n"


@needs_two
@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (V2, {"jobs__mine__cpu_max": "100000 100000\n"}),
        (V2, {"jobs__cpu_max": "150000 100000\n", "jobs__mine__cpu_max": "max 100000\n"}),
        (V2, {"cpu_max": "50000 100000\n"}),
        ("0::/../outside\n", {"cpu_max": "100000 100000\n"}),
    ],
    ids=["own group", "group above", "half a processor", "container's own root"],
)
def test_a_quota_of_one_processor_counts_one(tmp_path, cgroup, files):
    assert usable_cpus(system(tmp_path, cgroup, **files)) == 1


@needs_two
def test_the_quota_of_cgroup_v1_counts(tmp_path):
    root = system(tmp_path, V1)
    folder = root / "sys/fs/cgroup/cpu/jobs/mine"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(root) == 1
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable_cpus(root) == AFFINE


@pytest.mark.parametrize("quota", ["max 100000", "9900000 100000", "", "nonsense", "5 0"])
def test_without_a_smaller_quota_the_affinity_counts(tmp_path, quota):
    assert usable_cpus(system(tmp_path, V2, cpu_max=quota)) == AFFINE


def test_a_system_without_control_groups_counts_by_affinity(tmp_path):
    assert usable_cpus(tmp_path) == AFFINE


def test_the_affinity_of_the_process_counts():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from ragcore.process.cpus import usable_cpus; print(usable_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@needs_two
def test_openmp_is_told_to_sleep_and_of_the_quota(tmp_path):
    environment: dict[str, str] = {}
    configure_openmp(environment, root=system(tmp_path, V2, cpu_max="100000 100000"))
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}


def test_openmp_counts_threads_itself_where_no_quota_limits_them(tmp_path):
    environment: dict[str, str] = {}
    configure_openmp(environment, root=tmp_path)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(
    "own",
    [
        {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "7"},
        {"GOMP_SPINCOUNT": "5", "MKL_NUM_THREADS": "7"},
        {"KMP_BLOCKTIME": "200", "OMP_THREAD_LIMIT": "7"},
    ],
)
def test_what_the_user_set_stays(tmp_path, own):
    environment = dict(own)
    configure_openmp(environment, root=system(tmp_path, V2, cpu_max="100000 100000"))
    assert environment == own


SPY = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch after", os.environ.get("OMP_WAIT_POLICY"))
        return None
sys.meta_path.insert(0, Spy())
from ragcore.cli import main
main({arguments!r})
"""


@pytest.mark.parametrize("command", ["ask", "train", "eval", "replay", "verify"])
def test_a_command_configures_openmp_before_it_imports_torch(command):
    environment = {**os.environ}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", SPY.format(arguments=[command, "--help"]) + "\nimport torch"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("torch")] == [
        "torch after PASSIVE"
    ]
