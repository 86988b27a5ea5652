"""What the benchmark of readers reads, made of a user's own videos."""

import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.bench.data import inputs
from sigma_jax.data.video import decode


def test_videos_of_a_manifest(write_video, tmp_path):
  write_video(tmp_path / "a.mp4", frames=64, height=64, width=96)
  write_video(tmp_path / "b.mp4", frames=63)
  (tmp_path / "list.txt").write_text("a.mp4 3\nb.mp4 1\n")
  options = {"clips": 1, "frames": 64, "width": 64, "height": 64, "gops": [250]}
  options |= {"manifest": str(tmp_path / "list.txt"), "spoilt": 0}
  options |= {"records": False}
  inputs.make(str(tmp_path), options | {"videos": 1})
  own, made = (
    decode.decode_frames(str(tmp_path / name), np.array([0, 63])).astype(int)
    for name in ("a.mp4", "gop250/0.mp4")
  )
  assert made.shape == (2, 64, 64, 3)
  assert np.abs(own[:, :, 16:80] - made).mean() < 8
  for videos, message in ((2, "b.mp4 has 63 frames, fewer"), (3, "the 2 of")):
    with pytest.raises(errors.UserError, match=message):
      inputs.make(str(tmp_path), options | {"videos": videos})
