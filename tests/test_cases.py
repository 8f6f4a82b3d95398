"""Some 150 hostile and real-life inputs that were tried on the product, each made anew and small, with its outcome.

The outcome is a result, or a part of the one sentence that names the fault and its repair. A kind of input has one
table, so that a case is a line.
"""
import io, json, os, sys, tarfile, unicodedata

import numpy as np
import pytest, torch
from PIL import Image

from dd_lnl import bare, cli, core, data, engine, exchange, image_files, layouts, noise, profiles, store
from dd_lnl.setting import setting


def sentence(work, *args, **options):
    "The sentence that something is refused with; a failure if it is not, or if it is more than one line."
    with pytest.raises(core.InputError) as refusal:
        work(*args, **options)
    text = str(refusal.value)
    assert text.endswith(".") and "\n" not in text, text
    return text


# --- tables of images ---------------------------------------------------------------------------------------------

PLAIN = """path,split,label,crowd
0.png,test,a,a
1.png,test,b,a
2.png,train,a,a
3.png,train,b,a
4.png,train,a,b
5.png,train,b,b
"""
AS_USUAL = (4, 2, ("a", "b")) # training images, test images, classes
EVERYTHING = (6, ("a", "b")) # images, classes


def with_row(row): return f"{PLAIN}{row}\n"


def relabelled(a, b): return PLAIN.replace(",a,", f",{a},").replace(",b,", f",{b},")


