"""Several runs on one page, and pages that follow runs."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from sigma_jax import errors
from sigma_jax.report import __main__ as command
from sigma_jax.report import compare, follow
from sigma_jax.train import workdir as workdir_lib


@pytest.fixture
def runs(tmp_path, tiny_config, metric_rows, write_run, probe_row):
  """Runs a/one and b: of other seeds, rates and scores."""
  found = []
  for number, name in enumerate(("a/one", "b")):
    workdir = tmp_path / name
    workdir.mkdir(parents=True)
    settings = tiny_config(
      "/gone",
      **{"seed": number, "optimizer.base_lr": 0.25 * (1 + number)},
    )
    rows = metric_rows(loss=3.0 + number)
    top1 = 0.5 + 0.25 * number
    probe = [probe_row(who, "motion", top1) for who in ("pretrained", "random")]
    write_run(workdir, settings, rows, probe[: 2 - number])
    lines = [
      {"step": step, "knn": knn, "linear": 0.9, "chance": 0.1}
      for step, knn in ((10, 0.3 + number / 10), (20, 0.2))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workdir / "evaluations.jsonl").write_text(text)
    found.append(workdir)
  return found


def rows_of(text, title) -> list[list[str]]:
  """Cells of the table below a heading, as plain text."""
  part = text.split(f"<h2>{title}</h2>")[1].split("</section>")[0]
  lines = re.findall(r"<tr>(.*?)</tr>", part)
  return [
    [
      re.sub(r"<[^>]+>", "", cell)
      for cell in re.findall(r"<t[hd].*?</t[hd]>", line)
    ]
    for line in lines
  ]


def test_runs_stand_beside_each_other(runs, tmp_path, capsys, monkeypatch):
  (runs[1] / "report.html").write_text("")
  monkeypatch.chdir(tmp_path)
  assert command.main([*map(str, runs)]) == 0
  assert "comparison.html: 0.0" in capsys.readouterr().out
  text = (tmp_path / "comparison.html").read_text()
  (head, *lines) = rows_of(text, "Runs")
  assert head[-4:] == ["last kNN", "last linear", "best kNN", "at step"]
  assert lines[0][0] == "a/one" and lines[1][0] == "b"
  assert lines[0][-5:] == ["3", "20.0", "90.0", "30.0", "10"]
  assert lines[1][-5:] == ["4", "20.0", "90.0", "40.0", "10"]
  assert rows_of(text, "Frozen probes") == [
    ["", "a/one", "b"],
    ["motion linear probe", "50.0 [48.0, 52.0]", "75.0 [73.0, 77.0]"],
  ]
  assert rows_of(text, "Settings that differ") == [
    ["", "a/one", "b"],
    ["seed", "0", "1"],
    ["optimizer.base_lr", "0.25", "0.5"],
  ]
  assert "by b at step 10" in text
  assert re.findall(r'href="([^"]+)"', text) == ["b/report.html"]
  # A curve a run, in the colours of the table, named when pointed at.
  charts = re.findall(r'<figure class="chart">.*?</figure>', text)
  assert len(charts) > 6
  for chart in charts:
    assert re.findall(r'class="line (\w)" d="[^"]+"><title>(.*?)<', chart) == [
      ("a", "a/one"),
      ("b", "b"),
    ]
  assert "http-equiv" not in text


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
  a, b = tmp_path / "x/run", tmp_path / "y/run"
  assert compare.names([a, b]) == ["x/run", "y/run"]
  assert compare.names([tmp_path / "x", a]) == ["x", "run"]
  both = ["gs://bucket/x", str(a)]
  assert compare.names(both) == both
  with pytest.raises(errors.UserError, match="is named twice"):
    compare.names([a, tmp_path / "y/../x/run"])
  with pytest.raises(errors.UserError, match=r"17 runs are too many .* 16"):
    compare.names([tmp_path / str(n) for n in range(17)])


def test_sixteen_runs_have_looks_of_their_own():
  assert len({compare._style(n) for n in range(compare.MOST)}) == 16


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ("{0} {1} --val=x", "--val and --root are of one run's page"),
    ("{0} --out=x", "--out is of a comparison"),
    ("{0} --follow=-1", "--follow must be positive"),
    ("{0} {0}/..", "no config.json"),
  ],
)
def test_what_makes_no_sense_is_one_line(arguments, message, runs, capsys):
  words = shlex.split(arguments.format(*map(str, runs)))
  assert command.main(words) == 2
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1


class Clock:
  """Time that passes when somebody sleeps, and what happens meanwhile."""

  def __init__(self, *events):
    self._events, self.slept = list(events), []

  def sleep(self, seconds):
    self.slept.append(seconds)
    self._events.pop(0)()


def followed(workdirs, monkeypatch, *events):
  """What was written (again, or for the last time), said, and slept."""
  clock, written, said = Clock(*events), [], []
  monkeypatch.setattr(follow.time, "sleep", clock.sleep)

  def write(again):
    written.append(again)
    return f"page {len(written)}"

  follow.follow(workdirs, write, 7, said.append)
  assert set(clock.slept) <= {7} and not clock._events
  return written, said


def interrupt():
  raise KeyboardInterrupt


def test_a_page_is_written_until_all_runs_are_done(runs, monkeypatch):
  workdir_lib.end(runs[0], 30)
  written, said = followed(
    runs,
    monkeypatch,
    lambda: None,
    lambda: workdir_lib.end(runs[1], 30),
  )
  assert written == [True, True, False]
  assert said == [
    "page 1; again every 7 s, until the run is done or Ctrl-C",
    "page 3",
  ]


def test_ctrl_c_leaves_a_page_that_does_not_load_itself(runs, monkeypatch):
  written, said = followed(runs, monkeypatch, lambda: None, interrupt)
  assert written == [True, True, False]
  assert said[-1] == "page 3"


def test_a_run_that_is_not_there_yet_is_waited_for(
  tmp_path, tiny_config, write_run, monkeypatch
):
  new = tmp_path / "new"
  assert followed([new], monkeypatch, interrupt) == (
    [],
    [f"waiting for a run in {new}"],
  )
  written, said = followed(
    [new],
    monkeypatch,
    lambda: None,
    lambda: write_run(new, tiny_config("/gone")),
    lambda: workdir_lib.end(new, 30),
  )
  assert written == [True, False] and len(said) == 3


def test_a_followed_page_loads_itself_and_draws_no_pictures(
  tmp_path, clip_folder, tiny_config, metric_rows, write_run
):
  write_run(tmp_path, tiny_config(clip_folder), metric_rows())
  command.write(tmp_path, refresh=7)
  text = (tmp_path / "report.html").read_text()
  assert '<meta http-equiv="refresh" content="7">' in text
  assert "data:image" not in text and "when the run is done" in text


def test_the_command_ends_with_the_run(
  tmp_path, tiny_config, metric_rows, write_run
):
  """As a process of its own, on two runs, one of which is not done yet."""
  paths = [tmp_path / name for name in ("a", "b")]
  for path in paths:
    write_run(path, tiny_config("/gone"), metric_rows())
  workdir_lib.end(paths[0], 30)
  page = tmp_path / "page.html"
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "sigma_jax.report", *map(str, paths)),
      *(f"--out={page}", "--follow=1"),
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  first = process.stdout.readline()
  assert "again every 1 s" in first
  assert 'http-equiv="refresh" content="1"' in page.read_text()
  workdir_lib.end(paths[1], 30)
  out, _ = process.communicate(timeout=120)
  assert process.returncode == 0 and out.startswith(str(page))
  assert "refresh" not in page.read_text()
