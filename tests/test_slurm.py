"""A SLURM cluster, of this machine alone, computes what the machine computes without it."""
import os, re, shutil, subprocess
from importlib.util import find_spec

import pytest
from conftest import ROOT
from test_end_to_end import RANDOM, TINY, records

from dd_lnl import cli, engine, profiles

DAEMONS = os.environ["PATH"] + ":/usr/sbin"
LACKING = [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name, path=DAEMONS)]
if not find_spec("snakemake_executor_plugin_slurm"):
    LACKING.append("snakemake-executor-plugin-slurm")
OPTIONS = ["--executor", "slurm", "--default-resources", "mem_mb=2000", "runtime=10", # without accounting, and soon:
           "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    "The folder of a running cluster."
    folder, script = tmp_path/"cluster", ROOT/"tests/slurm.sh"
    try:
        subprocess.run([script, "start", folder], check=True)
        monkeypatch.setenv("SLURM_CONF", str(folder/"slurm.conf"))
        monkeypatch.setenv("PATH", str(folder/"bin"), prepend=os.pathsep)
        yield folder
    finally:
        subprocess.run([script, "stop", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}; apt install slurm-wlm munge, "
                                          "pip install snakemake-executor-plugin-slurm")
def test_slurm_computes_the_same_records(cluster, tmp_path, monkeypatch):
    monkeypatch.setitem(profiles.PROFILES, "tiny", [RANDOM, TINY])
    monkeypatch.setattr(engine, "FIGURES", {})
    cli.reproduce_command("tiny", jobs=1, folder=str(tmp_path/"here"))
    cli.reproduce_command("tiny", jobs=2, folder=str(tmp_path/"there"), options=OPTIONS)
    assert len(records(tmp_path/"here")) == 3 and records(tmp_path/"there") == records(tmp_path/"here")
    submitted = re.findall(r"SLURM jobid (\d+)", (tmp_path/"there/tiny/cache/plans/profile/plan.log").read_text())
    completed = re.findall(r"JobId=(\d+) .*JobState=COMPLETED", (cluster/"jobs.txt").read_text())
    assert len(completed) == 2 and set(completed) <= set(submitted)