TABLES = { # case: (index.csv, outcome of an experiment, outcome of an audit)
    "good": (PLAIN, AS_USUAL, EVERYTHING),
    "backslash in a path": (PLAIN.replace("5.png", r"sub\5.png"), "with forward slashes: sub/5.png", EVERYTHING),
    "blank line": (PLAIN.replace("\n3", "\n\n3"), AS_USUAL, EVERYTHING),
    "byte-order mark": (b"\xef\xbb\xbf" + PLAIN.encode(), AS_USUAL, EVERYTHING),
    "header in capitals": (PLAIN.replace("path,split,label", "Path,Split,Label"), AS_USUAL, EVERYTHING),
    "Windows line ends": (PLAIN.replace("\n", "\r\n"), AS_USUAL, EVERYTHING),
    "path out of the folder": (PLAIN.replace("5.png", "../5.png"), AS_USUAL, EVERYTHING),
    "same path twice": (with_row("3.png,train,b,a"), "repeats row 5's image 3.png", "repeats row 5's image 3.png"),
    "empty file": ("", "its first line reads ''", "its first line reads ''"),
    "empty cell of a crowd": (PLAIN.replace("3.png,train,b,a", "3.png,train,b,"), AS_USUAL, EVERYTHING),
    "empty label": (PLAIN.replace("3.png,train,b", "3.png,train,"), "fill the cell or drop the row", (5, ("a", "b"))),
    "blanks in the header": (PLAIN.replace("path,split,label", "path, split, label"), AS_USUAL, EVERYTHING),
    "huge cell": (with_row(f"6.png,train,{'c' * 200_000},a"), "larger than field limit", "larger than field limit"),
    "Latin-1": (relabelled("bär", "b").encode("latin-1"), "not in UTF-8 (byte 0xe4), perhaps in Latin-1", "Latin-1"),
    "two Latin-1 names that look alike": (relabelled("ä", "ö").encode("latin-1"), "not in UTF-8", "not in UTF-8"),
    "class without a test image": (PLAIN.replace("1.png,test,b", "1.png,test,a"), "or list all classes in", EVERYTHING),
    "class without a training image": (PLAIN.replace("train,b", "train,a"), AS_USUAL, EVERYTHING),
    "names and a number": (relabelled("cat", "7"), "mix names and numbers", "mix names and numbers"),
    "label nan": (PLAIN.replace("3.png,train,b", "3.png,train,nan"), "label 'nan' is not one of", (5, ("a", "b"))),
    "no split column": (PLAIN.replace(",split", "").replace(",train", "").replace(",test", ""),
                        "`dd_lnl audit` does without split", EVERYTHING),
    "NUL byte": (PLAIN.replace("test,a", "test,a\0"), "holds a NUL character", "holds a NUL character"),
    "labels from 1": (relabelled(1, 2), "numbers count from 0", (6, ("1", "2"))),
    "training rows only": (PLAIN.replace("test", "train"), "does without a test set", EVERYTHING),
    "pandas' row numbers": ("," + PLAIN.replace("\n", "\n7,", 6), AS_USUAL, EVERYTHING),
    "comma in a quoted path": (PLAIN.replace("5.png", '"5,x.png"'), AS_USUAL, EVERYTHING),
    "all quoted": ('"' + PLAIN.strip().replace(",", '","').replace("\n", '"\n"') + '"', AS_USUAL, EVERYTHING),
    "line break in a label": (PLAIN.replace("train,b", 'train,"b\nb"'), "holds a line break", "holds a line break"),
    "semicolons": (PLAIN.replace(",", ";"), AS_USUAL, EVERYTHING),
    "semicolons and too many cells": (PLAIN.replace(",", ";").replace(";crowd", ""), "holds a semicolon", "4 cells"),
    "tabs": (PLAIN.replace(",", "\t"), AS_USUAL, EVERYTHING),
    "short row": (PLAIN.replace("3.png,train,b,a", "3.png,train"), "fill the cell or drop the row", (5, ("a", "b"))),
    "one class": (relabelled("a", "a"), "show one class only, 'a'", "show one class only, 'a'"),
    "blank in a class name": (relabelled("big cat", "b"), (4, 2, ("b", "big cat")), (6, ("b", "big cat"))),
    "split in capitals": (PLAIN.replace("test", "Test"), AS_USUAL, EVERYTHING),
    "path outside ASCII": (PLAIN.replace("5.png", "größe é 猫/图 1.png"), AS_USUAL, EVERYTHING),
    "UTF-16": (PLAIN.encode("utf-16"), AS_USUAL, EVERYTHING),
    "validation in place of test": (PLAIN.replace("test", "validation"), AS_USUAL, EVERYTHING),
    "years as names": (relabelled(2010, 2011), "names that are numbers are listed", (6, ("2010", "2011"))),
    "numbers with zeros": (relabelled("00", "01"), (4, 2, ("0", "1")), (6, ("0", "1"))),
    "names that differ in capitals": (PLAIN.replace("1.png,test,b", "1.png,test,A"), "only in capitals", "in capitals"),
    "same image by another path": (with_row("./3.png,train,b,a"), "repeats row 5's image 3.png", "repeats row 5"),
    "same image in test and train": (with_row("./0.png,train,a,a"), "repeats row 2's image 0.png", "repeats row 2"),
    "two columns of one name": (PLAIN.replace("crowd", "label"), "two columns 'label'", "two columns 'label'"),
    "decimal and whole numbers": (relabelled("0.0", "1.0"), (4, 2, ("0", "1")), (6, ("0", "1"))),
    "two cells too many": (PLAIN.replace("train,b,a", "train,b,a,b,zz"), "has 6 cells for 4 columns", "double quotes"),
    "comma without quotes": (PLAIN.replace("train,b", "train,b, a"), "has 5 cells for 4 columns", "double quotes"),
    "val beside test": (with_row("6.png,val,b,a"), AS_USUAL, (7, ("a", "b"))),
    "markup and formulas": (relabelled("<script>alert(2)</script>", "=1+1"),
                            (4, 2, ("<script>alert(2)</script>", "=1+1")), (6, ("<script>alert(2)</script>", "=1+1"))),
}


