"""Some tiny clips, and an encoder without training."""

import jax
import numpy as np
import pytest

from sigma_jax.models import sigma
from sigma_jax.train import checkpoint

av = pytest.importorskip("av")


def _video(path, seed):
  image = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
    for number in range(6):
      picture = np.ascontiguousarray(np.roll(image, number, 1))
      container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def listing(tmp_path_factory):
  """A list of 11 clips: the fourth is broken, the last is the first again."""
  folder = tmp_path_factory.mktemp("clips")
  for row in range(10):
    _video(folder / f"{row}.mp4", row)
  (folder / "3.mp4").write_bytes(b"not a video")
  (folder / "10.mp4").write_bytes((folder / "0.mp4").read_bytes())
  lines = [f"{row}.mp4 {row}\n" for row in range(11)]
  (folder / "list.csv").write_text("".join(lines))
  return folder / "list.csv"


@pytest.fixture(scope="session")
def encoder(tiny, tmp_path_factory):
  """A workdir with untrained weights."""
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(0))
  checkpoint.write_params(workdir, tiny, params)
  return workdir


@pytest.fixture(scope="session")
def content():
  """`content(folder)`: path -> bytes of all files below it."""

  def read(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(x.relative_to(folder)): x.read_bytes() for x in files}

  return read
