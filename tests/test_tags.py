"""The cell that papermill fills in survives cleaning: without its tag papermill only warns, and our defaults win."""
import nbformat, papermill, pytest
from conftest import ROOT, nbdev
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = {"name": "python3", "display_name": "python3", "language": "python"}
EXPERIMENTS = sorted((ROOT/"nbs/experiments").glob("*.ipynb"))


def parameter_cells(path):
    "The cells that papermill would take for the parameters."
    return [cell for cell in nbformat.read(path, 4).cells if "parameters" in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_have_parameters(path): # and are a fixed point of cleaning (test_sync.py)
    assert len(parameter_cells(path)) == 1
    assert papermill.inspect_notebook(str(path))


@pytest.mark.parametrize("allowed, n", [("tags", 1), ("", 0)])
def test_it_is_our_setting_that_keeps_them(allowed, n, sandbox):
    path, settings = sandbox/"nbs/experiments/sample.ipynb", sandbox/"settings.ini"
    cell = new_code_cell("tau = 0.2", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}), path)
    ours = "allowed_cell_metadata_keys = tags\n"
    assert ours in settings.read_text()
    settings.write_text(settings.read_text().replace(ours, ours.replace("tags", allowed)))
    nbdev("nbdev_clean", sandbox)
    assert len(parameter_cells(path)) == len(papermill.inspect_notebook(str(path))) == n
