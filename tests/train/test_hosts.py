"""Several processes are one run: the same numbers, the same end."""

import pathlib
import shutil
import signal
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import hosts as hosts_lib

from sigma_jax.train import checkpoint, judging, metrics

LAYOUTS = ((1, 1), (1, 8), (2, 4), (4, 2))
# The mesh's rows belong to processes 0 1 0 1, as on a TPU slice they may.
CROSSED = {"order": (0, 2, 1, 3)}


@pytest.fixture(scope="module")
def settings(tiny, change):
  return change(
    tiny,
    train__steps=20,
    train__log_every=1,
    train__checkpoint_every=5,
    train__keep=9,
    optimizer__base_lr=1e-2,
    # A hard label between two prototypes that a tube likes alike is decided by
    # rounding, which is the layout's: one such tube in 20 steps is likely.
    loss__labels="soft",
    evaluate__every=8,
    evaluate__knn_k=5,
  )


@pytest.fixture(scope="module")
def runs(settings, tmp_path_factory):
  """Workdir of each layout's run."""
  folder = tmp_path_factory.mktemp("layouts")
  found = {}
  for layout in (*LAYOUTS, (2, 2, "crossed")):
    count, devices, *crossed = layout
    name = "x".join(map(str, layout))
    hosts = hosts_lib.Hosts(
      count,
      devices,
      settings,
      folder / name,
      folder / f"{name}.log",
      **(CROSSED if crossed else {}),
    )
    assert hosts.wait() == [0] * count, hosts.log()
    found[layout] = folder / name
  return found


def losses(workdir):
  return np.asarray([row["loss"] for row in metrics.read(workdir)])


def test_every_layout_computes_the_same_losses(runs):
  wanted = losses(runs[1, 1])
  assert len(wanted) == 20
  assert wanted[-1] != wanted[0]
  for layout, workdir in runs.items():
    found = losses(workdir)
    print(
      layout, "largest relative difference", np.abs(found / wanted - 1).max()
    )
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def evaluations(workdir):
  rows = judging.read(workdir)
  return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_every_layout_evaluates_the_same(runs):
  """Each host has embedded its own clips, of which number 3 is unreadable."""
  wanted = evaluations(runs[1, 1])
  assert [row["step"] for row in wanted] == [8, 16, 20]
  assert all(row["num_train"] == 59 and row["num_test"] == 44 for row in wanted)
  assert all(row["chance"] == round(15 / 44, 7) for row in wanted)
  assert all(row["linear"] > 0.5 for row in wanted)
  assert wanted[0] != wanted[-1] | {"step": 8}  # of another encoder
  for workdir in runs.values():
    assert evaluations(workdir) == wanted


def test_a_signal_within_an_evaluation_ends_all_and_loses_nothing(
  runs, settings, change, tmp_path
):
  workdir = tmp_path / "run"
  rare = change(settings, train__checkpoint_every=100)
  start = (2, 1, rare, workdir, tmp_path / "log")
  hosts = hosts_lib.Hosts(*start, evaluate=0.3)
  while "test batch 2" not in hosts.log():
    assert all(p.poll() is None for p in hosts.processes), hosts.log()
    time.sleep(0.05)
  hosts.send(signal.SIGTERM, 1)
  assert hosts.wait() == [143, 143], hosts.log()
  assert "stopped by SIGTERM within an evaluation" in hosts.log()
  assert checkpoint.restore_params(workdir)[1] == 8
  assert evaluations(workdir) == []
  hosts = hosts_lib.Hosts(*start)
  assert hosts.wait() == [0, 0], hosts.log()
  assert evaluations(workdir) == evaluations(runs[1, 1])
  np.testing.assert_allclose(losses(workdir), losses(runs[1, 1]), rtol=2e-5)


def test_a_run_goes_on_with_other_processes_and_devices(
  runs, settings, tmp_path
):
  """8 devices to 1 to 2 x 4; restoring checks every array by its sum."""
  workdir = tmp_path / "run"
  shutil.copytree(runs[1, 8], workdir)
  for step, layout in ((5, (1, 1)), (10, (2, 4))):
    for later in range(step + 5, 21, 5):
      shutil.rmtree(workdir / "checkpoints" / str(later))
    hosts = hosts_lib.Hosts(*layout, settings, workdir, tmp_path / f"{step}")
    assert hosts.wait() == [0] * layout[0], hosts.log()
    assert f"resuming after step {step}" in hosts.log()
    found = losses(workdir)
    np.testing.assert_allclose(found, losses(runs[1, 1]), rtol=2e-5)


def wait_for_step(workdir, hosts, step):
  end = time.monotonic() + 600
  while time.monotonic() < end:
    rows = metrics.read(workdir)
    if rows and rows[-1]["step"] >= step:
      return
    assert all(p.poll() is None for p in hosts.processes), hosts.log()
    time.sleep(0.02)
  raise AssertionError(hosts.log())


