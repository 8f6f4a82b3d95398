"""README.md is made of nbs/index.ipynb, and what it points to exists."""
import re, shutil, subprocess, sys
from pathlib import Path

import nbformat, pytest
from conftest import ROOT
from nbformat.v4 import new_markdown_cell, new_notebook

INDEX, README = ROOT/"nbs/index.ipynb", ROOT/"README.md"
written = pytest.mark.skipif(not INDEX.exists(), reason="there is no index notebook yet")


def made_from(index, folder):
    "The README that `make readme` makes of an index notebook, worked out in an empty folder."
    shutil.copy(ROOT/"Makefile", folder)
    (folder/"nbs").mkdir()
    shutil.copy(index, folder/"nbs/index.ipynb")
    command = ["make", "-s", "-o", ".venv/ready", "readme", f"BIN={Path(sys.executable).parent}"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder/"README.md").read_text()


def dead_links(text, folder):
    "The relative links and images of a Markdown text that lead nowhere."
    links = re.findall(r"\]\(<?([^)#\s>]+)|(?:src|href)=[\"']([^\"'#]+)", text)
    return [to for to in map("".join, links) if not re.match(r"\w+:", to) and not (folder/to).exists()]


@written
def test_the_readme_is_what_the_index_makes(tmp_path): assert README.read_text() == made_from(INDEX, tmp_path)


@written
def test_the_readme_links_to_what_exists(): assert dead_links(README.read_text(), ROOT) == []


def test_links_are_turned_to_the_root_and_followed(tmp_path):
    text = "[a](../LICENSE), ![b](../nowhere.png), [c](https://example.org/x), [d](#top), <img src='gone.png'>"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path/"sample.ipynb")
    made = made_from(tmp_path/"sample.ipynb", tmp_path)
    assert made.strip() == text.replace("../", "")
    assert dead_links(made, ROOT) == ["nowhere.png", "gone.png"]