def own_images(root, table=PLAIN, names=None, size=(8, 8)):
    "A folder of seven different images and a table; `names` become the list of classes."
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(["0", "1", "2", "3", "4", "5", "6", "sub/5", "../5", "5,x", "größe é 猫/图 1"]):
        file = root/f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (20 * i + 1, 40, 9 * i)).save(file)
    (root/"index.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    if names is not None:
        (root/"index.classes.txt").write_bytes(names)
    return root


def loaded(root):
    train, test = data.load("folder", root)
    return len(train), len(test), train.class_names


def listed(root):
    index = layouts.list_images(root).index
    return len(index.paths), index.class_names


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    "Nothing of these tests enters the user's cache."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("DD_LNL_DATA", raising=False)


@pytest.mark.parametrize("case", TABLES)
def test_a_table(case, tmp_path):
    table, of_experiment, of_audit = TABLES[case]
    root = own_images(tmp_path/"data", table)
    for work, outcome in ((loaded, of_experiment), (listed, of_audit)):
        if isinstance(outcome, str):
            assert outcome in sentence(work, root)
        else:
            assert work(root) == outcome


NUMBERED = relabelled(1, 2)
CLASS_LISTS = { # case: (index.classes.txt, index.csv, outcome of an experiment)
    "byte-order mark": (b"\xef\xbb\xbfa\nb\n", PLAIN, AS_USUAL),
    "blanks at line ends": (b"a \r\nb\r\n", PLAIN, AS_USUAL),
    "a class twice": (b"a\nb\na\n", PLAIN, "lists 'a' twice"),
    "names that are numbers": (b"1\n2\n", NUMBERED, (4, 2, ("1", "2"))),
    "a code beside names that are numbers": (b"1\n2\n", NUMBERED.replace("3.png,train,2", "3.png,train,0"),
                                             "names and no numbers, since a name is one"),
    "codes where names are numbers": (b"1\n2\n", relabelled(0, 1), "label '0' is not one of the 2 classes"),
}


@pytest.mark.parametrize("case", CLASS_LISTS)
def test_a_list_of_classes(case, tmp_path):
    names, table, outcome = CLASS_LISTS[case]
    root = own_images(tmp_path/"data", table, names)
    if isinstance(outcome, str):
        assert outcome in sentence(loaded, root)
    else:
        assert loaded(root) == outcome


def test_clean_and_crowd_labels_of_other_number_formats_are_the_same(tmp_path):
    "Twelve classes: as text, '10' stands before '2', and '3.0' is not '3'."
    rows = []
    for i in range(24):
        Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(tmp_path/f"{i}.png")
        rows.append(f"{i}.png,{'test' if i < 12 else 'train'},{i % 12}.0,{i % 12}")
    (tmp_path/"index.csv").write_text("\n".join(["path,split,label,crowd", *rows]) + "\n")
    clean, crowd = (data.load("folder", tmp_path, labels=column)[0].labels for column in ("label", "crowd"))
    assert clean.tolist() == crowd.tolist() == list(range(12))


def test_rows_of_val_and_copies_across_splits_are_said(tmp_path, capsys):
    root = own_images(tmp_path/"data", with_row("6.png,val,b,a"))
    (root/"3.png").write_bytes((root/"0.png").read_bytes())
    image_files._note.cache_clear()
    loaded(root)
    remarks = capsys.readouterr().err
    assert "1 rows of index.csv are of the split val and take no part" in remarks
    assert "with the pixels of a training image: 1, such as 0.png with those of 3.png" in remarks


def test_a_path_whose_accents_are_stored_otherwise_is_named(tmp_path):
    root = own_images(tmp_path/"data", PLAIN.replace("5.png", unicodedata.normalize("NFC", "größe.png")))
    (root/"5.png").rename(root/unicodedata.normalize("NFD", "größe.png"))
    assert "in the way accents are stored" in sentence(loaded, root)


def test_a_packed_folder_needs_all_images_inside(tmp_path):
    root = own_images(tmp_path/"data", TABLES["path out of the folder"][0])
    (tmp_path/"own.toml").write_text(ENTRY.replace("digits", "folder").replace("0.4", '"none"').replace("sym", "given"))
    said = sentence(bare.pack_profile, str(tmp_path/"own.toml"), tmp_path/"packed", root, str(tmp_path/"out"))
    assert "lists ../5.png, which lies outside of the data folder" in said


def test_images_in_an_archive_beside_the_table(tmp_path):
    root = own_images(tmp_path/"data", PLAIN.replace("5.png", "inside/9.png"))
    assert "image inside/9.png is missing, both as a file and in the archives" in sentence(loaded, root)
    with tarfile.open(root/"more.tar", "w") as archive:
        archive.add(root/"6.png", "inside/9.png")
    assert loaded(root) == AS_USUAL


def test_class_folders_without_a_table(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path/split/name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path/split/name/f"{i}.jpg")
    assert listed(tmp_path) == (12, ("cat", "dog"))
    assert "index.csv is missing" in sentence(loaded, tmp_path)


def test_a_class_without_training_images_is_refused_before_training(tmp_path):
    own_images(tmp_path/"data", PLAIN.replace("train,b", "train,a"))
    s = setting(dataset="folder", root=str(tmp_path/"data"), noise="given", tau=None, distiller="random",
                protocol="dance", ipcs=[1], folder=str(tmp_path/"out"))
    assert "No image has the observed label 1" in sentence(store.prepare, s)


# --- image files --------------------------------------------------------------------------------------------------

def as_file(image, kind="PNG", **options):
    "The bytes of an image file."
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation=6):
    "A JPEG whose left half is white as it is stored; its notes say how the camera was held."
    note = Image.Exif()
    note[0x0112] = orientation
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, :4] = 255
    return as_file(Image.fromarray(half), "JPEG", exif=note, quality=95)


RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
CLEAR_RED = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>"
IMAGES = { # case: (file name, its bytes, outcome: the first pixel, or a part of the sentence)
    "1 bit": ("x.png", as_file(Image.new("1", (8, 8), 1)), WHITE),
    "floating-point from 0 to 1": ("x.tif", as_file(Image.new("F", (8, 8), 1.), "TIFF"), WHITE),
    "floating-point beyond 1": ("x.tif", as_file(Image.new("F", (8, 8), 7.), "TIFF"), "reach from 7 to 7"),
    "16 bits": ("x.png", as_file(Image.fromarray(np.full((8, 8), 65535, np.uint16))), WHITE),
    "32-bit integers": ("x.tif", as_file(Image.new("I", (8, 8), 70_000), "TIFF"), "32-bit integers"),
    "decompression bomb": ("x.png", as_file(Image.new("1", (20_000, 20_000))), "decompression bomb"),
    "CMYK": ("x.jpg", as_file(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), RED),
    "empty": ("x.png", b"", "x.png cannot be read as an image"),
    "turned camera": ("x.jpg", turned(), WHITE),
    "first picture of an animation": ("x.gif", as_file(Image.new("RGB", (8, 8), RED), "GIF", save_all=True,
                                                       append_images=[Image.new("RGB", (8, 8), "blue")]), RED),
    "grey": ("x.png", as_file(Image.new("L", (8, 8), 7)), (7, 7, 7)),
    "HEIC": ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "x.heic cannot be read as an image"),
    "grey under transparency": ("x.png", as_file(Image.new("LA", (8, 8), (50, 0))), WHITE),
    "LAB": ("x.tif", as_file(Image.new("LAB", (8, 8), (0, 128, 128)), "TIFF"), None),
    "palette with transparency": ("x.png", as_file(CLEAR_RED.convert("P")), WHITE),
    "red under transparency": ("x.png", as_file(CLEAR_RED), WHITE),
    "another size": ("x.png", as_file(Image.new("RGB", (9, 7))), "pass size=N (--size N)"),
    "SVG": ("x.svg", SVG, "x.svg cannot be read as an image"),
    "cut in half": ("x.jpg", turned()[:300], "x.jpg cannot be read as an image"),
    "WebP": ("x.webp", as_file(Image.new("RGB", (8, 8), RED), "WEBP", lossless=True), RED),
}


def with_image(root, name, content):
    "A folder whose last training image is a given file."
    own_images(root, PLAIN.replace("5.png", name))
    (root/name).write_bytes(content)
    return root


