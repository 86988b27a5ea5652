"""Which of a run's checkpoints stay when newer ones are saved."""

import dataclasses
from collections.abc import Callable
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from sigma_jax import settings as settings_lib


@dataclasses.dataclass
class _Step:
  """Preserves the checkpoint of a step, which may be another each time."""

  which: Callable[[], int | None]

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """See `policies.PreservationPolicy`."""
    del context  # of the times of saving
    return [found.step == self.which() for found in checkpoints]


def policy(
  train: settings_lib.Train, best: Callable[[], int | None]
) -> policies.PreservationPolicy:
  """The newest ones, `train.keep_every`'s, and that of step `best()`."""
  keep: list[Any] = [policies.LatestN(train.keep), _Step(best)]
  if train.keep_every:
    keep.append(policies.EveryNSteps(train.keep_every))
  return policies.AnyPreservationPolicy(keep)
