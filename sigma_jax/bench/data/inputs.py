"""Makes what `sigma_jax.bench data` reads: videos in every form, clips.

python -m sigma_jax.bench.data.inputs FOLDER '{"videos": 4, ...}'

The videos are those of a manifest, or drawn for want of real ones: textured
ground under a moving camera, objects that cross it, sensor noise. Either way
x264 compresses them with its default settings. 10 s of the drawn ones take
0.67 MB at a GOP of 12, 0.49 at 250 and 4.35 as records; six clips of Kinetics
took 0.63, 0.54 and 4.0.
"""

import fractions
import io
import json
import pathlib
import sys
import tarfile

import av
import numpy as np
import PIL.Image
import PIL.ImageOps

from sigma_jax import errors, settings
from sigma_jax.data import crops, prepare, sampling, sources
from sigma_jax.data.video.containers import DecodeError

_FPS = 25
_OBJECTS = 12
_TIMEOUT = 60.0  # seconds a video
_QUALITY = 90  # of the JPEGs in folders of frames


def make(folder: str, options: dict) -> None:
  """Fills a folder.

  Args:
    folder: exists. It gets `gop12.txt` (a manifest) and so on, of the last of
      these `records`, `frames.txt` (of folders of JPEGs) and `tars`, and
      `clips.json`: row, frames and box of every clip.
    options: `videos` and `clips`, counts; `frames` of a video; its `width` and
      `height`; `gops`; `records`, whether there are any, and frames and tars;
      `spoilt`, how many further rows cannot be read; `manifest` of the videos,
      None: drawn.

  Raises:
    FileNotFoundError, UserError, DecodeError: the manifest or one of its first
      videos is not usable.
  """
  folder = pathlib.Path(folder)
  size = options["frames"], options["height"], options["width"]
  if options["manifest"]:
    films = _films_of(options["manifest"], options["videos"], *size)
  else:
    films = [film(seed, *size) for seed in range(options["videos"])]
  for gop in options["gops"]:
    manifest = folder / f"gop{gop}.txt"
    (folder / manifest.stem).mkdir()
    names = []
    for row, frames in enumerate(films):
      names.append(f"{manifest.stem}/{row}.mp4")
      write(str(folder / names[-1]), frames, gop)
    names += _spoil(folder, names, options["spoilt"])
    manifest.write_text("".join(f"{name} 0\n" for name in names))
  if options["records"]:
    manifest = str(folder / f"gop{options['gops'][-1]}.txt")
    prepare.prepare(manifest, str(folder / "records"), workers=1)
    _as_frames(folder, sources.load(manifest))
    _as_tar(folder, sources.load(manifest))
  (folder / "clips.json").write_text(json.dumps(_clips(options)))


def _as_frames(folder: pathlib.Path, rows: sources.Source) -> None:
  """Writes what is decoded of videos as JPEGs, as those who extract frames."""
  for row in range(len(rows)):
    out = folder / "frames" / str(row)
    out.mkdir(parents=True)
    with rows.open(row, _TIMEOUT) as video:
      frames = video.read(np.arange(video.num_frames))
    for number, frame in enumerate(frames, 1):
      image = PIL.Image.fromarray(frame)
      image.save(out / f"img_{number:05}.jpg", quality=_QUALITY)
  lines = [f"frames/{row} 0\n" for row in range(len(rows))]
  (folder / "frames.txt").write_text("".join(lines))


def _as_tar(folder: pathlib.Path, rows: sources.Source) -> None:
  """Writes one shard of the files, each with a .cls."""
  (folder / "tars").mkdir()
  with tarfile.open(folder / "tars" / "shards-000000.tar", "w") as tar:
    for row, file in enumerate(rows.files):
      tar.add(file, f"{row:06}.mp4")
      label = tarfile.TarInfo(f"{row:06}.cls")
      label.size = 1
      tar.addfile(label, io.BytesIO(b"0"))


def _films_of(path: str, videos: int, count: int, height: int, width: int):
  """The first frames of a manifest's first videos, uint8, cut to one shape."""
  rows = sources.load(path, classes=False)
  if len(rows) < videos:
    raise errors.UserError(
      f"--videos={videos} are more than the {len(rows)} of {path}"
    )
  films = []
  for row in range(videos):
    with rows.open(row, _TIMEOUT) as video:
      if video.num_frames < count:
        raise errors.UserError(
          f"{rows.files[row]} has {video.num_frames} frames, fewer than "
          f"--frames={count}"
        )
      frames = map(PIL.Image.fromarray, video.read(np.arange(count)))
      films.append(
        [np.asarray(PIL.ImageOps.fit(f, (width, height))) for f in frames]
      )
  return films


