"""What a video file holds, in numbers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a file holds.

  Attributes:
    num_frames: frames that a sequential decode gives.
    width: of the first frame as stored, pixels; frames come turned as metadata
      ask.
    height: as stored, pixels.
    fps: frames a second, from the first to the last of them; 0 where the file
      does not say.
    codec: FFmpeg's name, such as h264.
  """

  num_frames: int
  width: int
  height: int
  fps: float
  codec: str
