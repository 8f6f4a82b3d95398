"""Whatever comes from outside, the outcome is a right result or one sentence: random images, tables, tensors, names.

The number of examples is small, so that the suite stays short; `HYPOTHESIS_EXAMPLES=2000` looks longer.
"""
import csv, io, os, tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from dd_lnl import audit_report, checks, decoding, exchange, layouts, profiles, suspicion, tables
from dd_lnl.core import InputError
from dd_lnl.image_files import read_index

N = int(os.environ.get("HYPOTHESIS_EXAMPLES", 60))
fuzz = settings(max_examples=N, deadline=None, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.too_slow])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def sentence_or(work, *args):
    "(result, None), or (None, the sentence of an `InputError`); every other exception is a fault."
    try:
        return work(*args), None
    except InputError as e:
        assert str(e) and "\n" not in str(e), repr(str(e))
        return None, str(e)


def both_ways(*strategies):
    "Makes a test of a check that says whether it took its random input: some it takes, and some it refuses."
    def decorated(check):
        def test():
            outcomes = set()
            fuzz(given(st.tuples(*strategies))(lambda drawn: outcomes.add(check(*drawn))))()
            assert outcomes == {True, False}
        return test
    return decorated


def edits(n, *more): # places from 0 to n - 1; what to draw for each
    "At most two edits of something valid."
    return st.lists(st.tuples(st.integers(0, n - 1), *more), max_size=2)


@fuzz
@given(st.binary(max_size=300))
def test_bytes_are_pixels_or_a_reason(data):
    for size in (None, 4):
        outcome = decoding.attempt(data, size)
        assert isinstance(outcome, str) and outcome or outcome.dtype == np.uint8 and outcome.shape[0] == 3


@fuzz
@given(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"]), st.integers(1, 9),
       st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from(["PNG", "TIFF", "JPEG", "WEBP", "GIF", "PPM"]),
       st.integers(0, 9))
def test_images_of_every_kind(mode, width, height, seed, kind, orientation):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels[..., 0].astype(np.float32)) if mode == "F" else image.convert("L").convert(mode)
    note = Image.Exif()
    note[0x0112] = orientation
    file = io.BytesIO()
    try:
        image.save(file, kind, exif=note)
    except (OSError, ValueError, KeyError): # this format has no such images
        return
    outcome = decoding.attempt(file.getvalue(), None)
    if isinstance(outcome, str):
        assert mode in ("F", "I"), outcome
        return
    assert sorted(outcome.shape) == sorted((3, height, width)) and outcome.dtype == np.uint8


CELLS = st.one_of(st.sampled_from(["a.png", "b.png", "./a.png", "train", "test", "val", "cat", "dog", "Cat", "0", "1",
                                   "3.0", "", "nan", "=1", "x,y", '"', "a\\b"]), NAMES)


TABLE = [["path", "split", "label", "crowd"], ["0.png", "test", "cat", "dog"], ["1.png", "test", "dog", "dog"],
         *([f"{i}.png", "train", "cat", "dog"] for i in range(2, 6))]


@both_ways(st.permutations(range(4)), st.sampled_from([",", ";", "\t"]),
           st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
           edits(len(TABLE), st.integers(0, 3), st.one_of(st.none(), CELLS)))
def test_tables(order, delimiter, encoding, changes):
    rows = [[row[column] for column in order] for row in TABLE]
    for row, column, cell in changes:
        rows[row][column] = cell
    file = io.StringIO() # None: a cell less
    csv.writer(file, delimiter=delimiter).writerows([cell for cell in row if cell is not None] for row in rows)
    with tempfile.TemporaryDirectory() as d:
        place = Path(d)/"index.csv"
        place.write_bytes(file.getvalue().encode(encoding, errors="replace"))
        index, _ = sentence_or(read_index, place)
        if index is not None:
            assert len(set(index.paths)) == len(index.paths) == len(index.labels)
            assert 0 <= index.labels.min() and index.labels.max() < len(index.class_names)
            assert len(set(index.class_names)) == len(index.class_names) > 1
        listing, _ = sentence_or(layouts.list_images, Path(d))
        if listing is not None:
            assert len(listing.splits) == len(listing.index.paths) == len(listing.index.labels)
    return index is not None


@fuzz
@given(st.lists(st.one_of(st.integers(-3, 12).map(str), st.sampled_from(["cat", "Dog", "dog", "1.0", "02", ""]), NAMES),
                max_size=12))
