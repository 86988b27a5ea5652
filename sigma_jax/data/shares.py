"""Whose turn it is, where several sets share one run.

Weights are whole numbers of parts, D in all, and after every D examples each
set has had exactly its parts: the order of the turns is a table of D entries
that comes again and again. Any place, the billionth as well, is one look-up.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# Parts at most. Weights that need more are rounded to so many.
MOST = 100_000


def whole(weights: Sequence[float]) -> tuple[int, ...]:
  """Weights as the smallest whole numbers of the same ratios.

  They count as they are written in decimals: 0.1 is one tenth. Where that takes
  more than MOST parts, each is rounded, by the largest remainders.

  Args:
    weights: above 0; their sum may be anything.

  Raises:
    ValueError: one is less than half a part of MOST.
  """
  exact = [Fraction(str(weight)) for weight in weights]
  unit = math.lcm(*(part.denominator for part in exact))
  parts = [int(part * unit) for part in exact]
  total = sum(parts)
  if total // math.gcd(*parts) > MOST:
    scaled = [divmod(part * MOST, total) for part in parts]
    order = sorted(range(len(parts)), key=lambda i: -scaled[i][1])
    rest = MOST - sum(quotient for quotient, _ in scaled)
    parts = [quotient for quotient, _ in scaled]
    for i in order[:rest]:
      parts[i] += 1
    if not min(parts):
      raise ValueError(
        f"a weight must be at least a {MOST:,}th of their sum, got "
        f"{weights[parts.index(0)]:g} of {sum(weights):g}"
      )
  common = math.gcd(*parts)
  return tuple(part // common for part in parts)


class Turns:
  """Which set example s is of, and how many of that set came before it.

  Of the first s examples, a set of share w has n(s) with |n(s) - w s| < 1, for
  every s. An order for any number of sets exists (Tijdeman, "The chairman
  assignment problem", Discrete Mathematics 32, 1980): set i's example j may
  come once w s > j, has to have come when w s >= j + 1, and of those that may
  come the one that has to be first does (Steiner and Yeomans, "Level schedules
  for mixed-model, just-in-time processes", Management Science 39, 1993).

  Attributes:
    parts: whole numbers, one a set: shares are parts / sum(parts).
  """

  def __init__(self, parts: Sequence[int]):
    """parts: of `whole`."""
    self.parts = tuple(parts)
    self._period = total = sum(parts)
    self._turn = np.zeros(total, np.int32)
    self._before = np.zeros(total, np.int32)  # in this period, of that set
    counts, sets = [0] * len(parts), range(len(parts))
    # Of each set's next example: the first place that it may have, and by how
    # many places it has to have come.
    free, due = [0] * len(parts), [-(-total // part) for part in parts]
    for place in range(total):
      which = min((due[i], i) for i in sets if free[i] <= place)[1]
      self._turn[place], self._before[place] = which, counts[which]
      counts[which] += 1
      free[which] = counts[which] * total // parts[which]
      due[which] = -(-(counts[which] + 1) * total // parts[which])

  def of(self, number: int) -> tuple[int, int]:
    """The set of example `number`, from 0, and its place among that set's."""
    period, place = divmod(number, self._period)
    which = int(self._turn[place])
    return which, period * self.parts[which] + int(self._before[place])

  def counts(self, number: int) -> list[int]:
    """How many of the first `number` examples are of each set."""
    period, place = divmod(number, self._period)
    found = np.bincount(self._turn[:place], minlength=len(self.parts))
    return [
      period * part + int(count)
      for part, count in zip(self.parts, found, strict=True)
    ]
