"""The site, as it is built from the repository: complete, without a dead link, and readable at every width."""
import html, re, shutil
from pathlib import Path
from urllib.parse import urlparse

import pytest
from conftest import ROOT, committed_profiles
from pages import WIDTHS, asked_elsewhere, complaints, dead_ends, fetched_from_elsewhere, set_width
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from dd_lnl.docs import build_docs
from dd_lnl.verdicts import CLAIMS

pytestmark = pytest.mark.filterwarnings( # of Sphinx, about its extensions
    "ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
SAMPLE = ["index", "findings", "gallery", "claims", "glossary", "chapters", "reference", "results", "nbs/02_noise",
          "nbs/08_dance", "nbs/13b_verdicts", "nbs/16_engine", "api/verdicts", "api/core", "outputs/digits/report",
          "outputs/digits/notebooks/figure_2", "outputs/digits/notebooks/results", "genindex"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The folder of the site."
    return build_docs(ROOT, tmp_path_factory.mktemp("docs")/"site").parent


def test_everything_has_a_page(site):
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    wanted = {f"nbs/{path.stem}" for path in (ROOT/"nbs").glob("[0-9]*.ipynb")}
    wanted |= {f"nbs/howto/{path.stem}" for path in (ROOT/"nbs/howto").glob("*.ipynb")}
    wanted |= {f"api/{path.stem}" for path in (ROOT/"dd_lnl").glob("*.py") if not path.stem.startswith("_")}
    wanted |= {f"outputs/{home.name}/report" for home in committed_profiles()}
    assert wanted - pages == set() and {*SAMPLE} - pages == set()


def test_every_claim_has_its_rule_records_and_command(site):
    text = (site/"claims.html").read_text()
    assert all(f"<h2>{claim.name}<a" in text for claim in CLAIMS)
    text = html.unescape(re.sub("<[^>]*>", "", text))
    assert text.count("rule = ") >= len(CLAIMS) and "dd_lnl reproduce --profile digits, then" in text
    assert "records in outputs/digits/records" in text and "_sym0.2_dance_dance_ipc50_seed0.json" in text


def test_there_is_no_dead_link(site): assert dead_ends(site) == []


def test_nothing_is_asked_of_the_network(site, browser):
    assert fetched_from_elsewhere(site) == []
    assert asked_elsewhere(browser, [site/f"{page}.html" for page in SAMPLE]) == []


def test_dead_links_and_foreign_pictures_are_seen(site, tmp_path):
    shutil.copy(site/"glossary.html", tmp_path/"a.html")
    (tmp_path/"b.html").write_text('<a href="none.html">x</a> <a href="a.html#nowhere">y</a> <img src="https://a.org/b.png">')
    dead = dead_ends(tmp_path)
    assert "b.html: none.html" in dead and "b.html: a.html#nowhere" in dead
    assert fetched_from_elsewhere(tmp_path) == ["https://a.org/b.png"]


def test_what_a_script_fetches_is_seen(browser, tmp_path):
    (tmp_path/"a.html").write_text('<script>new Image().src = "http://localhost:9/b.png"</script>')
    assert asked_elsewhere(browser, [tmp_path/"a.html"]) == ["http://localhost:9/b.png"]


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_readable_at_every_width(site, browser, width):
    faults = {page: complaints(browser, (site/f"{page}.html").as_uri(), width) for page in SAMPLE}
    set_width(browser, None)
    assert {page: own for page, own in faults.items() if own} == {}


@pytest.mark.parametrize("style, fault", [
    ("width: 600px", "too wide"), ("width: 50px; overflow: hidden; white-space: nowrap", "is cut"),
    ("font-size: 9px", "letters of 9")])
def test_what_cannot_be_read_is_seen(browser, tmp_path, style, fault):
    page = tmp_path/"page.html"
    page.write_text(f'<meta name="viewport" content="width=device-width, initial-scale=1"><div class="body">'
                    f'<p style="{style}">{"A sentence that is long enough. " * 3}</p></div>')
    faults = complaints(browser, page.as_uri(), WIDTHS[0])
    set_width(browser, None)
    assert any(fault in text for text in faults)


def test_a_shrunk_picture_is_seen(browser, tmp_path):
    large = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='1200' height='9'/>"
    page = tmp_path/"page.html"
    page.write_text('<meta name="viewport" content="width=device-width"><div class="body">'
                    f'<img src="{large}" width="300">'
                    f'<div style="overflow-x: auto"><img src="{large}" width="720"></div></div>')
    faults = complaints(browser, page.as_uri(), WIDTHS[0])
    set_width(browser, None)
    assert faults == ["a picture is only 300 pixels wide"]


def test_its_search_finds_a_chapter(site, browser):
    browser.get(f"{(site/'search.html').as_uri()}?q=trajectory")
    results = WebDriverWait(browser, 20).until(lambda page: page.find_elements(By.CSS_SELECTOR, "ul.search li a"))
    found = {Path(urlparse(link.get_attribute("href")).path).stem for link in results}
    assert found & {"06_trajectories", "06a_matching", "07_datm"}
