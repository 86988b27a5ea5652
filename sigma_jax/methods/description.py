"""What a method says of itself, for the report of its runs."""

from typing import NamedTuple


class Chart(NamedTuple):
  """A chart of the report.

  title, unit: of the vertical axis. curves: metric -> its name in the chart.
  scale: what values are multiplied by. reference: (name, value), a dashed
  line. floor: a value that the axis reaches down to.
  """

  title: str
  unit: str
  curves: dict[str, str]
  scale: float = 1.0
  reference: tuple[str, float] | None = None
  floor: float | None = 0.0


class Description(NamedTuple):
  """A run in words, for its report.

  title: the method in the literature's words. tubes: what happens to the
  clip's tubes, such as "75% masked (tube)". facts: (name, value) of what is
  the method's own. charts: of its metrics. target: what gives tubes their
  prototypes, where prototypes can be shown. num_prototypes: k, where it has
  prototypes.
  """

  title: str
  tubes: str = ""
  facts: tuple[tuple[str, str], ...] = ()
  charts: tuple[Chart, ...] = ()
  target: str = ""
  num_prototypes: int | None = None
