"""The pages in a real browser, at the width of a desk and of a phone.

Skipped where neither Chromium nor Chrome is installed.
"""

import html
import json
import re
import shutil
import subprocess
import urllib.parse

import pytest

from sigma_jax.report.__main__ import main

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
WIDTHS = (1280, 390)
# Whatever people call things: what a browser would take for markup.
BAD = "<blink onclick=fail()>&amp;'\""

pytestmark = pytest.mark.skipif(
  BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)

# Before all else on the page: errors of any script, its own and injected ones.
LISTEN = """<script>
const failures = [];
addEventListener("error", event => failures.push(event.message || "resource"),
                 true);
</script>"""
# What the page looks like once it is laid out.
MEASURE = """<script>
addEventListener("load", () => {
  const box = node => node.getBoundingClientRect();
  const told = node => node.tagName + ": " + node.textContent.slice(0, 60);
  const wide = [...document.querySelectorAll("main *")].filter(node =>
    !node.closest(".scroll, .tile, defs, title") &&
    (box(node).right > innerWidth + 1 || box(node).left < -1));
  const texts = [...document.querySelectorAll(".chart svg text")];
  const cut = texts.filter(text => {
    const own = box(text), all = box(text.closest("svg"));
    return own.left < all.left - 1 || own.right > all.right + 1 ||
           own.top < all.top - 1 || own.bottom > all.bottom + 1;
  });
  const pictures = [...document.querySelectorAll("img")];
  const result = {
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    failures: failures,
    wide: wide.map(told),
    cut: cut.map(told),
    charts: document.querySelectorAll(".chart svg").length,
    numbers: texts.filter(text => !text.className.baseVal)
      .map(text => text.textContent),
    nameless: pictures.filter(img => !img.alt).length +
      document.querySelectorAll("svg:not([aria-label])").length,
    empty: pictures.filter(img => !img.naturalWidth).length,
    pictures: pictures.length,
    links: [...document.querySelectorAll("a")].map(a => a.getAttribute("href")),
    markup: document.querySelectorAll("blink").length,
    text: document.body.innerText,
  };
  const out = document.createElement("pre");
  out.id = "measured";
  out.textContent = encodeURIComponent(JSON.stringify(result));
  document.body.append(out);
});
</script>"""


# A window is at least 500 wide; a frame in it is as wide as it is told to be.
FRAME = """<!doctype html><iframe style="width:{width}px;height:1200px;border:0"
srcdoc="{page}"></iframe><pre id="out"></pre><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  document.getElementById("out").textContent =
    page.getElementById("measured").textContent;
}});
</script>"""


def seen(page, width, tmp_path):
  """What a browser of this width says of a page; see MEASURE."""
  text = page.read_text()
  text = text.replace("<head>", f"<head>{LISTEN}", 1)
  text = text.replace("</body>", f"{MEASURE}</body>", 1)
  outer = tmp_path / "frame.html"
  outer.write_text(FRAME.format(width=width, page=html.escape(text)))
  command = [
    *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu"),
    *("--hide-scrollbars", "--window-size=1400,1300"),
    *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
    f"file://{urllib.parse.quote(str(outer))}",
  ]
  done = subprocess.run(command, capture_output=True, text=True, timeout=120)
  found = re.search(r'<pre id="out">(.+?)</pre>', done.stdout, re.DOTALL)
  assert found, done.stderr
  return json.loads(urllib.parse.unquote(html.unescape(found[1])))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, clip_folder, tiny_config, metric_rows, write_run,
         probe_row):  # fmt: skip
  """Two runs with all that a page can show, and names that are markup."""
  folder = tmp_path_factory.mktemp("runs")
  clips = folder / "clips"
  shutil.copytree(clip_folder, clips)
  (clips / "0.mp4").rename(clips / f"{BAD}.mp4")
  # As Python's csv writes it.
  quoted = '"' + f"{BAD}.mp4".replace('"', '""') + '"'
  lines = (clips / "val.csv").read_text().splitlines()
  (clips / "val.csv").write_text("\n".join([f"{quoted} 0", *lines[1:]]) + "\n")
  sets = {BAD: {"names": [BAD] * 6, "of_label": list(range(6))}}
  (clips / "label_sets.json").write_text(json.dumps(sets))
  found = []
  for number, name in enumerate((BAD, "plain" * 12)):
    changes = {"seed": number, "data.label_sets": f"{clips}/label_sets.json"}
    workdir = folder / name
    write_run(
      workdir,
      tiny_config(clips, **changes, **{"optimizer.base_lr": 0.5 + number}),
      metric_rows(learning_rate=3.2e-5, flat_tubes=1e-4),
      [probe_row(encoder, BAD, 0.5) for encoder in ("pretrained", "random")],
      params=number == 0,
    )
    scores = {"knn": 0.4, "linear": 0.6, "chance": 0.2}
    rows = [
      {"step": step, **scores, "num_train": 9, "num_test": 5, "seconds": 1.0}
      for step in (10, 20, 30)
    ]
    rows = [
      row | {f"{key}_{BAD}": scores[key] for key in scores} for row in rows
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (workdir / "evaluations.jsonl").write_text(text)
    bad = {"file": f"/data/{BAD}.mp4", "reason": BAD}
    (workdir / "bad_files.jsonl").write_text(json.dumps(bad) + "\n")
    found.append(workdir)
  return found


def check(found, width):
  """What holds of every page."""
  assert found["width"] == width
  assert found["page"] <= width
  assert not found["failures"] and not found["wide"] and not found["cut"]
  assert found["nameless"] == found["empty"] == found["markup"] == 0
  assert BAD in found["text"]
  # One power a chart, and it stands at the axis.
  for number in found["numbers"]:
    assert re.fullmatch(r"-?\d+(\.\d+)?[kM]?", number), number


def linked(found, page):
  """Names of the files that links lead to; each is there."""
  paths = [page.parent / urllib.parse.unquote(link) for link in found["links"]]
  assert all(path.is_file() for path in paths)
  return {path.name for path in paths}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_run(runs, width, tmp_path):
  page = runs[0] / "report.html"
  if not page.exists():
    assert main([str(runs[0])]) == 0
  found = seen(page, width, tmp_path)
  check(found, width)
  assert found["charts"] > 6
  assert found["pictures"] == 6 * 5  # the tubes of six prototypes
  assert linked(found, page) == {
    *("config.json", "metrics.jsonl", "evaluations.jsonl"),
    *("bad_files.jsonl", "results.json"),
  }


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_two_runs(runs, width, tmp_path):
  (runs[1] / "report.html").write_text("")
  page = tmp_path / "comparison.html"
  assert main([*map(str, runs), f"--out={page}"]) == 0
  found = seen(page, width, tmp_path)
  check(found, width)
  assert found["charts"] > 6
  assert "optimizer.base_lr" in found["text"]
  assert linked(found, page) == {"report.html"}
