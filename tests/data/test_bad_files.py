"""Bad files are listed once, warned of, and stop a run past the limit."""

import json
import threading

import numpy as np
import pytest

from sigma_jax.data import bad_share, storage
from sigma_jax.data.bad_files import BadFiles, TooManyBadFiles


def names(count):
  return [f"/{row}.mp4" for row in range(count)]


def listed(workdir):
  lines = (workdir / "bad_files.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_a_file_is_counted_listed_and_warned_of_once(tmp_path, capsys):
  bad = BadFiles(str(tmp_path), 0.02, names(1000))
  for row in (4, 4, 4):
    bad.tried(row)
    bad.report(row, "/a.mp4", "missing file")
  bad.tried(5)
  assert (bad.num_bad, bad.num_tried) == (1, 2)
  assert listed(tmp_path) == [{"file": "/a.mp4", "reason": "missing file"}]
  assert capsys.readouterr().err.count("/a.mp4: missing file") == 1


def test_a_restart_does_not_list_it_again(tmp_path):
  BadFiles(str(tmp_path), 0.02, names(1000)).report(4, "/a.mp4", "missing file")
  with open(tmp_path / "bad_files.jsonl", "a") as file:
    file.write('{"file": "/cut of')  # a crash while writing
  again = BadFiles(str(tmp_path), 0.02, names(1000))
  assert again.num_bad == 0
  again.report(4, "/a.mp4", "missing file")
  text = (tmp_path / "bad_files.jsonl").read_text()
  assert again.num_bad == 1 and text.count("/a.mp4") == 1


def test_past_the_share_the_run_stops_with_one_line(tmp_path):
  bad = BadFiles(str(tmp_path), 0.02, names(1000))
  for row in range(200, 600):
    bad.tried(row)
  with pytest.raises(TooManyBadFiles) as caught:
    for row in range(200):
      bad.report(row, f"/{row}.mp4", "empty")
  message = str(caught.value)
  assert "21 of the 421 files" in message and "5.0%" in message
  assert "data.max_bad_share = 0.02" in message
  assert str(tmp_path / "bad_files.jsonl") in message
  assert "\n" not in message and "data.root" not in message


@pytest.mark.parametrize(
  ("share", "total", "stops_at"),
  [(0.02, 1000, 5), (0.0, 1000, 1), (0.02, 2, 2), (0.1, 1000, 7)],
)
def test_nothing_but_bad_files_stops_soon(tmp_path, share, total, stops_at):
  bad = BadFiles(str(tmp_path), share, names(total))
  for row in range(stops_at - 1):
    bad.report(row, f"/{row}", "missing file")
  with pytest.raises(TooManyBadFiles, match=r"none of them .* data\.root"):
    bad.report(stops_at - 1, "/last", "missing file")


def test_chance_stops_no_run_below_the_limit():
  """By simulation, looked at after every bad file: never at half the limit;
  at the limit, less often than the bound says for an evidence of 100."""
  rng = np.random.default_rng(0)
  for share, allowed in ((0.01, 0), (0.02, 3)):
    above = 0
    for _ in range(100):
      found = rng.random(5000) < share
      bad = np.cumsum(found)
      looks = np.flatnonzero(found)
      evidence = max(
        bad_share.log_evidence(int(bad[at]), int(at) + 1, 0.02) for at in looks
      )
      assert evidence < -np.log(bad_share.ERROR)
      above += evidence > np.log(100)
    assert above <= allowed


def test_evidence_is_the_averaged_likelihood_ratio():
  """By hand for a limit of .5: shares 2^(-11/12), ..., 2^(-1/12), 1."""
  shares = 0.5 ** (1 - np.arange(1, 13) / 12)
  wanted = np.mean(shares**3 * (1 - shares) ** 2) / 0.5**5
  assert bad_share.log_evidence(3, 5, 0.5) == pytest.approx(np.log(wanted))
  wanted = np.mean(shares**3) / 0.5**3
  assert bad_share.log_evidence(3, 3, 0.5) == pytest.approx(np.log(wanted))


@pytest.mark.parametrize(("share", "most"), [(1.0, 5), (0.3, 100), (0.1, 600)])
def test_a_broken_data_set_stops_soon(share, most):
  rng = np.random.default_rng(1)
  for _ in range(50):
    found = rng.random(most) < share
    bad = np.cumsum(found)
    assert any(
      bad_share.too_many(int(bad[at]), at + 1, 240_000, 0.02)
      for at in np.flatnonzero(found)
    )


def test_rows_in_order_are_judged_over_the_whole_set(tmp_path):
  """300 files of one missing folder are no 2% of 20,000; 401 are."""
  bad = BadFiles(str(tmp_path), 0.02, names(20_000), shuffled=False)
  for first in range(0, 1024, 512):  # parts of the set
    bad.skip(first)
    for row in range(first, first + 200):
      bad.report(row, f"/{row}.mp4", "missing file")
  assert bad.num_bad == 400
  with pytest.raises(TooManyBadFiles, match="401 of the"):
    bad.report(712, "/712.mp4", "missing file")


def test_what_was_listed_counts_where_a_test_goes_on(tmp_path):
  first = BadFiles(str(tmp_path), 0.02, names(1000), shuffled=False)
  for row in range(15):
    first.report(row, f"/{row}.mp4", "empty")
  again = BadFiles(str(tmp_path), 0.02, names(1000), shuffled=False)
  again.skip(512)
  assert (again.num_bad, again.num_tried) == (15, 512)
  for row in range(600, 605):
    again.report(row, f"/{row}.mp4", "empty")
  with pytest.raises(TooManyBadFiles, match="21 of the"):
    again.report(700, "/700.mp4", "empty")


def test_counts_go_on_from_a_checkpoint_and_only_from_one(tmp_path):
  files = names(1000)
  bad = BadFiles(str(tmp_path), 0.02, files)
  for row in range(100):
    bad.tried(row)
  bad.report(3, files[3], "empty")
  bad.save(50)
  bad.report(4, files[4], "empty")  # after the checkpoint: tried again
  again = BadFiles(str(tmp_path), 0.02, files)
  again.resume(50)
  assert (again.num_bad, again.num_tried) == (1, 100)
  again.report(3, files[3], "empty")  # in a later epoch: the same file
  assert (again.num_bad, again.num_tried) == (1, 101)
  for step in (0, 49):  # a fresh run, an older checkpoint
    anew = BadFiles(str(tmp_path), 0.02, files)
    anew.resume(step)
    assert (anew.num_bad, anew.num_tried) == (0, 0)
  (tmp_path / "bad_files.json").write_text("{")
  anew.resume(50)
  assert anew.num_bad == 0


def test_a_file_in_many_rows_counts_once(tmp_path):
  """Windows of one video."""
  bad = BadFiles(str(tmp_path), 0.02, ["/a", "/a", "/b", "/a"])
  for row in (0, 1, 3):
    bad.report(row, "/a", "empty")
  assert (bad.num_bad, bad.num_tried) == (1, 1)


def shared(hosts):
  """`share` of all hosts at once, as collectives between them would be."""
  answers, turn = {}, []

  def gather_of(host):
    calls = iter(range(9))

    def gather(values):
      call = next(calls)
      answers.setdefault(call, {})[host] = values
      barrier.wait()
      return np.stack([answers[call][h] for h in range(len(hosts))])

    return gather

  barrier = threading.Barrier(len(hosts))

  def work(host):
    try:
      hosts[host].share(gather_of(host))
    except TooManyBadFiles as error:
      turn.append(str(error))

  threads = [
    threading.Thread(target=work, args=(host,)) for host in range(len(hosts))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return turn


def test_hosts_count_together_each_file_once(tmp_path):
  files = names(10_000)
  hosts = [BadFiles(str(tmp_path), 0.02, files, i) for i in range(4)]
  for index, host in enumerate(hosts):
    for row in range(1000 * index, 1000 * index + 400):
      host.tried(row)
    for row in range(1000 * index, 1000 * index + 4):
      host.report(row, files[row], "empty")
    host.report(9999, files[9999], "empty")  # as in a later epoch
  assert shared(hosts) == []
  assert {(h.num_bad, h.num_tried) for h in hosts} == {(17, 1604)}
  # 5% each: none alone is sure, all together are.
  for index, host in enumerate(hosts):
    for row in range(1000 * index + 10, 1000 * index + 26):
      host.report(row, files[row], "empty")
  told = shared(hosts)
  assert len(told) == 4 and len(set(told)) == 1
  assert "81 of the 1604 files" in told[0]


def test_a_share_of_one_never_stops(tmp_path):
  bad = BadFiles(str(tmp_path), 1.0, names(3))
  for row in range(3):
    bad.report(row, f"/{row}", "empty")


def test_warnings_thin_out(tmp_path, capsys):
  bad = BadFiles(str(tmp_path), 1.0, names(1000))
  for row in range(100):
    bad.report(row, f"/{row}", "empty")
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 5 + 4  # 8, 16, 32 and 64
  assert "64 of 64" in lines[-1]


def test_threads_do_not_lose_counts(tmp_path):
  bad = BadFiles(str(tmp_path), 1.0, names(400))

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
      bad = BadFiles("ram://bucket/run", 1.0, names(4), index)
      assert bad.path == f"ram://bucket/run/{name}"
      bad.report(0, "a.mp4", "empty")
      bad.report(start + 1, f"b{start}.mp4", "cut")
    lines = files[bad.path].decode().splitlines()
    found = [json.loads(line)["file"] for line in lines]
    assert found == ["a.mp4", "b0.mp4", "b1.mp4"]


def alone(values):
  """What `gather` gives where there is one host."""
  return values[None]


def listed_files(folder):
  return [one["file"] for one in listed(folder)]


def test_what_is_read_after_all_leaves_list_and_counts(tmp_path):
  files = names(1000)
  first = BadFiles(str(tmp_path), 0.02, files, shuffled=False)
  for row in (1, 3, 5, 700):
    first.report(row, files[row], "missing file")
  first.strike(alone)  # nothing was bad before
  assert listed_files(tmp_path) == [files[row] for row in (1, 3, 5, 700)]
  again = BadFiles(str(tmp_path), 0.02, files, shuffled=False)
  again.skip(512)
  for row in (1, 3, 5):
    again.tried(row)
  again.report(3, files[3], "missing file")
  assert again.num_bad == 3
  again.strike(alone)
  assert listed_files(tmp_path) == [files[3], files[700]]
  assert again.num_bad == 1
  again.report(5, files[5], "missing file")  # away again
  assert listed_files(tmp_path) == [files[3], files[700], files[5]]


def test_hosts_strike_together_and_one_writes(tmp_path):
  files = names(10)
  first = BadFiles(str(tmp_path), 1.0, files)
  for row in (2, 4):
    first.report(row, files[row], "empty")
  hosts = [BadFiles(str(tmp_path), 1.0, files, index) for index in range(2)]
  hosts[1].tried(4)
  sent = []

  def gather(values):
    """Host 0 has nothing to tell; host 1 has row 4."""
    sent.append(values)
    other = [[0], [1]] if len(values) == 1 else [[-1, -1], [4, -1]]
    return np.array(other)

  hosts[1].strike(gather)
  assert listed_files(tmp_path) == [files[2], files[4]]  # left to host 0
  hosts[0].strike(gather)
  assert listed_files(tmp_path) == [files[2]]
  assert [values.tolist() for values in sent] == [[1], [4, -1], [0], [-1, -1]]