def last_image(root, **options): return data.load("folder", root, **options)[0].images[-1]


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_file(case, tmp_path):
    name, content, outcome = IMAGES[case]
    root = with_image(tmp_path, name, content)
    if isinstance(outcome, str):
        assert outcome in sentence(last_image, root)
        _, _, faults = layouts.decode_readable(layouts.list_images(root).index, 8)
        assert case == "another size" or list(faults) == [name] # an audit leaves it out, and goes on
    else:
        pixel = last_image(root)[:, 0, 0].mul(255).round().tolist()
        assert outcome is None or np.allclose(pixel, outcome, atol=2), pixel


def test_a_turned_photograph_is_turned_before_it_is_cropped(tmp_path):
    image = last_image(with_image(tmp_path, "x.jpg", turned()), size=4)
    assert image[:, :1].min() > .8 and image[:, 3:].max() < .2


def test_a_strip_is_cropped_to_a_square(tmp_path):
    root = with_image(tmp_path, "x.png", as_file(Image.new("RGB", (900, 7), RED)))
    assert last_image(root, size=8).shape == (3, 8, 8)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_no_image_has(size, tmp_path):
    own_images(tmp_path)
    assert "is no side of an image" in sentence(data.load, "folder", tmp_path, size=size)
    assert "must be at least 1" in sentence(setting, dataset="folder", noise="given", tau=None, size=size)


# --- sets of others -----------------------------------------------------------------------------------------------

X, Y = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10)
SETS = { # case: (images, labels, step size, a part of the sentence)
    "columns for seven classes": (X, torch.eye(10)[:, :7], None, "rows of 10"),
    "no images": (X[:0], Y[:0], None, "as many labels as images"),
    "NaN in all images": (X * torch.nan, Y, None, "640 values that are not finite"),
    "NaN in one pixel": (X.index_fill(0, Y[:1], torch.nan), Y, None, "values that are not finite"),
    "NaN in soft labels": (X, torch.eye(10) * torch.nan, None, "labels.pt holds 100 values that are not finite"),
    "images without channels": (X[:, 0], Y, None, "needs images (n, C, H, W)"),
    "channels last": (X.permute(0, 2, 3, 1), Y, None, "put the channels first"),
    "another image size": (torch.rand(10, 1, 9, 9), Y, None, "images have (1, 8, 8)"),
    "negative labels": (X, Y - 1, None, "labels from -1 to 8"),
    "scalars": (torch.tensor(1.), torch.tensor(2.), None, "needs images (n, C, H, W)"),
    "bytes": ((255 * X).byte(), Y, None, "are no pixels in [0, 1]"),
    "step size that is a text": (X, Y, "x", "one positive step size"),
    "step size NaN": (X, Y, torch.tensor(torch.nan), "one positive step size"),
    "negative step size": (X, Y, torch.tensor(-.01), "one positive step size"),
    "step size for each step": (X, Y, torch.tensor([.01, .02]), "one positive step size"),
}


def others_set(folder, images=X, labels=Y, lr=None):
    "A folder of bare tensors."
    for name, value in {"images": images, "labels": labels, "lr": lr}.items():
        if value is not None:
            torch.save(value, folder/f"{name}.pt")
    return folder


@pytest.mark.parametrize("case", SETS)
def test_a_set_of_others(case, tmp_path):
    *tensors, expected = SETS[case]
    described = dict(dataset="digits", protocol="datm" if tensors[2] is not None else "dance", n_eval=1)
    assert expected in sentence(exchange.evaluate_folder, others_set(tmp_path, *tensors), **described)


def test_an_architecture_that_does_not_exist(tmp_path):
    described = dict(dataset="digits", protocol="dance", n_eval=1)
    assert "did you mean" in sentence(exchange.evaluate_folder, others_set(tmp_path), arch="convnett", **described)


# --- folders that come home ---------------------------------------------------------------------------------------

GOOD = {"accuracies": [.5, .7], "mean": .6, "key": "today"}
CELL = "digits_sym0.4_random_dance_ipc1_seed0.json"


def no_record(folder): (folder/"records/dir.json").mkdir()


def write_text(name, text):
    "A maker of a file of text."
    def make(folder):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(text)
    return make


def write_tensors(name, value):
    "A maker of a file of tensors."
    def make(folder):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(value, folder/name)
    return make


