"""Several sets in one run: shares to one example, epochs of their own."""

import time
from fractions import Fraction

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax import settings as settings_lib
from sigma_jax.data import mixture, pipeline, sampling, shares, sources
from sigma_jax.data.bad_files import BadFiles, TooManyBadFiles

WEIGHTS = [
  (0.335, 0.1, 0.565),  # VideoMix2M
  (1, 1),
  (3,),
  (0.7, 0.2, 0.1, 1e-3),
  (5, 3, 3, 2, 1, 1, 1),
  (1 / 3, 0.12345, 7.0, 2.5, 0.9),
]


def within_one(counts, parts, number) -> bool:
  """Whether |n - w s| < 1 for every set, in whole numbers."""
  total = sum(parts)
  return all(
    abs(count * total - part * number) < total
    for count, part in zip(counts, parts, strict=True)
  )


@pytest.mark.parametrize("weights", WEIGHTS)
def test_shares_are_exact_to_one_example_at_every_prefix(weights):
  turns = shares.Turns(shares.whole(weights))
  seen = [0] * len(weights)
  for number in range(min(2 * sum(turns.parts) + 7, 5000)):
    assert turns.counts(number) == seen
    which, place = turns.of(number)
    assert place == seen[which]  # its own count so far
    seen[which] += 1
    assert within_one(seen, turns.parts, number + 1)


def test_many_random_shares_are_exact_too():
  rng = np.random.default_rng(0)
  for _ in range(30):
    weights = rng.integers(1, 90, rng.integers(2, 10)).tolist()
    turns = shares.Turns(shares.whole(weights))
    seen = np.zeros(len(weights), int)
    for number in range(sum(turns.parts)):
      seen[turns.of(number)[0]] += 1
      assert within_one(seen.tolist(), turns.parts, number + 1)
    assert tuple(seen) == turns.parts  # and the next period begins


def test_a_far_place_is_one_look_up():
  turns = shares.Turns(shares.whole(WEIGHTS[0]))
  assert turns.parts == (67, 20, 113)
  for number in (10**9, 10**15 + 77):
    begun = time.process_time()
    which, place = turns.of(number)
    assert time.process_time() - begun < 0.1
    counts = turns.counts(number)
    assert sum(counts) == number and counts[which] == place
    assert within_one(counts, turns.parts, number)


def test_weights_are_ratios_as_they_are_written():
  assert shares.whole((0.1, 0.2)) == (1, 2)
  assert shares.whole((30, 60.0)) == (1, 2)
  # Too fine a ratio is rounded to a hundred thousandth of the whole.
  videos = (658_340, 168_913, 1_238_911)
  parts = shares.whole(videos)
  assert sum(parts) <= shares.MOST
  for part, count in zip(parts, videos, strict=True):
    wanted = Fraction(count, sum(videos))
    assert abs(Fraction(part, sum(parts)) - wanted) < Fraction(1, shares.MOST)
  with pytest.raises(ValueError, match=r"100,000th of their sum, got 1 of 1e"):
    shares.whole((1, 999_999_999))


def settings_of(batch_size=4, seed=0, **data):
  options = {"num_frames": 4, "stride": 2, "size": 32, "workers": 2}
  return settings_lib.Settings(
    seed=seed,
    data=settings_lib.Data(**(options | data)),
    model=settings_lib.Model(patch=4),
    train=settings_lib.Train(batch_size=batch_size),
  )


@pytest.fixture(scope="module")
def lists(video_folder, tmp_path_factory):
  """Two lists: videos 0 to 4, and 5 to 9, with the labels of each its own."""
  folder = tmp_path_factory.mktemp("lists")
  for name, first in (("low", 0), ("high", 5)):
    (folder / name).mkdir()
    lines = [f"{video_folder}/{first + i}.mp4 {i}\n" for i in range(5)]
    (folder / name / "train.csv").write_text("".join(lines))
  return folder


@pytest.fixture(scope="module")
def mixed(lists):
  """Two thirds of the one, a third of the other."""
  sets = (f"{lists}/low/train.csv", 2.0), (f"{lists}/high/train.csv", 1)
  found = settings_lib.Settings.from_config({"data": {"mixture": sets}})
  return mixture.load(found.data)


def test_each_set_has_epochs_of_its_own(mixed, lists):
  assert mixed.names == ("low", "high") and len(mixed) == 10
  rows = [mixture.place(mixed, 3, number)[0] for number in range(90)]
  low = np.array([row for row in rows if row < 5]).reshape(-1, 5)
  high = np.array([row - 5 for row in rows if row >= 5]).reshape(-1, 5)
  assert len(low) == 12 and len(high) == 6
  for orders in (low, high):
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    assert len({tuple(order) for order in orders}) > 1
  assert (low[:6] != high).any()  # from streams of their own
  # The first set is gone through as it is alone.
  alone = [
    sampling.shuffled_index(3, e, i, 5) for e in (0, 1) for i in range(5)
  ]
  assert low[:2].ravel().tolist() == alone
  assert mixed.epochs(45) == {"low": 6.0, "high": 3.0}


def test_one_set_is_that_set_alone(lists):
  path = f"{lists}/low/train.csv"
  one = mixture.Mixture([sources.load(path)], [0.3])
  rows = sources.load(path)
  for number in (0, 7, 10**9 + 3):
    assert mixture.place(one, 1, number) == mixture.place(rows, 1, number)


def never(row, path, reason):
  raise AssertionError(f"{path}: {reason}")


def take(source, steps, on_bad=never, **options):
  with pipeline.train_batches(
    settings_of(), source, on_bad=on_bad, **options
  ) as batches:
    return [next(batches) for _ in range(steps)]


