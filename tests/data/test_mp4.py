"""Files of the encoder can be decoded."""

import io

import av
import numpy as np

from sigma_jax.data.video import mp4


def frames():
  time, row, column = np.meshgrid(*map(np.arange, (6, 36, 48)), indexing="ij")
  channels = (5 * row + 10 * time, 4 * column, 255 - 3 * row - 5 * time)
  return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def test_frames_come_back():
  with av.open(io.BytesIO(mp4.encode(frames(), 5))) as file:
    assert file.streams.video[0].average_rate == 5
    decoded = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
  error = np.abs(np.stack(decoded).astype(int) - frames())
  assert error.shape == (6, 36, 48, 3)
  assert error.mean() < 4
