"""README.md is made of nbs/index.ipynb as it runs today, and what it points to exists."""
import re, shutil, subprocess, sys
from pathlib import Path

import nbformat, pytest
from conftest import ROOT
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

INDEX, README = ROOT/"nbs/index.ipynb", ROOT/"README.md"


def make_readme(folder):
    "Call `make readme` in a folder."
    shutil.copy(ROOT/"Makefile", folder)
    command = ["make", "-s", "-o", ".venv/ready", "readme", f"BIN={Path(sys.executable).parent}"]
    subprocess.run(command, cwd=folder, check=True)


def made_from(index, folder):
    "The README that `make readme` makes of an index notebook, worked out in an empty folder."
    (folder/"nbs").mkdir(parents=True)
    shutil.copy(index, folder/"nbs/index.ipynb")
    make_readme(folder)
    return (folder/"README.md").read_text()


def executed(index, copy):
    "A copy of an index notebook with the outputs that it has today."
    nb = nbformat.read(index, 4)
    metadata = nb.metadata.copy()
    NotebookClient(nb, kernel_name="python3", resources={"metadata": {"path": ROOT/"nbs"}}).execute()
    nb.metadata = metadata # without the kernel's note on its language, which cleaning removes, too
    nbformat.write(nb, copy)
    return copy


def dead_links(text, folder):
    "The relative links and images of a Markdown text that lead nowhere."
    links = re.findall(r"\]\(<?([^)#\s>]+)|(?:src|href)=[\"']([^\"'#]+)", text)
    return [to for to in map("".join, links) if not re.match(r"\w+:", to) and not (folder/to).exists()]


def test_the_readme_is_what_the_index_makes(tmp_path): assert README.read_text() == made_from(INDEX, tmp_path)


@pytest.mark.usefixtures("committed_results")
def test_the_readme_is_what_the_index_makes_today(tmp_path):
    assert README.read_text() == made_from(executed(INDEX, tmp_path/"index.ipynb"), tmp_path/"made")


def test_a_stale_output_is_seen(tmp_path):
    stored = new_output("execute_result", data={"text/plain": "'yesterday'"})
    cell = new_code_cell("'to' + 'day'", outputs=[stored])
    nbformat.write(new_notebook(cells=[cell]), tmp_path/"sample.ipynb")
    fresh = nbformat.read(executed(tmp_path/"sample.ipynb", tmp_path/"executed.ipynb"), 4)
    assert fresh.cells[0].outputs[0].data == {"text/plain": "'today'"}
    readme = made_from(tmp_path/"sample.ipynb", tmp_path/"made")
    assert "yesterday" in readme and "'today'" not in readme


def test_an_index_that_is_gone_is_seen(tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        make_readme(tmp_path)
    assert "'nbs/index.ipynb' matched no files" in capfd.readouterr().err


# Numbers that people write: names (of figures, versions, data sets), and what a command line takes.
WRITTEN = re.compile(r"Python [\d.]+ to [\d.]+|\b20\d\d\b|Figures? \d|CIFAR-\d+N?|H100|bf16|^\d\. |about 6 GB"
                     r"|(?:Apache licence|BY-NC) [\d.]+", re.M)


def typed_numbers(index):
    "The numbers in an index notebook's texts that no record gave: code, links and names left out."
    nb = nbformat.read(index, 4)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
    text = re.sub(r"\[[^\]]*\]\([^)]*\)", "", text)
    return re.findall(r"\S*\d\S*", WRITTEN.sub("", text))


def test_every_number_is_made_from_records(): assert typed_numbers(INDEX) == []


def test_a_typed_number_is_seen(tmp_path):
    text = "In 2024 Python 3.11 to 3.13 reached 71 % on CIFAR-10, see [chapter 13](x.ipynb) and `--ipcs 1,10`."
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path/"sample.ipynb")
    assert typed_numbers(tmp_path/"sample.ipynb") == ["71"]


def test_no_code_is_exposed():
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(), re.S | re.M)
    assert [kind for kind, text in blocks if kind not in ("sh", "python") or "Markdown(" in text] == []


def test_the_readme_links_to_what_exists(): assert dead_links(README.read_text(), ROOT) == []


def test_links_are_turned_to_the_root_and_followed(tmp_path):
    text = "[a](../LICENSE), ![b](../nowhere.png), [c](https://example.org/x), [d](#top), <img src='gone.png'>"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), tmp_path/"sample.ipynb")
    readme = made_from(tmp_path/"sample.ipynb", tmp_path/"made")
    assert readme.strip() == text.replace("../", "")
    assert dead_links(readme, ROOT) == ["nowhere.png", "gone.png"]
