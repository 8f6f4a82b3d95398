"""What other systems than Linux lack is not needed. Nothing was run on macOS or Windows: here Linux is robbed of it."""
import os, subprocess, sys

from conftest import ROOT

# Takes away what only Unix or only Linux has: after the libraries, which use it where it exists, before our modules.
ROBBED = """
import asyncio, fcntl, multiprocessing, os, signal, socket, subprocess, sys, tempfile
import filelock, papermill, psutil, resource, torch, torchvision, typer

for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in [(os, ["getuid", "sched_getaffinity", "sched_setaffinity", "fork"]),
                      (psutil.Process, ["cpu_affinity"]),
                      (signal, ["SIGALRM", "setitimer", "ITIMER_REAL", "SIGKILL"])]:
    for name in names:
        delattr(module, name)
sys.platform = "other"
"""
SETTING = """
from dd_lnl import bare, cli, engine, job
from dd_lnl.setting import setting

for name in ("resource", "fcntl"):
    assert sys.modules[name] is None
os.environ["DD_LNL_PROGRESS"] = sys.argv[1]
job.die_with_parent()
with job.gpu_place(2, 1) as number:
    assert number == 0
s = setting(folder=sys.argv[1], distiller="random", protocol="dance", ipcs=[1], n_eval=1)
assert cli.default_jobs([s]) >= 1
assert bare.run_for([s], seconds=300) == {}
"""


def robbed(source, folder):
    "What a process says and how it ends that lacks what only Linux has."
    return subprocess.run([sys.executable, "-c", ROBBED + source, folder], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_setting_is_computed_without_what_only_linux_has(tmp_path):
    ended = robbed(SETTING, tmp_path)
    assert ended.returncode == 0 and "1 of 1 cells are finished" in ended.stdout, ended.stderr


MISSING = """
import importlib
for module, name in [("os", "getuid"), ("os", "sched_getaffinity"), ("signal", "SIGALRM")]:
    assert not hasattr(importlib.import_module(module), name)
assert not hasattr(psutil.Process(), "cpu_affinity")
try:
    import resource
except ImportError:
    print("all gone")
"""


def test_the_robbery_is_noticed(tmp_path): assert robbed(MISSING, tmp_path).stdout == "all gone\n"