MERGED = { # case: how the folder is made; nothing of it is taken over
    "record cut in half": write_text(f"records/{CELL}", json.dumps(GOOD)[:30]),
    "record of one half": write_text(f"records/{CELL}", '{"mean": .6'),
    "deeply nested": write_text("records/deep.json", "[" * 100_000),
    "folder in the place of a record": no_record,
    "record without fields": write_text(f"records/{CELL}", "{}"),
    "accuracies NaN": write_text(f"records/{CELL}", json.dumps(GOOD | {"accuracies": [float("nan")], "mean": .6})),
    "accuracy 7.5": write_text(f"records/{CELL}", json.dumps(GOOD | {"accuracies": [7.5], "mean": 7.5})),
    "checkpoint whose done is a text": write_tensors("cache/unfinished/r/a.pt", {"done": "5"}),
    "checkpoint beyond every number": write_tensors("cache/unfinished/r/a.pt", {"done": 10**9}),
    "hashes without a hash": write_text("cache/experts/store/hashes.json", "{}"),
    "tensor in the place of a set": write_tensors("cache/synthetic/a.pt", torch.zeros(3)),
}


@pytest.fixture
def at_home(tmp_path):
    "A profile's folder with one finished record, older than whatever comes."
    record = tmp_path/"home/p/records"/CELL
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(GOOD))
    os.utime(record, (10**9, 10**9))
    return tmp_path/"home/p"


@pytest.mark.parametrize("case", MERGED)
def test_a_merged_folder(case, tmp_path, at_home):
    source = tmp_path/"away/p"
    (source/"records").mkdir(parents=True)
    MERGED[case](source)
    assert set(bare.merge_results(source, at_home).values()) == {0}
    assert json.loads((at_home/"records"/CELL).read_text()) == GOOD


def test_a_record_of_other_code_does_not_replace_a_finished_one(tmp_path, at_home, monkeypatch):
    monkeypatch.setattr(bare, "keys_of_today", lambda into: {CELL: "today"})
    write_text(f"p/records/{CELL}", json.dumps(GOOD | {"key": "other"}))(tmp_path/"away")
    assert bare.merge_results(tmp_path/"away/p", at_home)["records"] == 0


def test_a_file_in_the_place_of_the_records(tmp_path, at_home):
    write_text("p/records", "")(tmp_path/"away")
    assert "holds neither records nor a cache" in sentence(bare.merge_results, tmp_path/"away/p", at_home)


# --- profiles -----------------------------------------------------------------------------------------------------

