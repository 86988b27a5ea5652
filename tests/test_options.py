"""The page of all options: fresh, complete, and with the comments' text."""

import dataclasses
import pathlib

from sigma_jax import settings
from sigma_jax.settings import __main__ as command
from sigma_jax.settings import listing

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "OPTIONS.md"


def rows():
  lines = [x for x in PAGE.read_text().splitlines() if x.startswith("| `")]
  return [line.split("`")[1] for line in lines]


def dotted(tree, prefix=""):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from dotted(value, f"{prefix}{key}.")
    else:
      yield prefix + key


def test_the_page_is_fresh(capsys):
  assert command.main([]) == 0
  hint = "run: python -m sigma_jax.settings > docs/OPTIONS.md"
  assert capsys.readouterr().out == PAGE.read_text(), hint


def test_the_page_has_every_option():
  found = rows()
  assert set(dotted(settings.Settings().to_dict())) <= set(found)
  vjepa = settings.default_config("vjepa").method.to_dict()
  assert {f"method.{name}" for name in vjepa} <= set(found)


@dataclasses.dataclass(frozen=True)
class Sample:
  """A section."""

  # Two lines above
  # it, and
  first: int = 3  # one behind: a # of µ
  second: tuple[int, ...] = (1,)  # at the end

  # Not of an option.

  third: str = "a|b"


@dataclasses.dataclass(frozen=True)
class Derived(Sample):
  """Another default, without and with a comment."""

  first: int = 4
  second: tuple[int, ...] = (2,)  # its own


def test_an_option_that_is_passed_on_keeps_its_comment():
  found = listing.comments_of(Derived)
  assert found == listing.comments_of(Sample) | {"second": "its own"}


def test_comments_become_text():
  assert listing.comments_of(Sample) == {
    "first": "Two lines above it, and one behind: a # of µ",
    "second": "at the end",
    "third": "",
  }
  assert '| `x.third` | `"a\\|b"` |  |' in listing._rows(Sample, "x.")
