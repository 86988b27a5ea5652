"""Parts of the work, in any order and repeated: the bytes of one process."""

import argparse
import json

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.data import prepare
from sigma_jax.data.check import command as check
from sigma_jax.inference import features
from sigma_jax.pieces import pieces

ORDER = np.random.default_rng(7).permutation(3).tolist()


def test_the_order_is_one_that_a_loop_would_not_take():
  assert ORDER not in ([0, 1, 2], [2, 1, 0])


def in_parts(call, whole):
  """Calls with --only in ORDER, the first twice; `whole()`: all is there."""
  for number, part in enumerate([*ORDER[:1], *ORDER]):
    assert not whole()
    assert call(f"--only={part}/3") == 0
    if number == 2:
      assert call("--merge") == 1  # a part is missing
  assert whole()


def test_prepare_in_parts(listing, tmp_path, content, capsys):
  def call(out, *flags):
    argv = [f"--manifest={listing}", f"--out={tmp_path / out}", "--workers=1"]
    return prepare.main([*argv, "--max-bad-share=0.1", *flags])

  assert call("one") == 0
  capsys.readouterr()
  index = tmp_path / "parts" / "index.npz"
  in_parts(lambda *flags: call("parts", *flags), index.exists)
  said = capsys.readouterr()
  assert said.out.count("\n") == 1 and json.loads(said.out)["videos"] == 10
  assert (
    f"part {ORDER[0]}/3 is done; 7 of 11 pieces are not there: " in said.err
  )
  left = len(range(ORDER[2], 11, 3))
  assert f"error: {left} of 11 pieces are not there: " in said.err
  assert content(tmp_path / "parts") == content(tmp_path / "one")
  # Once more, by whomever: nothing is left to do.
  for flag in ("--only=1/3", "--merge"):
    assert call("parts", flag) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 10
  assert content(tmp_path / "parts") == content(tmp_path / "one")


def test_too_many_bad_files_of_all_parts_are_too_many(listing, tmp_path):
  argv = [f"--manifest={listing}", f"--out={tmp_path / 'out'}", "--workers=1"]
  assert prepare.main([*argv, "--only=0/2"]) == 0
  assert prepare.main([*argv, "--only=1/2"]) == 1  # row 3 is one of its own
  assert prepare.main([*argv, "--only=1/2", "--max-bad-share=0.1"]) == 0
  assert (tmp_path / "out" / "index.npz").exists()


def test_features_in_parts(listing, encoder, tmp_path, content, capsys):
  def call(out, *flags):
    argv = [f"--init={encoder}", f"--manifest={listing}"]
    argv += [f"--out={tmp_path / out}", "--batch-size=2", "--part-size=2"]
    return features.main([*argv, *flags])

  (tmp_path / "one").mkdir()
  assert call("one/x.npz") == 0
  out = tmp_path / "parts" / "x.npz"
  in_parts(lambda *flags: call("parts/x.npz", *flags), out.exists)
  # The parts stay, so that one may be repeated; --merge is the end.
  before = out.read_bytes()
  assert call("parts/x.npz", "--only=2/3") == 0
  assert out.read_bytes() == before and out.with_name("x.npz.parts").exists()
  assert call("parts/x.npz", "--merge") == 0
  assert content(tmp_path / "parts") == content(tmp_path / "one")
  assert capsys.readouterr().out.count("10 x 32 features in ") == 4


def test_check_in_parts(listing, tmp_path, capsys):
  def call(*flags):
    return check.main([str(listing), "--json", "--workers=1", *flags])

  def found():
    report = json.loads(capsys.readouterr().out)
    report.pop("time")  # measured
    return report

  assert call() == 1
  one = found()
  assert one["manifests"][0]["same_content"] and one["problems"] == 2
  parts = f"--parts={tmp_path / 'parts'}"
  for part in ORDER:
    code = call(parts, f"--only={part}/3")
    if part != ORDER[-1]:
      assert code == 0 and not capsys.readouterr().out
  assert code == 1 and found() == one
  assert call(parts, "--merge") == 1
  said = capsys.readouterr()
  assert call(parts, "--merge") == 1
  assert capsys.readouterr() == said  # to the last digit
  assert call("--only=0/3") == 2
  assert "need --parts" in capsys.readouterr().err


def do(jobs, workers, tally):
  for path in jobs:
    assert workers == 3
    path.write_text(path.name)
    tally.add(bad=["b"] if path.name == "b" else ())


@pytest.fixture
def work(tmp_path):
  """Three pieces, which leave files with their names."""

  def make(**options):
    names = ("a", "b", "c")
    there = lambda: {path.name for path in tmp_path.iterdir()}  # noqa: E731
    todo = [pieces.Piece(name, tmp_path / name) for name in names]
    return pieces.Work("letters", todo, do, there, **options)

  return make


def test_what_is_done_is_not_done_again(work, tmp_path, capsys):
  (tmp_path / "a").write_text("before")
  told = []
  assert pieces.run(
    work(after=lambda bad: told.append(len(bad))), pieces.HERE, 3
  )
  assert (tmp_path / "a").read_text() == "before"
  assert (tmp_path / "c").read_text() == "c"
  assert told == [1, 1]
  assert "1 of 3 letters are done already" in capsys.readouterr().err
  # But for what is to be tried again.
  assert pieces.run(work(left=lambda piece: piece.name == "a"), pieces.HERE, 3)
  assert (tmp_path / "a").read_text() == "a"


def test_a_part_and_what_it_waits_for(work, tmp_path, capsys):
  assert not pieces.run(work(), pieces.How(only="1/2"), 3)
  assert [path.name for path in tmp_path.iterdir()] == ["b"]
  line = "part 1/2 is done; 2 of 3 pieces are not there: a, c: the last part"
  assert line in capsys.readouterr().err
  with pytest.raises(errors.RunStopped, match="2 of 3 pieces are not there"):
    pieces.run(work(), pieces.How(merge=True), 3)
  assert not pieces.run(work(), pieces.How(only="3/4"), 3)  # an empty one
  assert pieces.run(work(), pieces.How(only="0/2"), 3)
  assert pieces.run(work(), pieces.How(merge=True), 3)


def test_parts_are_all_pieces_once():
  every = list(range(11))
  parts = [pieces.How(only=f"{i}/4").of(every) for i in range(4)]
  assert (
    sorted(x for part in parts for x in part) == every and len(parts[3]) == 2
  )
  assert pieces.HERE.of(every) == every
  assert pieces.How(merge=True).of(every) == []


@pytest.mark.parametrize(
  "flags, line",
  [
    (["--only=3/3"], "--only '3/3' is not understood"),
    (["--only=-1/3"], "--only '-1/3' is not understood"),
    (["--only=0/2", "--merge"], "--only and --merge: choose one"),
    (["--merge", "--ray=auto"], "--merge and --ray: choose one"),
    (["--ray", "--ray-cpus=-1"], "must not be negative"),
  ],
)
def test_options_that_make_no_sense_are_refused(flags, line):
  parser = argparse.ArgumentParser()
  pieces.add_arguments(parser)
  with pytest.raises(errors.UserError) as caught:
    pieces.how(parser.parse_args(flags))
  assert line in str(caught.value)