ENTRY = '[[settings]]\ndataset = "digits"\nnoise = "sym"\ntau = 0.4\ndistiller = "dance"\n'
NEEDS = "needs tables [[settings]]"
PROFILES = { # case: (what the file holds, outcome: number of settings or a part of the sentence)
    "good": (ENTRY, 1),
    "byte-order mark": ("\ufeff" + ENTRY, 1),
    "rate 1": (ENTRY.replace("0.4", "1"), 1),
    "two thousand seeds": (ENTRY + f"seed = {list(range(2000))}\n", 2000),
    "date in changes": (ENTRY + "changes = {iterations = 1979-05-27}\n", "'iterations' takes int"),
    "negative iterations": (ENTRY + "changes = {iterations = -1}\n", "iterations must be at least 1"),
    "text as changes": (ENTRY + 'changes = "x"\n', "'changes' takes dict"),
    "text as controls": (ENTRY + 'controls = "full"\n', "'controls' takes list"),
    "number as a control": (ENTRY + "controls = [1]\n", "controls are names"),
    "data set that is a path": (ENTRY.replace("digits", "../../evil"), "becomes a part of file names"),
    "noise that is a path": (ENTRY.replace('"sym"', '"../../evil"'), "becomes a part of file names"),
    "device": (ENTRY + 'device = "cuda"\n', "give --device"),
    "folder": (ENTRY + 'folder = "/data"\n', "give --folder"),
    "root": (ENTRY + 'root = "/data"\n', "give --root"),
    "profile": (ENTRY + 'profile = "../../x"\n', "give --profile"),
    "number as a distiller": (ENTRY.replace('"dance"', "5"), "'distiller' takes str"),
    "nothing": ("", NEEDS),
    "empty list": ("settings = []\n", NEEDS),
    "list of numbers": ("settings = [1, 2]\n", NEEDS),
    "list of lists": ("settings = [[1]]\n", NEEDS),
    "text": ('settings = "abc"\n', NEEDS),
    "one table in place of a list": (ENTRY.replace("[[settings]]", "[settings]"), NEEDS),
    "no TOML": ("hello\n", "is not TOML"),
    "Latin-1": ((ENTRY + "# grö\n").encode("latin-1"), "not in UTF-8"),
    "IPC 1.0": (ENTRY + "ipcs = [1.0]\n", "whole numbers from 1"),
    "number as IPCs": (ENTRY + "ipcs = 5\n", "'ipcs' takes list"),
    "text as IPCs": (ENTRY + 'ipcs = "1"\n', "'ipcs' takes list"),
    "seed true": (ENTRY + "seed = true\n", "'seed' takes int"),
    "seed -1": (ENTRY + "seed = -1\n", "between 0 and 2**32 - 1"),
    "a rate twice": (ENTRY.replace("0.4", "[0.4, 0.4]"), "Two entries of profile own"),
    "no rate": (ENTRY.replace("0.4", "[]"), "asks for nothing"),
    "rate nan": (ENTRY.replace("0.4", "nan"), "between 0 and 1"),
    "nested rates": (ENTRY.replace("0.4", "[[0.1]]"), "'tau' takes float"),
    "rate as a text": (ENTRY.replace("0.4", '"x"'), "'tau' takes float"),
    "key outside of the tables": ("foo = 1\n" + ENTRY, "'foo' outside of [[settings]]"),
    "misspelt table": (ENTRY.replace("settings", "setting"), "'setting' outside of [[settings]]"),
    "unknown key": (ENTRY + "iterations = 5\n", "Unknown parameter 'iterations'"),
    "step size nan": (ENTRY + "changes = {lr_img = nan}\n", "must be a finite number"),
    "factor 0": (ENTRY + "changes = {factor = 0}\n", "factor must be at least 1"),
    "width 0": (ENTRY + "changes = {width = 0}\n", "width must be at least 1"),
    "a billion images a class": (ENTRY + "ipcs = [1000000000]\n", 1),
    "threads beyond every machine": (ENTRY + "threads = 100000\n", "threads must be at most 1024"),
}


@pytest.mark.parametrize("case", PROFILES)
def test_a_profile(case, tmp_path):
    content, outcome = PROFILES[case]
    file = tmp_path/"own.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(outcome, str):
        assert outcome in sentence(profiles.profile, str(file))
    else:
        assert len(profiles.profile(str(file))) == outcome


def test_a_folder_in_the_place_of_a_profile(tmp_path):
    (tmp_path/"dir.toml").mkdir()
    assert "is a folder, where a file is needed" in sentence(profiles.profile, str(tmp_path/"dir.toml"))


def test_a_profile_under_the_name_of_a_built_in_one(tmp_path):
    (tmp_path/"digits.toml").write_text(ENTRY)
    assert "has the name of a profile that is built in" in sentence(profiles.profile, str(tmp_path/"digits.toml"))


def test_a_billion_images_a_class_are_refused_before_any_work():
    s = setting(distiller="dance", tau=.4, ipcs=[10**9])
    assert "does not hold" in sentence(store.prepare, s)


# --- commands and their surroundings ------------------------------------------------------------------------------

