"""Bad files are listed once, warned of, and stop a run past the limit."""

import json
import threading

import pytest

from sigma_jax.data import storage
from sigma_jax.data.bad_files import BadFiles, TooManyBadFiles


def listed(workdir):
  lines = (workdir / "bad_files.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_a_file_is_counted_listed_and_warned_of_once(tmp_path, capsys):
  bad = BadFiles(str(tmp_path), 0.02, 1000)
  for row in (4, 4, 4):
    bad.tried(row)
    bad.report(row, "/a.mp4", "missing file")
  bad.tried(5)
  assert (bad.num_bad, bad.num_tried) == (1, 2)
  assert listed(tmp_path) == [{"file": "/a.mp4", "reason": "missing file"}]
  assert capsys.readouterr().err.count("/a.mp4: missing file") == 1


def test_a_restart_does_not_list_it_again(tmp_path):
  BadFiles(str(tmp_path), 0.02, 1000).report(4, "/a.mp4", "missing file")
  with open(tmp_path / "bad_files.jsonl", "a") as file:
    file.write('{"file": "/cut of')  # a crash while writing
  again = BadFiles(str(tmp_path), 0.02, 1000)
  assert again.num_bad == 0
  again.report(4, "/a.mp4", "missing file")
  text = (tmp_path / "bad_files.jsonl").read_text()
  assert again.num_bad == 1 and text.count("/a.mp4") == 1


def test_past_the_share_the_run_stops_with_one_line(tmp_path):
  bad = BadFiles(str(tmp_path), 0.02, 1000)
  for row in range(200, 600):
    bad.tried(row)
  for row in range(8):  # 8 of 408 are under 2%
    bad.report(row, f"/{row}.mp4", "empty")
  with pytest.raises(TooManyBadFiles) as caught:
    bad.report(8, "/8.mp4", "empty")
  message = str(caught.value)
  assert "9 of the 409 files" in message and "2.2%" in message
  assert "data.max_bad_share = 0.02" in message
  assert str(tmp_path / "bad_files.jsonl") in message
  assert "\n" not in message


@pytest.mark.parametrize(
  ("share", "total", "stops_at"),
  [(0.02, 1000, 4), (0.0, 1000, 1), (0.02, 2, 2), (0.1, 1000, 16)],
)
def test_nothing_but_bad_files_stops_soon(tmp_path, share, total, stops_at):
  bad = BadFiles(str(tmp_path), share, total)
  for row in range(stops_at - 1):
    bad.report(row, f"/{row}", "empty")
  with pytest.raises(TooManyBadFiles):
    bad.report(stops_at - 1, "/last", "empty")


def test_a_share_of_one_never_stops(tmp_path):
  bad = BadFiles(str(tmp_path), 1.0, 3)
  for row in range(3):
    bad.report(row, f"/{row}", "empty")


def test_warnings_thin_out(tmp_path, capsys):
  bad = BadFiles(str(tmp_path), 1.0, 1000)
  for row in range(100):
    bad.report(row, f"/{row}", "empty")
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 5 + 4  # 8, 16, 32 and 64
  assert "64 of 64" in lines[-1]


def test_threads_do_not_lose_counts(tmp_path):
  bad = BadFiles(str(tmp_path), 1.0, 400)

  def work(start):
    for row in range(start, start + 200):
      bad.tried(row)
      bad.report(row, f"/{row}", "empty")

  threads = [threading.Thread(target=work, args=(s,)) for s in (0, 100, 200)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert bad.num_bad == 400 == len(listed(tmp_path))


def test_the_list_of_a_bucket_is_written_whole(monkeypatch):
  """TensorFlow's ram:// stands for gs://, but does not empty what it opens."""
  files = {}
  monkeypatch.setattr(storage, "write", files.__setitem__)
  monkeypatch.setattr(storage, "read", files.__getitem__)
  monkeypatch.setattr(storage, "is_file", files.__contains__)
  for index, name in ((0, "bad_files.jsonl"), (2, "bad_files.2.jsonl")):
    for start in range(2):  # the second is a resumed run
      bad = BadFiles("ram://bucket/run", 1.0, 4, index)
      assert bad.path == f"ram://bucket/run/{name}"
      bad.report(0, "a.mp4", "empty")
      bad.report(start + 1, f"b{start}.mp4", "cut")
    lines = files[bad.path].decode().splitlines()
    found = [json.loads(line)["file"] for line in lines]
    assert found == ["a.mp4", "b0.mp4", "b1.mp4"]
