"""What a reader with a browser of some width, and one who follows every link, would complain about."""
import json, re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

WIDTHS = (390, 820, 1300) # pixels: a phone, a tablet, a desk
# What sticks out of the page without a box that scrolls, what is cut off, the smallest letters of running text, and
# pictures of several panels that are too small to read (`answer` and `figure_3` are simple enough).
COMPLAINTS = """
const page = document.documentElement, wide = arguments[0], out = [], cut = []; // a phone's window grows with its page
for (const element of document.querySelectorAll('div.body *')) {
  const box = element.getBoundingClientRect(), style = getComputedStyle(element);
  if (!box.width || style.position === 'absolute') continue;
  let inside = false;
  for (let above = element.parentElement; above; above = above.parentElement)
    inside ||= ['auto', 'scroll'].includes(getComputedStyle(above).overflowX);
  if (box.right > wide + 1 && !inside) out.push(element.outerHTML.slice(0, 90));
  if (['hidden', 'clip'].includes(style.overflowX) && element.scrollWidth > element.clientWidth + 1)
    cut.push(element.outerHTML.slice(0, 90));
}
const texts = [...document.querySelectorAll('div.body p')].filter(text => text.innerText.length > 60);
const sizes = texts.map(text => parseFloat(getComputedStyle(text).fontSize));
const large = [...document.querySelectorAll('div.body img')].filter(
  picture => picture.naturalWidth > 1000 && !/answer|figure_3/.test(picture.src));
const shrunk = large.map(picture => picture.getBoundingClientRect().width).filter(width => width && width < 600);
return [page.scrollWidth - wide, out, cut, Math.min(99, ...sizes), shrunk];
"""
SMALLEST = 14 # pixels, of a letter in running text


def set_width(browser, width):
    "Make the browser as wide as a device; None: as it was."
    if width is None:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def complaints(browser, address, width):
    "What is wrong with a page at one width."
    set_width(browser, width)
    browser.get(address)
    too_wide, out, cut, size, shrunk = browser.execute_script(COMPLAINTS, width)
    faults = [f"the page is {too_wide} pixels too wide"] * (too_wide > 0)
    faults += [f"sticks out: {element}" for element in out] + [f"is cut: {element}" for element in cut]
    faults += [f"a picture is only {pixels:.0f} pixels wide" for pixels in shrunk]
    return faults + [f"letters of {size} pixels"] * (size < SMALLEST)


def asked_elsewhere(browser, pages):
    "What a browser asks of the network while it opens some files."
    browser.get_log("performance") # what was asked before
    for page in pages:
        browser.get(page.as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked # it does keep a log
    return [url for url in asked if not url.startswith(("file:", "data:"))]


class Page(HTMLParser):
    "The addresses that a page points to, what it fetches, and the places in it."
    def __init__(self, path):
        super().__init__()
        self.addresses, self.fetched, self.places = [], [], {"", "top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        address = values.get("href") or values.get("src")
        if address:
            self.addresses.append(address)
        if address and tag in ("script", "img", "iframe", "link"):
            self.fetched.append(address)


def dead_ends(site):
    "The links of a site that lead to no file, or to no place in it."
    pages = {path.resolve(): Page(path) for path in sorted(Path(site).rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for address in page.addresses:
            file, _, place = unquote(address).partition("#")
            if re.match(r"\w+:|//", file):
                continue
            target = (path.parent/file.partition("?")[0]).resolve() if file else path
            target = target/"index.html" if target.is_dir() else target
            if not target.exists() or place and target in pages and place not in pages[target].places:
                dead.append(f"{path.name}: {address}")
    return dead


def fetched_from_elsewhere(site):
    "What the tags of a site's pages would fetch from the network."
    return [address for path in Path(site).rglob("*.html") for address in Page(path).fetched
            if re.match(r"(https?:)?//", address)]
