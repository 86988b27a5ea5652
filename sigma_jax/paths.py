"""`~` in paths that are typed: shells leave it alone behind an equals sign."""

import argparse
import os

from sigma_jax import errors


def expand(path: str) -> str:
  """`~` and `~user` at the beginning as that home folder.

  Raises:
    UserError: there is no such user, nor a file or folder of that name.
  """
  if not path.startswith("~"):
    return path
  found = os.path.expanduser(path)
  if found.startswith("~") and not os.path.lexists(found):
    raise errors.UserError(
      f"path {path!r}: {path.split('/')[0]} is no home folder that is known "
      f"here; write ./{path} if that is a file's or folder's name"
    )
  return found


def argument(text: str) -> str:
  """`expand` as the `type` of an argument of argparse."""
  try:
    return expand(text)
  except errors.UserError as error:
    raise argparse.ArgumentTypeError(str(error)) from error
