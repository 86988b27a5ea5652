"""Other libraries that read clips, as contenders of `sigma_jax.bench data`."""

import importlib
import importlib.util
import json
import os
import pathlib

import numpy as np
import PIL.Image

from sigma_jax.bench import output

MODULES = {
  "decord": "decord",
  "opencv": "cv2",
  "torchcodec": "torchcodec.decoders",
}


def prepare(options: dict) -> "Rival":
  """The contender `options["library"]`, on one core and with one thread."""
  os.sched_setaffinity(0, options["cores"])
  return Rival(options)


class Rival:
  """Clips of the list in `clips.json`, from the videos of a manifest."""

  def __init__(self, options: dict):
    """`folder` has the list and the manifest `source`."""
    folder = pathlib.Path(options["folder"])
    lines = (folder / options["source"]).read_text().splitlines()
    self._files = [str(folder / line.split()[0]) for line in lines]
    self._clips = json.loads((folder / "clips.json").read_text())
    self._read = _READERS[options["library"]]

  def run(self) -> None:
    """Reads all clips of the list."""
    for clip in self._clips:
      path = self._files[clip["row"]]
      self._last = self._read(path, clip["frames"], clip["box"], clip["size"])

  def results(self) -> dict[str, np.ndarray]:
    """The last clip, uint8 [t, size, size, 3]."""
    return {"clip": self._last}

  def peak_bytes(self) -> None:
    """Nobody asks for memory here."""
    return None

  def facts(self) -> dict[str, str]:
    """Versions."""
    return output.versions(
      "decord2", "opencv-python-headless", "torchcodec", "torch", "pillow"
    )


def _decord(path: str, frames: list[int], box: list[int], size: int):
  decord = importlib.import_module("decord")
  reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
  return _resized(reader.get_batch(frames).asnumpy(), box, size)


def _opencv(path: str, frames: list[int], box: list[int], size: int):
  cv2 = importlib.import_module("cv2")
  cv2.setNumThreads(1)
  capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
  capture.set(cv2.CAP_PROP_POS_FRAMES, frames[0])
  found = []
  for number in range(frames[0], frames[-1] + 1):
    capture.grab()
    if number in frames:
      found.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
  capture.release()
  return _resized(found, box, size)


def _torchcodec(path: str, frames: list[int], box: list[int], size: int):
  torch = importlib.import_module("torch")
  decoders = importlib.import_module("torchcodec.decoders")
  torch.set_num_threads(1)
  decoder = decoders.VideoDecoder(path, num_ffmpeg_threads=1)
  x, y, width, height = box
  found = decoder.get_frames_at(frames).data[..., y : y + height, x : x + width]
  found = torch.nn.functional.interpolate(
    found, (size, size), mode="bilinear", antialias=True
  )
  return found.permute(0, 2, 3, 1).contiguous().numpy()


_READERS = {"decord": _decord, "opencv": _opencv, "torchcodec": _torchcodec}


def _resized(frames, box: list[int], size: int) -> np.ndarray:
  """Bilinear, by OpenCV where there is one: that is faster than Pillow."""
  x, y, width, height = box
  frames = [frame[y : y + height, x : x + width] for frame in frames]
  if importlib.util.find_spec("cv2"):
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    return np.stack([cv2.resize(frame, (size, size)) for frame in frames])
  bilinear = PIL.Image.Resampling.BILINEAR
  images = (PIL.Image.fromarray(frame) for frame in frames)
  return np.stack([image.resize((size, size), bilinear) for image in images])