def answered(monkeypatch, *args):
    "The sentence with which a command line is refused."
    def execute(*_, **__): pytest.fail("the engine was started")
    monkeypatch.setattr(engine, "start", execute)
    monkeypatch.setattr(sys, "argv", ["dd_lnl", *map(str, args)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return str(ended.value.code)


OWN = ["run", "--dataset=folder", "--tau=none", "--distiller=random", "--protocol=dance", "--ipcs=1", "--n-eval=1"]


@pytest.mark.parametrize("column", ["worker/1", "crowd label {1}", "<img src=x onerror=alert(1)>", "../../esc"])
def test_a_column_that_cannot_be_a_part_of_a_file_name(column, tmp_path, monkeypatch):
    root = own_images(tmp_path/"data", PLAIN.replace("crowd", column))
    said = answered(monkeypatch, *OWN, f"--root={root}", f"--noise={column}", f"--folder={tmp_path/'out'}")
    assert "becomes a part of file names: rename it" in said


def test_whitening_that_no_memory_holds(tmp_path, monkeypatch):
    root = own_images(tmp_path/"data", size=(224, 224))
    monkeypatch.setattr(store, "total_memory", lambda: 16 * 2**30)
    options = [option for option in OWN if not option.startswith(("--distiller", "--protocol"))]
    said = answered(monkeypatch, *options, "--distiller=datm", "--noise=given", f"--root={root}",
                    f"--folder={tmp_path/'out'}")
    assert "use a smaller --size or IPC, or DANCE, which whitens nothing" in said


@pytest.mark.parametrize("place", ["folder", "working folder"])
def test_braces_in_a_folder(place, tmp_path, monkeypatch):
    braces = tmp_path/"out 'a' {b}"
    braces.mkdir()
    if place == "working folder":
        monkeypatch.chdir(braces)
    folder = braces if place == "folder" else tmp_path/"out"
    said = answered(monkeypatch, "run", "--distiller=random", "--protocol=dance", "--ipcs=1", f"--folder={folder}")
    assert "holds braces, which are patterns of the workflow engine" in said


COMMANDS_WITH_PATHS = [
    (["run", "--dataset=folder", "--noise=given", "--tau=none", "--root=~/data"], "HOME/data/index.csv is missing"),
    (["export", "x", "--to=~/set", "--folder=~/out"], "There are no records in HOME/out/digits"),
    (["evaluate", "~/set"], "There is no folder HOME/set"),
    (["merge", "~/away/lite", "--folder=~/out"], "HOME/away/lite holds neither records"),
    (["audit", "~/photos"], "There is no folder HOME/photos"),
    (["figures", "--folder=~/out"], "There are no records in HOME/out/digits"),
    (["verify", "--folder=~/out"], "There are no records in HOME/out/digits"),
    (["status", "--profile=~/own.toml"], "There is no profile file HOME/own.toml"),
    (["pack", "--to=~/data/packed", "--profile=digits", "--root=~/data"], "lies inside of the data folder HOME/data"),
]


@pytest.mark.parametrize("args, says", COMMANDS_WITH_PATHS, ids=[args[0] for args, _ in COMMANDS_WITH_PATHS])
def test_the_home_folder_in_every_command(args, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert says.replace("HOME", str(tmp_path)) in answered(monkeypatch, *args)
    assert not (tmp_path/"~").exists()


def test_the_home_folder_of_nobody(monkeypatch):
    assert "starts with the home folder of nobody" in answered(monkeypatch, "export", "x", "--to=~no such user/x")


def test_a_users_profile_of_the_engine_is_left_alone(monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "mycluster")
    assert "SNAKEMAKE_PROFILE" not in engine.engine_environment()


def test_a_line_of_clothing1m_without_a_label(tmp_path):
    for name in ("noisy_label_kv.txt", "clean_label_kv.txt"):
        (tmp_path/name).write_text("images/0.jpg 1\nimages/1.jpg\n")
    for name in ("noisy_train_key_list.txt", "clean_test_key_list.txt", "category_names_eng.txt"):
        (tmp_path/name).write_text("images/0.jpg\n")
    said = sentence(image_files.index_clothing1m, tmp_path)
    assert "Row 2 of noisy_label_kv.txt reads 'images/1.jpg', not a path" in said


def test_labels_from_a_list_and_labels_out_of_range():
    assert noise.given([0, 1, 1, 0], [0, 1, 0, 0]).tau_hat == .25
    clean = list(range(10))
    assert "from 0 to 9" in sentence(noise.given, [label + 1 for label in clean], clean, 10)