def film(seed: int, count: int, height: int, width: int) -> list[np.ndarray]:
  """Frames of one video, uint8 [height, width, 3]."""
  rng = np.random.default_rng(seed)
  ground = _texture(rng, height + 128, width + 128)
  objects = [
    (
      _texture(rng, height // 2 + 2, height // 2 + 2),
      rng.uniform(0, 1, 2) * (width, height),  # centre
      rng.uniform(-7, 7, 2),  # pixels a frame
      rng.uniform(0.1, 0.25, 2) * height,  # half axes
    )
    for _ in range(_OBJECTS)
  ]
  camera, speed, frames = np.full(2, 64.0), rng.uniform(-1, 1, 2), []
  for number in range(count):
    speed = 0.9 * speed + rng.normal(0, 0.4, 2)
    camera = np.clip(camera + speed, 1, 126)
    frame = _window(ground, camera, height, width)
    for texture, centre, motion, axes in objects:
      place = (centre + number * motion) % (width, height)
      _draw(frame, texture, place, axes)
    frame += rng.normal(0, 2, (height, width, 1)).astype(np.float32)
    frames.append(np.clip(frame, 0, 255).astype(np.uint8))
  return frames


def _draw(frame: np.ndarray, texture: np.ndarray, centre, axes) -> None:
  """Lays an ellipse of a texture over a frame; the frame's edges cut it."""
  left, top = (int(value) for value in centre - axes)
  begin_x, begin_y = max(left, 0), max(top, 0)
  part = frame[begin_y : top + texture.shape[0], begin_x:][
    :, : left + texture.shape[1] - begin_x
  ]
  down, across = np.ogrid[: part.shape[0], : part.shape[1]]
  far_x = (across + begin_x - centre[0]) / axes[0]
  far_y = (down + begin_y - centre[1]) / axes[1]
  alpha = np.clip(4 - 4 * (far_x**2 + far_y**2), 0, 1)[..., None]
  from_y, from_x = begin_y - top, begin_x - left
  piece = texture[from_y:, from_x:][: part.shape[0], : part.shape[1]]
  part += alpha.astype(np.float32) * (piece - part)


def _texture(rng, height: int, width: int) -> np.ndarray:
  """Noise whose spectrum falls as in photographs, float32 [h, w, 3]."""
  far = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
  far[0, 0] = np.inf
  planes = []
  for share in (1.0, 0.25, 0.25):  # brightness, then two colours
    noise = np.fft.rfft2(rng.normal(size=(height, width))) / far**1.6
    plane = np.fft.irfft2(noise, (height, width))
    planes.append(share * plane / plane.std())
  light, warm, green = planes
  return np.stack(
    [
      120 + rng.uniform(-30, 30) + 45 * (light + sign * warm + other * green)
      for sign, other in ((1, 0), (0, 1), (-1, -1))
    ],
    -1,
  ).astype(np.float32)


def _window(ground, corner, height: int, width: int) -> np.ndarray:
  """A part of the ground, between pixels too."""
  x, y = corner.astype(int)
  across, down = (corner % 1).astype(np.float32)
  part = ground[y : y + height + 1, x : x + width + 1]
  part = (1 - down) * part[:-1] + down * part[1:]
  return (1 - across) * part[:, :-1] + across * part[:, 1:]


def write(path: str, frames: list[np.ndarray], gop: int) -> None:
  """Writes frames as H.264 with x264's default settings but for the GOP."""
  with av.open(path, "w") as container:
    stream = container.add_stream("libx264", rate=_FPS)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt, stream.options = "yuv420p", {"threads": "1"}
    stream.codec_context.gop_size = gop
    for number, image in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts, frame.time_base = number, fractions.Fraction(1, _FPS)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _spoil(folder: pathlib.Path, names: list[str], count: int) -> list[str]:
  """Damaged copies, each in another way."""
  rng, spoilt = np.random.default_rng(0), []
  for number in range(count):
    data = np.fromfile(folder / names[number % len(names)], np.uint8)
    if number % 3 == 0:
      data = data[: len(data) // 2]
    elif number % 3 == 1:
      data[rng.integers(len(data), size=len(data) // 50)] = 0
    else:
      data = data[:0]
    spoilt.append(f"spoilt{number}.mp4")
    data.tofile(folder / spoilt[-1])
  return spoilt


def _clips(options: dict) -> list[dict]:
  """What the training crop of the default settings takes."""
  data, clips = settings.Data(), []
  for number in range(options["clips"]):
    rng = np.random.default_rng(number)
    frames = sampling.dense_clip_indices(
      options["frames"], data.num_frames, data.stride, rng
    )
    sides = (options["width"], options["height"])
    box = crops.multiscale(*sides, data.size, data.scales, rng)
    clips.append(
      {
        "row": number % options["videos"],
        "frames": frames.tolist(),
        "box": [int(side) for side in box],
        "size": data.size,
      }
    )
  return clips


if __name__ == "__main__":
  try:
    make(sys.argv[1], json.loads(sys.argv[2]))
  except (OSError, errors.UserError, DecodeError) as error:
    sys.exit(str(error))
