"""The pages: short README, links that lead somewhere, commands that exist."""

import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from sigma_jax import __main__ as command_line
from sigma_jax.settings import config_file

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
  README,
  *(
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in page.parts
  ),
]


def without_code(text):
  text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
  return re.sub(r"`[^`\n]*`", "", text)


def anchors(page):
  """Of a page's headings, as GitHub makes them."""
  text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
  found = []
  for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    found.append(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
  return found


def test_readme_is_short():
  assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda x: str(x.relative_to(ROOT)))
def test_links_lead_somewhere(page):
  text = without_code(page.read_text())
  broken = []
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if re.match(r"https?://", target):
      continue
    file, _, anchor = target.partition("#")
    path = (page.parent / file).resolve() if file else page
    if not path.exists() or (anchor and anchor not in anchors(path)):
      broken.append(target)
  assert not broken


def test_every_page_is_reached_from_the_readme():
  seen, left = set(), [README]
  while left:
    page = left.pop()
    if page in seen or page.suffix != ".md":
      continue
    seen.add(page)
    for target in re.findall(r"\]\(([^)#\s]+)", without_code(page.read_text())):
      path = (page.parent / target).resolve()
      if path.is_file():
        left.append(path)
  assert {*PAGES} <= seen


def commands(page):
  """The words of every command in the page's blocks of shell."""
  blocks = re.findall(
    r"^ *```(?:bash|sh)\n(.*?)^ *```", page.read_text(), re.DOTALL | re.M
  )
  for block in blocks:
    for line in block.replace("\\\n", " ").splitlines():
      try:
        words = shlex.split(line, comments=True)
      except ValueError:  # a quote over several lines
        continue
      while words and re.fullmatch(r"\w+=\S*|export|do", words[0]):
        words = words[1:]
      if words:
        yield words


def of_ours(words):
  """(name of the command, its arguments), or None of another program."""
  if words[0] == "sigma-jax":
    return words[1], words[2:]
  if words[0].endswith("python") and words[1:2] == ["-m"]:
    module = words[2]
    if module == "sigma_jax":
      return words[3], words[4:]
    if module.startswith("sigma_jax."):
      return module, words[3:]
  return None


@pytest.mark.parametrize("page", PAGES, ids=lambda x: str(x.relative_to(ROOT)))
def test_commands_exist(page):
  for words in commands(page):
    if words[0] == "bash":
      assert (ROOT / words[1]).is_file() or words[1] == "-c", words
    ours = of_ours(words)
    if ours is None:
      continue
    name, arguments = ours
    if name.startswith("sigma_jax."):
      assert importlib.util.find_spec(name), words
    else:
      assert name.startswith("-") or name in command_line.COMMANDS, words
    for argument in arguments:
      config = re.match(r"--config=([^$]+)$", argument)
      if config and config[1] not in ("...", "my_config.py"):
        config_file.load(config[1])


def test_the_readme_shows_enough():
  shown = [ours for ours in map(of_ours, commands(README)) if ours]
  assert {name for name, _ in shown} >= {"train", "report", "evaluate"}
  configs = [x for _, words in shown for x in words if "--config=" in x]
  assert len(configs) >= 2


def test_the_chart_has_the_tables_numbers():
  drawn = (ROOT / "docs" / "toy.svg").read_text()
  shown = re.findall(r">(\d+\.\d)<", drawn)
  table = (ROOT / "docs" / "RESULTS.md").read_text()
  rows = re.findall(r"^\| .* \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| [\d.]+ \|$",
                    table, re.MULTILINE)  # fmt: skip
  numbers = {number for row in rows for number in row}
  assert len(shown) == 10 and set(shown) <= numbers


@pytest.mark.skipif(
  importlib.util.find_spec("sphinx") is None,
  reason="sphinx is missing: pip install -r requirements-docs.txt",
)
def test_the_site_builds_without_a_warning(tmp_path):
  out = tmp_path / "site"
  build = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
  done = subprocess.run(
    [*build, "-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(out)],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  for page in PAGES[1:]:
    relative = page.relative_to(ROOT / "docs").with_suffix(".html")
    assert (out / relative).is_file()
  index = (out / "index.html").read_text()
  assert "INSTALL.html" in index and "YOUR_VIDEOS.html" in index
  losses = (out / "api" / "losses.html").read_text()
  assert 'id="sigma_jax.losses.sinkhorn.potential"' in losses
  assert "Alias for field" not in losses
