"""When so many files are unreadable that a run has to stop.

The limit is looked at after every bad file, so an ordinary test would cross its
level by chance some time. This is a sequential one: the likelihood of what was
met under larger shares, against that under the limit, averaged over a few
shares. If no more files are bad than the limit allows, the ratio ever exceeds
1 / ERROR with probability ERROR at most, however often it is looked at (Ville's
inequality; https://arxiv.org/abs/2210.01948, section 2).
"""

import math

ERROR = 1e-6  # probability of stopping a run whose share is at the limit
_SHARES = 12  # larger shares that are compared with the limit, up to 1
# A data set below this size is judged as if it had it: two bad files of twenty
# are an accident.
_LEAST = 150


def too_many(
  bad: int, tried: int, total: int, limit: float, shuffled: bool = True
) -> bool:
  """Whether more than `limit` of the files are bad, as good as certainly.

  Args:
    bad, tried: different files so far.
    total: of the data set.
    limit: share in [0, 1].
    shuffled: whether the files so far were drawn at random. If not, they may
      be of one folder, and tell nothing of the others.
  """
  if limit >= 1 or not bad:
    return False
  # Certain: whatever the other files are. Or nothing at all can be read.
  if bad > limit * max(total, _LEAST) or bad == total:
    return True
  return shuffled and log_evidence(bad, tried, limit) > -math.log(ERROR)


def log_evidence(bad: int, tried: int, limit: float) -> float:
  """Logarithm of the averaged likelihood ratio; `limit` in (0, 1)."""
  good = tried - bad
  found = []
  for number in range(1, _SHARES + 1):
    share = limit ** (1 - number / _SHARES)
    if good and number == _SHARES:  # a share of 1, and yet one was read
      continue
    ratio = bad * math.log(share / limit)
    if good:
      ratio += good * math.log((1 - share) / (1 - limit))
    found.append(ratio)
  top = max(found)
  total = sum(math.exp(one - top) for one in found)
  return top + math.log(total / _SHARES)
