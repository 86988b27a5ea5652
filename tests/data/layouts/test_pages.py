"""Every command of docs/datasets works on the miniature of its data set."""

import pathlib
import re
import shlex

import pytest
import tensorflow_datasets as tfds

from sigma_jax.data.check import command as check
from sigma_jax.data.layouts import __main__ as layouts

ROOT = pathlib.Path(__file__).parents[3]
PAGES = sorted(
  path
  for path in (ROOT / "docs/datasets").glob("*.md")
  if path.stem != "README"
)
MAINS = {
  "sigma_jax.data.layouts": layouts.main,
  "sigma_jax.data.check": check.main,
}


def blocks(page, language):
  return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page):
  for block in blocks(page, "bash"):
    yield from block.replace("\\\n", " ").strip().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_work(page, miniature, miniatures, tmp_path, monkeypatch):
  text = page.read_text()
  for name in sorted(
    set(re.findall(r"/data/(\w+)", text)) & {*miniatures.BUILDERS}
  ):
    miniature(name)
  work = tmp_path / "work"
  work.mkdir()
  monkeypatch.chdir(work)
  monkeypatch.setattr(
    tfds.core.DatasetBuilder, "download_and_prepare", miniatures.prepare
  )
  ran = set()
  for command in commands(page):
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    here = [a.replace("=/data/", f"={tmp_path}/data/") for a in arguments]
    assert MAINS[module](here) == 0, command
    ran.add(module)
  assert ran == set(MAINS)
  for block in blocks(page, "python"):
    exec(block, {})


def test_every_data_set_has_its_page():
  shown = {
    word
    for page in PAGES
    for command in commands(page)
    for word in shlex.split(command)[3:4]
    if "layouts" in command
  }
  assert shown == set(layouts.DATASETS)
  index = (ROOT / "docs/datasets/README.md").read_text()
  assert all(f"({page.name})" in index for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_in_one_style(page):
  heads = re.findall(r"^\*\*(\w[\w ]*)\.\*\*", page.read_text(), re.MULTILINE)
  assert heads[:3] == ["Download", "Licence", "Folder"]
  assert heads[3] in ("Manifest", "List")
  assert heads[4:] == ["Check", "Used by", "Pitfalls", "Verified"]
  configs = re.findall(r"`(configs/\S+?\.py)`", page.read_text())
  # One name may stand for several: configs/eval/{linear,knn}_ssv2.py.
  for config in configs:
    start, choices, end = re.fullmatch(
      r"([^{]*)(?:{(.*)})?([^}]*)", config
    ).groups()
    for choice in (choices or "").split(","):
      assert (ROOT / (start + choice + end)).is_file(), config
