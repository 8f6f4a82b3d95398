"""The report, as a person opens it: in a browser, without a network, from the front page to figures and notebooks."""
import shutil

import pytest
from conftest import ROOT
from pages import WIDTHS, asked_elsewhere, complaints, dead_ends, set_width
from selenium.webdriver.common.by import By

from dd_lnl.report import build_site

SAMPLE = "digits_sym0.4_datm_datm_seed0" # its executed notebook is committed
pytestmark = pytest.mark.filterwarnings( # of Sphinx, about its extensions
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    "The front page of a report on the committed digits results."
    committed, home = ROOT/"outputs"/"digits", tmp_path_factory.mktemp("outputs")/"digits"
    for part in ("records", "figures", "tables"):
        shutil.copytree(committed/part, home/part)
    (home/"notebooks").mkdir()
    for path in (committed/"notebooks").glob("*.ipynb"):
        if "_seed" not in path.stem or path.stem == SAMPLE:
            shutil.copy(path, home/"notebooks")
    docs = home.parent/"site" # the project's own, to which reports link where it is
    (docs/"nbs").mkdir(parents=True)
    for chapter in (ROOT/"nbs").glob("[0-9]*.ipynb"):
        (docs/"nbs"/f"{chapter.stem}.html").write_text("<title>a chapter</title>")
    return build_site(home, docs)


def click(browser, front, css):
    "Open the front page and click what `css` finds there; the text of what was clicked."
    browser.get(front.as_uri())
    link = browser.find_element(By.CSS_SELECTOR, css)
    text = link.text
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    return text


def drawn(browser):
    "The widths in pixels of the pictures that the page really shows."
    images = browser.find_elements(By.CSS_SELECTOR, "div.body img")
    widths = [int(image.get_property("naturalWidth")) for image in images if image.is_displayed()]
    return [width for width in widths if width]


def test_from_the_front_page_to_a_figure(browser, front):
    click(browser, front, "a img[src*='figure_2']")
    assert browser.current_url.endswith("notebooks/figure_2.html")
    assert "Figure 2" in browser.title and max(drawn(browser)) > 300


def test_from_a_number_to_the_notebook_that_made_it(browser, front):
    number = click(browser, front, f"table a[href*='{SAMPLE}']")
    assert browser.current_url.endswith(f"notebooks/{SAMPLE}.html")
    assert "±" in number and f"{number} %" in browser.find_element(By.TAG_NAME, "body").text
    assert drawn(browser)


def test_nothing_is_asked_of_the_network(browser, front): assert asked_elsewhere(browser, [front]) == []


def test_every_link_leads_somewhere(front): assert dead_ends(front.parent) == []


def test_it_opens_with_the_answer(browser, front):
    browser.get(front.as_uri())
    first = browser.find_element(By.CSS_SELECTOR, "div.body ul li").text
    assert "distilled images per class" in first and "usual training at its last epoch" in first
    titles = [title.text.rstrip("¶") for title in browser.find_elements(By.CSS_SELECTOR, "div.body h3")]
    assert titles[1].startswith("Figure 2") and titles[0] == "The answer"
    pictures = browser.find_elements(By.CSS_SELECTOR, "div.body img")
    assert len(pictures) > 10 and all(len(picture.get_attribute("alt")) > 30 for picture in pictures)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["index", "notebooks/figure_2", "notebooks/claims", f"notebooks/{SAMPLE}"])
def test_it_is_readable_at_every_width(browser, front, page, width):
    faults = complaints(browser, (front.parent/f"{page}.html").as_uri(), width)
    set_width(browser, None)
    assert faults == []
