"""What stands under the clips of the page."""

import pytest

from sigma_jax.data import manifest, sources
from sigma_jax.report import clips


@pytest.mark.parametrize(
  ("lines", "captions"),
  [
    ("a.mp4 2\nb.mp4 0\n", ["label 2", "label 0"]),
    ("a.mp4 run, fast\nb.mp4 sit\n", ["run, fast", "sit"]),
    ("a.mp4 0 -1\nb.mp4 0 -1\n", ["", ""]),
  ],
)
def test_captions_are_labels_of_any_kind(tmp_path, lines, captions):
  (tmp_path / "val.csv").write_text(lines)
  rows = sources.load(str(tmp_path / "val.csv"), classes=False)
  assert clips._captions(manifest, "", rows) == captions
