"""The whole page, whole and with pieces missing."""

import re

import pytest

from sigma_jax.data import prepare
from sigma_jax.data.records import shard
from sigma_jax.report.__main__ import main


@pytest.fixture
def probe(probe_row):
  """Rows that say the pre-trained encoder is better."""
  pair = (("pretrained", 0.9), ("random", 0.5))
  return [probe_row(encoder, "motion", top1) for encoder, top1 in pair]


def report(workdir, *arguments) -> str:
  """Runs the command line and reads the page."""
  assert main([str(workdir), *arguments]) == 0
  return (workdir / "report.html").read_text()


def sections(text) -> list[str]:
  return re.findall(r"<h2>(.*?)</h2>", text)


def test_everything_is_shown(
  tmp_path, clip_folder, capsys, tiny_config, metric_rows, write_run, probe
):
  settings = tiny_config(clip_folder)
  write_run(tmp_path, settings, metric_rows(), probe, params=True)
  text = report(tmp_path)
  assert sections(text) == [
    *("Frozen probes", "Training", "Masks", "Prototypes", "Assignments"),
    *("Warnings", "Files"),
  ]
  assert settings.fingerprint() in text
  assert text.count('class="prototype"') == 6
  assert text.count('class="tile"') == 6 * 5  # the empty file is left out
  assert "beats an untrained one on motion" in text
  assert "+40.0 <small>above" in text
  assert "no sign of collapse" in text
  out = capsys.readouterr().out
  assert "90.0 [88.0, 92.0]" in out
  assert "report.html" in out


def test_page_needs_nothing_from_outside(
  tmp_path, clip_folder, tiny_config, metric_rows, write_run
):
  write_run(tmp_path, tiny_config(clip_folder), metric_rows(), params=True)
  text = report(tmp_path)
  for word in ("http", "//cdn", "<script", "<link", "@import", "url("):
    assert word not in text
  targets = re.findall(r'(?:href|src)="([^"]*)"', text)
  assert targets
  files = [t for t in targets if not t.startswith(("data:image/", "#"))]
  assert files == ["config.json", "metrics.jsonl"]  # beside it
  names = set(re.findall(r'<image id="([^"]+)"', text))
  assert {t[1:] for t in targets if t.startswith("#")} == names


def test_missing_pieces_say_how_to_make_them(tmp_path, tiny_config, write_run):
  write_run(tmp_path, tiny_config("/gone"))
  text = report(tmp_path)
  assert f"--workdir={tmp_path}/probe --config.init={tmp_path}" in text
  assert "No metrics" in text
  assert "/gone/val.csv" in text
  assert "--val=" in text
  assert "not been probed" in text
  assert "collapse cannot be judged" in text


def test_moved_data_can_be_named(tmp_path, clip_folder, tiny_config, write_run):
  sets = tmp_path / "label_sets.json"
  sets.write_text('{"m": {"names": ["zebra"], "of_label": [0, 0, 0, 0, 0, 0]}}')
  write_run(tmp_path, tiny_config("/gone", **{"data.label_sets": str(sets)}))
  text = report(tmp_path, f"--val={clip_folder}/val.csv")
  assert "0.mp4" in text
  # The run's label sets are of other clips.
  assert "label 3" in text and "zebra" not in text
  assert "No prototypes to show: no complete checkpoint" in text


def test_the_run_s_root_counts_for_named_manifests(
  tmp_path, clip_folder, tiny_config, write_run, capsys
):
  """Relative paths as data.root says, unless --root does."""
  moved = tmp_path / "lists"
  moved.mkdir()
  (moved / "val.csv").write_text((clip_folder / "val.csv").read_text())
  root = {"data.root": str(clip_folder)}
  write_run(tmp_path, tiny_config("/gone", **root))
  val = f"--val={moved}/val.csv"
  assert "0.mp4" in report(tmp_path, val)
  (tmp_path / "report.html").unlink()
  assert main([str(tmp_path), val, "--root="]) == 2
  error = capsys.readouterr().err
  assert f"no clips to show from {moved}/val.csv: none of the" in error
  assert error.count("\n") == 1
  assert not (tmp_path / "report.html").exists()
  assert main([str(tmp_path), val, f"--root={moved}"]) == 2
  assert f"(relative paths from {moved}; --root=" in capsys.readouterr().err


