"""One thought a line: ruff holds the notebooks and the tests to 120 columns and one statement a line."""
import re, subprocess, sys

import nbformat, pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook


def complaints(*paths):
    "What ruff finds in files and folders, by the rules of pyproject.toml: a line each."
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    ended = subprocess.run([*ruff, "--config", ROOT/"pyproject.toml", *paths], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr # 2: ruff itself failed
    return [line for line in ended.stdout.splitlines() if re.search(r":\d+:\d+: ", line)]


@pytest.mark.parametrize("path", ["nbs", "tests", "setup.py"]) # the experiments are below nbs
def test_one_thought_a_line(path): assert complaints(path) == []


def test_style_can_fail(tmp_path):
    samples = {"E501": f"x = {'1 + ' * 30}1", "E702": "x = 1; y = 2", "E701": "if True: x = 1", "F401": "import os",
               "F821": "print(no_such_name)"}
    (tmp_path/"good.py").write_text("x = 1\ny = 2\n")
    for code, source in samples.items():
        (tmp_path/f"{code}.py").write_text(source + "\n")
        nbformat.write(new_notebook(cells=[new_code_cell(source)]), tmp_path/f"{code}.ipynb")
    complained = sorted(re.search(r"(\w+\.\w+):.*?: (\w+) ", line).groups() for line in complaints(tmp_path))
    assert complained == sorted((f"{code}.{kind}", code) for code in samples for kind in ("py", "ipynb"))