def test_labels_mean_one_class_each(cells):
    names, _ = sentence_or(tables.shown_names, cells, "the rows", "x.classes.txt")
    if names is None:
        return
    codes = tables.label_codes(names)
    for cell in filter(None, cells): # the same label is the same class, however it is written
        assert tables.read_label(cell, codes) == tables.read_label(tables.canonical(cell), codes)
    if not any(map(tables.is_number, names)):
        assert {tables.read_label(name, codes) for name in names} == set(range(len(names)))


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def rows_with(shape, changes):
    "Rows of probabilities in which some numbers are replaced."
    rows = torch.arange(6.).reshape(shape).softmax(1)
    for place, value in changes:
        rows.view(-1)[place] = value
    return rows


SHAPES = st.sampled_from([(3, 2), (2, 3), (1, 6)])


@both_ways(SHAPES, edits(6, NUMBERS), st.booleans(), st.sampled_from(["rcig", "dance", "datm"]))
def test_tensors_of_labels(shape, changes, are_classes, protocol):
    rows = rows_with(shape, changes)
    targets, _ = sentence_or(exchange.read_labels, rows[:, 0].round() if are_classes else rows, shape[1], protocol)
    if targets is not None:
        assert targets.shape == shape and torch.isfinite(targets).all()
    return targets is not None


@both_ways(SHAPES, edits(6, NUMBERS))
def test_rows_of_probabilities(shape, changes):
    p, _ = sentence_or(suspicion.check_probabilities, rows_with(shape, changes).numpy(), np.zeros(shape[0]), shape[1])
    if p is not None:
        assert np.allclose(p.sum(1), 1) and (p >= 0).all()
    return p is not None


@fuzz
@given(st.one_of(st.none(), NUMBERS, st.text(max_size=5), st.lists(NUMBERS, max_size=3)))
def test_step_sizes(value):
    lr, _ = sentence_or(checks.check_step_size, "lr.pt", value)
    assert lr is None or 0 < lr < float("inf")


@both_ways(st.sampled_from([(3, 2, 2), (1, 3, 2, 2), (3, 2, 2, 1), (12,)]), edits(12, NUMBERS))
def test_arrays_of_images(shape, changes):
    values = np.linspace(0, 1, 12, dtype=np.float32)
    for place, value in changes:
        values[place] = value
    pixels, _ = sentence_or(checks.as_pixels, values.reshape(shape))
    assert pixels is None or 0 <= pixels.min() and pixels.max() <= 1
    return pixels is not None


@fuzz
@given(st.text(max_size=120), st.text(max_size=120))
def test_names_that_become_files(one, other):
    safe = checks.safe_name(one)
    assert safe and not set(safe) & set("/\\{}<>| \n\0") and not safe.startswith(".") and len(safe) < 90
    assert (checks.safe_name(other) == safe) == (one == other)


@fuzz
@given(st.text(max_size=40))
def test_cells_and_pages_hold_no_code(text):
    cell = audit_report.as_text(text)
    assert not cell.startswith(("=", "+", "-", "@")) or tables.is_number(cell)
    assert "<" not in audit_report.text_of(text) and '"' not in audit_report.text_of(text)
    assert "<" not in checks.in_table(text) and "|" not in checks.in_table(text)


FIELDS = st.dictionaries(
    st.sampled_from(["dataset", "noise", "tau", "distiller", "ipcs", "seed", "changes", "controls", "threads", "root"]),
    st.one_of(st.integers(-2, 10**6), st.booleans(), st.sampled_from(['"digits"', '"sym"', '"dance"', '"x/y"', "nan"]),
              st.sampled_from(["[1]", "[]", "[0]", "{}", "{iterations = -1}", '{width = "a"}', "0.4", "[[1]]"])),
    max_size=8)


@fuzz
@given(FIELDS)
def test_profiles(fields):
    values = {"dataset": '"digits"', "noise": '"sym"', "tau": "0.4", "distiller": '"dance"'} | fields
    lines = [f"{name} = {str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]
    with tempfile.TemporaryDirectory() as d:
        file = Path(d)/"own.toml"
        file.write_text("\n".join(["[[settings]]", *lines]))
        grid, _ = sentence_or(profiles.profile, str(file))
        assert grid is None or all(s.ipcs and min(s.ipcs) >= 1 for s in grid)
