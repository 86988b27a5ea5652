"""Every list and command of docs/YOUR_DATA.md does what the page says."""

import pathlib
import re
import shlex
import subprocess

import pytest

from sigma_jax.data import prepare
from sigma_jax.data.check import command, pool

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "YOUR_DATA.md"
BLOCK = re.compile(r"```([^\n]*)\n(.*?)```", re.S)
MAIN = {
  "sigma_jax.data.check": command.main,
  "sigma_jax.data.prepare": prepare.main,
}


def sections() -> dict[str, str]:
  """The text below each heading of the part on lists."""
  text = PAGE.read_text().split("\n## Lists\n")[1].split("\n## ")[0]
  pairs = re.findall(r"(?ms)^### (.*?)\n(.*?)(?=^### |\Z)", text)
  return {name: text for name, text in pairs if "```sh" in text}


@pytest.fixture(name="here")
def here_fixture(write_video, tmp_path, monkeypatch):
  """The current folder, with the videos that the page's lists name."""
  (tmp_path / "folder").mkdir()
  for name in ("a.mp4", "b,c.mp4", "folder/my clip.mp4"):
    write_video(tmp_path / name, frames=30 + len(name))
  monkeypatch.chdir(tmp_path)

  def in_this_process(function, jobs, **_):
    for place, job in enumerate(jobs):
      yield place, function(job), ""

  monkeypatch.setattr(pool, "run", in_this_process)
  return tmp_path


def run(line: str) -> int:
  words = shlex.split(line)
  if words[:2] == ["python", "-m"]:
    return MAIN[words[2]](words[3:])
  return subprocess.run(words, check=True).returncode


@pytest.mark.parametrize("name", sections())
def test_a_form_of_a_list(name, here, capsys):
  lists, commands = 0, 0
  for info, text in BLOCK.findall(sections()[name]):
    kind, _, file = info.partition(" ")
    if kind == "text":
      (here / file).write_text(text)
      lists += 1
    elif kind == "python":
      exec(compile(text, str(PAGE), "exec"), {})
    elif kind == "sh":
      for line in text.strip().splitlines():
        assert run(line) == 0, capsys.readouterr()
        commands += 1
    elif not kind and name == "Where two readings fit":
      assert run(f"python -m sigma_jax.data.check {shlex.quote(file_of(here))}")
      told = capsys.readouterr().err
      assert text.strip() == told.strip().splitlines()[-1]
  assert commands >= max(lists, 1)
  told = "".join(capsys.readouterr())
  assert "problems: none" in told or '"rejected": 0' in told


def file_of(folder: pathlib.Path) -> str:
  return next(path.name for path in folder.iterdir() if path.suffix == ".csv")


def test_the_table_leads_to_every_form():
  text = PAGE.read_text()
  for name in sections():
    anchor = re.sub(r"[^a-z ]", "", name.lower()).replace(" ", "-")
    if name != "Where two readings fit":
      assert f"](#{anchor})" in text, anchor