def test_batches_resume_and_do_not_depend_on_hosts(mixed):
  whole = take(mixed, 8)
  rows = np.concatenate([batch["index"] for batch in whole])
  wanted = [mixture.place(mixed, 0, number)[0] for number in range(32)]
  assert rows.tolist() == wanted
  hosts = [
    take(mixed, 3, start_step=5, process_index=host, process_count=2)
    for host in (0, 1)
  ]
  for step, batch in enumerate(whole[5:]):
    for name in ("video", "index", "span"):
      both = np.concatenate([host[step][name] for host in hosts])
      np.testing.assert_array_equal(both, batch[name])
  far = take(mixed, 1, start_step=10**8)[0]["index"]
  assert far.tolist() == [
    mixture.place(mixed, 0, 4 * 10**8 + slot)[0] for slot in range(4)
  ]
  assert (whole[0]["label"] == -1).all()


def test_pixels_are_those_of_the_row_that_is_named(mixed, video_folder):
  """Each row's video has a length of its own: 10 frames and its number."""
  for row in range(10):
    with mixed.open(row, 30.0) as video:
      assert video.num_frames == 10 + row
    assert mixed.files[row] == f"{video_folder}/{row}.mp4"
    assert mixture.part_of(mixed, row) is mixed.sets[row // 5]
    assert mixed.identify(row)[0] == mixed.files[row]


def test_a_bad_file_is_replaced_from_its_own_set(lists, tmp_path):
  path = tmp_path / "holed.csv"
  text = (lists / "high" / "train.csv").read_text()
  path.write_text(text.replace("/6.mp4", "/none.mp4"))
  low = sources.load(f"{lists}/low/train.csv")
  holed = mixture.Mixture([low, sources.load(str(path))], [1, 1])
  bad = BadFiles(
    str(tmp_path / "run"), 1.0, holed.files, sets=mixture.rows_of(holed)
  )
  found = take(holed, 10, on_bad=bad.report, on_tried=bad.tried)
  rows = np.concatenate([batch["index"] for batch in found])
  assert (rows >= 5).sum() == 20 and 6 not in rows
  counts = bad.counts()
  assert [counts[name][0] for name in holed.names] == [0, 1]
  assert all(tried == 5 for _, tried in counts.values())
  none = sources.load(_gone(tmp_path), classes=False)
  gone = mixture.Mixture([low, none], [1, 1])
  with pytest.raises(TooManyBadFiles, match=r"files of \S*gone.csv and"):
    take(gone, 1, on_bad=lambda *_: None)


def _gone(folder) -> str:
  path = folder / "gone.csv"
  path.write_text("".join(f"/none/{i}.mp4\n" for i in range(20)))
  return str(path)


def test_each_set_is_counted_and_judged_by_itself(tmp_path, capsys):
  """300 bad ones are 1.5% of all rows, but every one of the small set."""
  files = [f"/{row}.mp4" for row in range(20_000)]
  sets = {"big": range(19_000), "small": range(19_000, 20_000)}
  bad = BadFiles(str(tmp_path), 0.02, files, sets=sets)
  for row in range(500):
    bad.tried(row)
  bad.report(0, files[0], "empty")
  with pytest.raises(TooManyBadFiles, match=r"of set small .* none of them is"):
    for row in range(19_000, 19_300):
      bad.report(row, files[row], "missing file")
  small = bad.counts()["small"]
  assert bad.counts()["big"] == (1, 500) and small[0] == small[1] < 10
  assert bad.num_tried == 500 + small[1]
  bad.save(7)
  again = BadFiles(str(tmp_path), 0.02, files, sets=sets)
  again.resume(7)
  assert again.counts() == bad.counts()
  other = BadFiles(str(tmp_path), 0.02, files)  # no longer these sets
  other.resume(7)
  assert other.counts() == {"": (0, 0)}
  # What another host has met counts with its set.
  others = np.array([[500, small[1], 0], [0, 40, 0]])
  gathered = [others, np.full((2, 1), -1)]
  again.share(lambda values: gathered.pop(0))
  assert again.counts()["small"][1] == small[1] + 40 + small[1]
  capsys.readouterr()


def test_what_a_run_was_begun_with_tells_shares_and_rows_apart(lists):
  paths = [f"{lists}/{name}/train.csv" for name in ("low", "high")]
  sets = [sources.load(path) for path in paths]
  words, first = mixture.identity(mixture.Mixture(sets, (2, 1)))
  assert words == (
    f"5 rows of {paths[0]} (share 2/3), 5 rows of {paths[1]} (share 1/3)"
  )
  same = mixture.identity(mixture.Mixture(sets, (0.5, 0.25)))
  assert same == (words, first)
  others = [
    mixture.identity(mixture.Mixture(sets, (1, 2))),
    mixture.identity(mixture.Mixture(sets[::-1], (2, 1))),
    mixture.identity(mixture.Mixture(sets[:1], (2,))),
    mixture.identity(sets[0]),
  ]
  assert len({first, *(content for _, content in others)}) == 5


@pytest.mark.parametrize(
  ("paths", "names"),
  [
    (("/d/k710/train.csv", "/d/ssv2/train.csv"), ("k710", "ssv2")),
    (("/d/k710.csv", "/d/ssv2.csv"), ("k710", "ssv2")),
    (("a/k", "a/k/b"), ("0_k", "1_b")),
    (("a.csv", "a.csv"), ("0_a.csv", "1_a.csv")),
    (("x/a.csv",), ("0_a.csv",)),
  ],
)
def test_short_names_tell_sets_apart(paths, names):
  assert mixture._names(paths) == names


def test_a_weight_too_small_is_one_line(mixed):
  with pytest.raises(
    errors.UserError, match=r"data\.mixture: a weight must be"
  ):
    mixture.Mixture(mixed.sets, (1.0, 1e-9))