@pytest.mark.parametrize(
  ("layout", "number", "which", "code"),
  [
    ((1, 2), signal.SIGINT, None, 130),
    ((2, 1), signal.SIGTERM, 1, 143),  # to one of them
    ((2, 1), signal.SIGINT, None, 130),  # to all, as a terminal sends it
  ],
)
def test_a_signal_saves_and_the_same_command_resumes(
  layout, number, which, code, settings, runs, change, tmp_path
):
  count, _ = layout
  workdir = tmp_path / "run"
  # No save by its interval: whatever stands there after SIGTERM, it saved.
  rare = change(settings, train__checkpoint_every=100)
  start = (*layout, rare, workdir, tmp_path / "log")
  hosts = hosts_lib.Hosts(*start, pause=0.2)
  wait_for_step(workdir, hosts, 3)
  hosts.send(number, which)
  asked = time.monotonic()
  assert hosts.wait() == [code] * count, hosts.log()
  print(f"{time.monotonic() - asked:.1f} s from the signal to the end")
  assert "which is saved; the same command resumes" in hosts.log()
  _, step = checkpoint.restore_params(workdir)
  assert 3 <= step < 20
  # One process's disk fails twice: both of them try again.
  hosts = hosts_lib.Hosts(*start, fail=[count - 1, 2])
  assert hosts.wait() == [0] * count, hosts.log()
  assert hosts.log().count("Input/output error); tried again in") == 2
  assert f"resuming after step {step}" in hosts.log()
  np.testing.assert_allclose(losses(workdir), losses(runs[1, 1]), rtol=2e-5)


def test_a_signal_to_one_process_ends_an_evaluation_by_all(settings, tmp_path):
  hosts = hosts_lib.Hosts(
    *(2, 1, settings, tmp_path / "run", tmp_path / "log"), judge=8000, pause=0.2
  )
  while "batch 2 judged" not in hosts.log():
    assert all(p.poll() is None for p in hosts.processes), hosts.log()
    time.sleep(0.1)
  hosts.send(signal.SIGTERM, 1)
  assert hosts.wait() == [143, 143], hosts.log()
  assert "stopped by SIGTERM while it was judging" in hosts.log()


def test_processes_that_do_not_belong_together_end_with_one_line(
  settings, tmp_path
):
  other = settings.to_dict() | {"seed": 7}
  port = hosts_lib.free_port()
  pair = []
  for i, values in enumerate((settings.to_dict(), other)):
    alone = hosts_lib.Hosts(
      1,
      1,
      type(settings).from_config(values),
      tmp_path / "run",
      tmp_path / f"log{i}",
      how=f"localhost:{port},2,{i}",
    )
    pair.append(alone)
  for alone in pair:
    assert alone.wait() == [2], alone.log()
    assert "processes 1 run another config than process 0" in alone.log()
    assert "Traceback" not in alone.log()


def test_a_missing_process_is_told_in_time(settings, tmp_path):
  alone = hosts_lib.Hosts(
    1,
    1,
    settings,
    tmp_path / "run",
    tmp_path / "log",
    how=f"localhost:{hosts_lib.free_port()},2,0",
    timeout=3,
  )
  assert alone.wait(60) == [1], alone.log()
  assert "did not find each other within 3 s" in alone.log()


@pytest.fixture(scope="module")
def judged(settings, change, tmp_path_factory):
  """What each process of 1 x 1, and of 2 x 2 in crossed order, has stored."""
  folder = tmp_path_factory.mktemp("judged")
  settings = change(settings, data__flip=True, augment__num_ops=0)
  found = {}
  for count, devices, options in ((1, 1, {}), (2, 2, CROSSED)):
    workdir = folder / str(count)
    hosts = hosts_lib.Hosts(
      count,
      devices,
      settings,
      workdir,
      folder / f"log{count}",
      judge=19,
      **options,
    )
    assert hosts.wait() == [0] * count, hosts.log()
    for i in range(count):
      with np.load(workdir / f"judged{i}.npz") as arrays:
        found[count, i] = dict(arrays)
  return found


def test_evaluation_is_the_same_on_any_hosts_and_mesh(judged):
  """Each clip once, under its own number, whatever row it was computed in."""
  alone = judged[1, 0]
  assert len(judged) == 3
  for arrays in judged.values():
    assert arrays["rows"].tolist() == [0, 1, 2, *range(4, 19)]
    for name in ("features", "votes"):
      np.testing.assert_allclose(arrays[name], alone[name], atol=1e-5)
    np.testing.assert_array_equal(arrays["said_rows"], arrays["rows"])
    np.testing.assert_array_equal(arrays["said_views"], arrays["rows"] % 3)
    wanted = [
      np.random.default_rng(row).integers(0, 256, (4, 16, 16, 3), np.uint8)
      for row in arrays["rows"]
    ]
    np.testing.assert_array_equal(
      arrays["said_values"][0], np.stack(wanted)[:, 0, 0, 0]
    )


def test_a_step_draws_the_same_on_any_hosts_and_mesh(judged):
  """For each clip, bit by bit: mirror, mask, erasing, partner, depth."""
  alone = judged[1, 0]
  assert alone["index"].tolist() == list(range(8))
  for arrays in judged.values():
    for name in ("index", "mirrored", "augmented", "kept", "visible", "masked"):
      np.testing.assert_array_equal(arrays[name], alone[name], err_msg=name)
    np.testing.assert_allclose(arrays["targets"], alone["targets"], atol=1e-6)
