"""`dd_lnl audit` from a folder to a page in a browser, at the smallest effort; what it takes and what it refuses."""
import csv, json, shutil, sys

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from dd_lnl import audit as auditing, cli, data
from dd_lnl.crossfit import Effort
from dd_lnl.image_files import read_index

TINY = Effort(n_folds=2, width=16, n_networks=1, steps=40, ipc=2, iterations=3, n_experts=1, expert_epochs=3)
NAMES = ("<b>zero", "=one", "two & more") # as a stranger may call folders


def picture(digit, rng, size=(30, 24)):
    "A noisy photograph of a digit of 8 × 8 pixels."
    image = Image.fromarray((digit * 255).byte().numpy()).resize(size, Image.BICUBIC).convert("RGB")
    noisy = np.asarray(image).astype(int) + rng.integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def photographs(root, n=150, names=NAMES, rate=.3, size=(30, 24)):
    "JPEGs of digits in class folders, some in the wrong one -> {path: whether its label is wrong}."
    rng, train, wrong = np.random.default_rng(0), data.load("digits")[0], {}
    for i in (train.labels < len(names)).nonzero()[:n, 0].tolist():
        label = int(train.labels[i])
        other = (label + int(rng.integers(1, len(names)))) % len(names) if rng.random() < rate else label
        file = root/names[other]/f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(train.images[i, 0], rng, size).save(file, quality=92)
        wrong[f"{names[other]}/{i}.jpg"] = other != label
    return wrong


def dd_lnl(monkeypatch, *args):
    "Run a command line here; what it ended with, or None."
    monkeypatch.setattr(sys, "argv", ["dd_lnl", *map(str, args)])
    monkeypatch.setattr(auditing, "EFFORTS", (TINY,))
    try:
        cli.app(standalone_mode=False)
    except Exception as e: # as `cli.main` shows it
        assert type(e).__name__ in ("InputError", "BadParameter"), repr(e)
        return str(e)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    "What an audit of a folder of photographs leaves, and which labels are wrong."
    folder = tmp_path_factory.mktemp("audit")
    wrong = photographs(folder/"my photos")
    (folder/"my photos/=one/broken.jpg").write_bytes(b"no image")
    first, second = sorted(wrong)[0], folder/"my photos/two & more/copy.jpg"
    shutil.copy(folder/"my photos"/first, second)
    wrong["two & more/copy.jpg"] = True
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert dd_lnl(monkeypatch, "audit", folder/"my photos", "--folder", folder/"out") is None
    [home] = (folder/"out"/"audit").iterdir()
    return home, wrong, folder/"my photos"


def rows_of(home):
    with open(home/"labels.csv", encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


def test_wrong_labels_come_first(audited):
    home, wrong, _ = audited
    rows = rows_of(home)
    is_wrong = np.array([wrong[row["path"].removeprefix("'")] for row in rows])
    assert len(rows) == len(wrong) == 151 and [int(row["rank"]) for row in rows] == list(range(1, 152))
    places = np.flatnonzero(is_wrong)
    area = 1 - (places.mean() - (len(places) - 1) / 2) / (~is_wrong).sum() # under the ROC curve
    assert area > .8, area


def test_no_cell_is_a_formula(audited):
    for row in rows_of(audited[0]):
        assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@"))], row


def test_the_clean_index_is_an_index(audited):
    home, wrong, images = audited
    called = {row["path"].removeprefix("'") for row in rows_of(home) if row["called_wrong"] == "yes"}
    shutil.copy(home/"index.clean.csv", images/"clean.csv")
    shutil.copy(home/"index.clean.classes.txt", images/"clean.classes.txt")
    index = read_index(images/"clean.csv")
    assert set(index.paths) == wrong.keys() - called and set(index.class_names) == set(NAMES)
    label_of = dict(zip(index.paths, index.labels))
    assert all(index.class_names[label] == path.split("/")[0] for path, label in label_of.items())


def test_the_distilled_set_stands_alone(audited):
    from safetensors.torch import load_file
    home, *_ = audited
    tensors = load_file(home/"distilled"/"examples.safetensors")
    assert tensors["images"].shape[1:] == (3, 24, 24)
    assert len(json.loads((home/"distilled/classes.json").read_text())) == 3
    card = (home/"distilled"/"README.md").read_text()
    assert "agreement with the observed labels of held-out images" in card and "<b>" not in card


def test_a_person_reads_the_page(audited, browser):
    home, *_ = audited
    browser.get((home/"report"/"index.html").as_uri())
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "of the labels are wrong (90 % interval" in text and NAMES[0] in text
    assert "broken.jpg" in text and "called" in text # unreadable, and the same image under two labels
    pictures = browser.find_elements(By.CSS_SELECTOR, ".grid img")
    assert len(pictures) == 60 and all(int(image.get_property("naturalWidth")) == 24 for image in pictures)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and not [url for url in asked if not url.startswith(("file:", "data:"))]


def table(folder, *lines, name="index.csv"):
    (folder/name).write_text("\n".join(lines) + "\n")
    return folder


def good(folder):
    return table(folder, "path,label", *(f"{i}.png,{'xy'[i % 2]}" for i in range(8)))


@pytest.mark.parametrize("make, options, says", [
    (lambda d: d/"none", [], "There is no folder"),
    (lambda d: d, [], "is in none of the layouts"),
    (lambda d: table(d, "path,label", "a.png,x", "b.png,y"), [], "None of the 2 images"),
    (lambda d: table(d, "path,label", "0.png,x", "1.png,y"), [], "A class needs at least 2 training images"),
    (lambda d: table(d, "path,label,split", *(f"{i}.png,{'xy'[i % 2]},{('train', 'val')[i % 2]}" for i in range(8))),
     [], "Class 'y' has images in the validation split only"),
    (lambda d: table(d, "path,anna,ben", "0.png,x,y"), [], "choose the one to judge with --labels"),
    (lambda d: table(d, "path,label", "0.png,x", "1.png,X"), [], "differ only in capitals"),
    (good, ["--minutes", "nan"], "positive"),
    (good, ["--minutes", "1e-9"], "--minutes"),
    (good, ["--method", "imges"], "'images'"),
    (good, ["--probabilities", "no.npy"], "is no array in the format")])
def test_what_it_refuses(make, options, says, tmp_path, monkeypatch):
    for i in range(8):
        Image.new("RGB", (8, 8), (30 * i, 0, 0)).save(tmp_path/f"{i}.png")
    place = make(tmp_path)
    sentence = dd_lnl(monkeypatch, "audit", place, "--folder", tmp_path/"out", *options)
    assert sentence and says in sentence and "\n" not in sentence, sentence


def test_a_table_without_a_split_and_with_gaps(tmp_path, monkeypatch, capsys):
    for i in range(40):
        Image.new("L", (8, 8), 200 * (i % 2) + i).save(tmp_path/f"{i}.png")
    labels = [("x", "y")[i % 2] for i in range(36)] + ["", "nan", "x", "y"]
    table(tmp_path, "path,label", *(f"{i}.png,{label}" for i, label in enumerate(labels)))
    assert dd_lnl(monkeypatch, "audit", tmp_path, "--folder", tmp_path/"out", "--method", "regression") is None
    assert "38 images of 2 classes" in capsys.readouterr().out
    [home] = (tmp_path/"out"/"audit").iterdir()
    assert "Images without a label, left out: 2." in (home/"report/index.html").read_text()
