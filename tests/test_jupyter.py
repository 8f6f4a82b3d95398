"""`jupyter lab` starts from this environment and serves the notebooks."""
import json, os, socket, subprocess, sys, time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from conftest import ROOT


def listening(note):
    "What the server wrote into `note`, once it accepts connections there: it writes first and listens later."
    try:
        server = json.loads(note.read_text())
        socket.create_connection((server["hostname"], server["port"]), timeout=10).close()
        return server
    except (FileNotFoundError, json.JSONDecodeError, ConnectionRefusedError):
        return None


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "Address and token of a JupyterLab that runs on this project for the length of these tests."
    home = tmp_path_factory.mktemp("jupyter")
    env = {**os.environ, **{f"JUPYTER_{kind}_DIR": str(home/kind) for kind in ("CONFIG", "DATA", "RUNTIME")}}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    with open(home/"log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        note = home/f"RUNTIME/jpserver-{server.pid}.json" # the server writes its address here
        stop = time.monotonic() + 60
        while not (address := listening(note)) and server.poll() is None and time.monotonic() < stop:
            time.sleep(0.1)
        assert address, (home/"log").read_text()
        yield address
    finally:
        server.terminate()
        server.wait(60)


def fetch(lab, path, token=None):
    "What the server answers to a request for `path`."
    with urlopen(f"{lab['url']}{path}?token={token or lab['token']}", timeout=60) as answer:
        return answer.read().decode()


def test_lab_opens(lab): assert "<title>JupyterLab</title>" in fetch(lab, "lab")


def test_a_notebook_is_served(lab):
    served = json.loads(fetch(lab, "api/contents/nbs/00_core.ipynb"))
    assert served["type"] == "notebook"
    assert served["content"]["cells"][0]["source"] == "".join(
        json.loads((ROOT/"nbs/00_core.ipynb").read_text())["cells"][0]["source"])


@pytest.mark.parametrize("path, token, status", [
    ("api/contents/nbs/absent.ipynb", None, 404), ("api/contents/nbs", "wrong", 403)])
def test_the_server_can_refuse(lab, path, token, status):
    with pytest.raises(HTTPError) as refusal:
        fetch(lab, path, token)
    assert refusal.value.code == status
