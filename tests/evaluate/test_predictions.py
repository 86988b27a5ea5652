"""Predictions part by part: what an interruption costs, and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import predictions
from sigma_jax.train import mesh as mesh_lib

NUM_ROWS = 10
VIEWS = 2


@pytest.fixture(autouse=True)
def parts_of_four_rows(monkeypatch):
  monkeypatch.setattr(predictions, "PART_ROWS", 4)


def model(first, last, offset=0.0):
  """Two heads, three classes, two views of rows first .. last - 1."""
  rows = np.arange(first, last).repeat(VIEWS).astype(np.int32)
  views = np.tile(np.arange(VIEWS), last - first).astype(np.int32)
  values = rows[None, :, None] + np.zeros((2, 1, 3)) + offset
  return predictions.Predictions(values.astype(np.float32), rows, views)


class Computed:
  """A model that notes which rows it is asked for, and may be interrupted."""

  def __init__(self, stop_at=None, offset=0.0):
    self.asked, self._stop, self._offset = [], stop_at, offset

  def __call__(self, rows, before):
    first, last = int(rows[0]), int(rows[-1]) + 1
    if first == self._stop:
      raise KeyboardInterrupt
    assert len(rows) == last - first and before == first
    self.asked.append((first, last))
    return model(first, last, self._offset)


def in_parts(folder, compute, identity=("run", 1), say=lambda line: None):
  return predictions.in_parts(folder, list(identity), NUM_ROWS, compute, say)


def same(found, wanted):
  for ours, theirs in zip(found, wanted, strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
  broken = Computed(stop_at=8)
  with pytest.raises(KeyboardInterrupt):
    in_parts(tmp_path / "test", broken)
  assert broken.asked == [(0, 4), (4, 8)]
  resumed, lines = Computed(), []
  found = in_parts(tmp_path / "test", resumed, say=lines.append)
  assert resumed.asked == [(8, 10)]
  assert lines == ["4/10 videos", "8/10 videos", "10/10 videos"]
  same(found, model(0, NUM_ROWS))
  idle = Computed()
  same(in_parts(tmp_path / "test", idle), model(0, NUM_ROWS))
  assert not idle.asked


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_part_is_computed_again(tmp_path, damage):
  in_parts(tmp_path, Computed())
  file = sorted(tmp_path.glob("*.npz"))[1]
  whole = file.read_bytes()
  file.write_bytes(
    {
      "cut": whole[: len(whole) // 2],
      "empty": b"",
      "text": b"not an archive",
      "other": (tmp_path / "00000000.npz").read_bytes(),  # another part's
    }[damage]
  )
  again = Computed()
  same(in_parts(tmp_path, again), model(0, NUM_ROWS))
  assert again.asked == [(4, 8)]
  idle = Computed()
  in_parts(tmp_path, idle)  # and it is mended
  assert not idle.asked


def test_another_identity_computes_everything(tmp_path):
  in_parts(tmp_path, Computed())
  other = Computed(offset=0.5)
  found = in_parts(tmp_path, other, identity=("run", 2))
  assert other.asked == [(0, 4), (4, 8), (8, 10)]
  same(found, model(0, NUM_ROWS, 0.5))


def test_other_rows_are_computed_again(tmp_path):
  """Of the same number and name: parts that have the same ones are kept."""
  files = [f"{row}.mp4" for row in range(NUM_ROWS)]

  def run(files):
    asked = Computed()
    predictions.in_parts(
      tmp_path,
      ["run"],
      NUM_ROWS,
      asked,
      identify=lambda first, last: ",".join(files[first:last]),
    )
    return asked.asked

  assert run(files) == [(0, 4), (4, 8), (8, 10)]
  assert run(files) == []
  assert run([*files[:5], files[6], files[5], *files[7:]]) == [(4, 8)]
  assert run(files[::-1]) == [(0, 4), (4, 8), (8, 10)]


def test_what_could_not_be_read_is_tried_again(tmp_path):
  """Rows 1, 2 and 9 are away at first, then row 9 alone, then none."""
  asked, away = [], {1, 2, 9}

  def compute(rows, before):
    asked.append((rows.tolist(), before))
    found = model(0, NUM_ROWS)
    kept = np.isin(found.rows, [row for row in rows if row not in away])
    return predictions.Predictions(found.values[:, kept], *(
      array[kept] for array in found[1:]
    ))  # fmt: skip

  lines = []
  found = in_parts(tmp_path, compute, say=lines.append)
  assert sorted(set(found.rows)) == [0, 3, 4, 5, 6, 7, 8]
  assert lines[-1] == "3 of 10 videos cannot be read and do not count"
  away, asked, lines = {9}, [], []
  found = in_parts(tmp_path, compute, say=lines.append)
  assert asked == [([1, 2], 4), ([9], 10)]
  assert "2 of 2 videos that could not be read before are read" in lines
  assert lines[-1] == "1 of 10 videos cannot be read and do not count"
  away, asked = set(), []
  same(in_parts(tmp_path, compute), model(0, NUM_ROWS))
  assert asked == [([9], 10)]
  same(in_parts(tmp_path, Computed()), model(0, NUM_ROWS))


def test_clips_are_ordered_by_row_and_view():
  """Whatever order they come in; padding is dropped."""
  order = np.random.default_rng(0).permutation(12)
  rows, views = order // 3, order % 3
  valid = np.ones(16, bool)
  valid[12:] = False
  video = np.zeros((16, 2, 4, 4, 3), np.uint8)
  video[:12, 0, 0, 0, 0] = order
  batches = [
    {
      "video": video[half],
      "index": np.concatenate([rows, [0] * 4]).astype(np.int32)[half],
      "view": np.concatenate([views, [0] * 4]).astype(np.int32)[half],
      "valid": valid[half],
    }
    for half in (slice(0, 8), slice(8, 16))
  ]

  @jax.jit
  def forward(video):
    number = video[:, 0, 0, 0, :1].astype(jnp.float32)
    return jnp.stack([number, -number])

  mesh = mesh_lib.make(settings_lib.Mesh())
  found = predictions.collect(forward, batches, mesh)
  np.testing.assert_array_equal(found.rows, np.arange(12) // 3)
  np.testing.assert_array_equal(found.views, np.arange(12) % 3)
  np.testing.assert_array_equal(found.values[0, :, 0], np.arange(12))
  np.testing.assert_array_equal(found.values[1, :, 0], -np.arange(12.0))
  assert found.values.dtype == np.float32