def test_clips_of_prepared_records_are_shown(
  tmp_path, clip_folder, tiny_config, write_run
):
  out = str(tmp_path / "val")
  with pytest.MonkeyPatch.context() as patch:
    # In this process: starting others takes seconds.
    patch.setattr(
      shard.pool,
      "run",
      lambda work, jobs, **_: (
        (place, work(job), "") for place, job in enumerate(jobs)
      ),
    )
    prepare.prepare(f"{clip_folder}/val.csv", out, max_bad_share=0.5)
  write_run(tmp_path, tiny_config("/gone"))
  assert "label 3" in report(tmp_path, f"--val={out}")


def test_clips_that_cannot_be_read(
  tmp_path, clip_folder, tiny_config, write_run, capsys
):
  (tmp_path / "val.csv").write_text("absent.mp4 0\n")
  write_run(tmp_path, tiny_config(tmp_path))
  assert "absent.mp4: missing file" in report(tmp_path)
  assert "warning: no clips are shown: none of" in capsys.readouterr().out


def test_run_without_prototypes(
  tmp_path, clip_folder, tiny_config, metric_rows, write_run
):
  changes = {"target.kind": "pixel", "loss.kind": "l2"}
  settings = tiny_config(clip_folder, **changes)
  kept = ("step", "loss", "feature_std", "target_std")
  rows = [{key: row[key] for key in kept} for row in metric_rows()]
  write_run(tmp_path, settings, rows)
  text = report(tmp_path)
  assert "VideoMAE" in text
  assert "no prototypes" in text
  assert "Perplexity" not in text
  assert "Assignments" not in sections(text)


def test_damaged_files_are_told_of(
  tmp_path, tiny_config, metric_rows, write_run, probe
):
  write_run(tmp_path, tiny_config("/gone"), metric_rows(), probe)
  (tmp_path / "probe/results.json").write_text('{"rows": [{"encoder"')
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 40, "lo')
  text = report(tmp_path)
  assert "results.json cannot be read" in text
  assert "30 of 30" in text
  (tmp_path / "probe/results.json").write_text('{"rows": [{"encoder": "x"}]}')
  assert "does not hold probe results" in report(tmp_path)


def test_a_run_that_ended_inside_its_warm_up(
  tmp_path, tiny_config, metric_rows, write_run
):
  rows = metric_rows()
  for row, rate in zip(rows, (1e-4, 2e-4, 3e-4), strict=True):
    row["learning_rate"] = rate
  write_run(tmp_path, tiny_config("/gone"), rows)
  text = report(tmp_path)
  assert "<dt>Learning rate</dt><dd>3.00e-04, still rising</dd>" in text
  assert "step 30: the run ended inside its warm-up" in text
  write_run(tmp_path, tiny_config("/gone", **{"train.steps": 31}), rows)
  text = report(tmp_path)
  assert "still rising" in text and "ended inside" not in text
  rows[-1]["learning_rate"] = 1e-5
  write_run(tmp_path, tiny_config("/gone"), rows)
  text = report(tmp_path)
  assert "1.00e-05, highest 2.00e-04" in text and "ended inside" not in text


def test_warnings_and_bad_files(tmp_path, tiny_config, metric_rows, write_run):
  rows = metric_rows() + [{**metric_rows(used=0.1)[0], "step": 40}]
  write_run(tmp_path, tiny_config("/gone"), rows)
  lines = "".join(f'{{"file": "<{i}>.mp4", "reason": "r"}}\n' for i in range(9))
  (tmp_path / "bad_files.jsonl").write_text(lines + '{"file": "cut')
  text = report(tmp_path)
  assert "step 40: only 10% of the 6 prototypes are in use" in text
  assert "9 unreadable files" in text
  assert "&lt;0&gt;.mp4" in text
  assert "and 1 more" in text


@pytest.mark.parametrize("content", [None, "{", '{"taks": "pretrain"}'])
def test_no_run_is_one_line_and_exit_code_2(tmp_path, capsys, content):
  if content is not None:
    (tmp_path / "config.json").write_text(content)
  assert main([str(tmp_path)]) == 2
  captured = capsys.readouterr()
  assert captured.err.startswith("error: ")
  assert captured.err.count("\n") == 1
  assert captured.out == ""
  assert not (tmp_path / "report.html").exists()
