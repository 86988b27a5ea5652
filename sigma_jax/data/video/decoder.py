"""FFmpeg's decoder of one stream, as all of this package uses it."""

import av
from av.codec.context import ThreadType

# What a decoder raises of a packet that it can make nothing of, such as one
# without a picture. It goes on with the next, as players do.
_REFUSED = (
  av.error.InvalidDataError,
  av.error.PatchWelcomeError,
  av.error.ArgumentError,
  av.error.BugError,
  av.error.NotImplementedError,
  av.error.PermissionError,  # -1, of old decoders
)


def prepared(stream):
  """The decoder of a stream; parallelism is over files."""
  context = stream.codec_context
  context.thread_count, context.thread_type = 1, ThreadType.NONE
  return context


def frames_of(context, packet: av.Packet | None) -> list | None:
  """Frames that come out as a packet goes in; None if it is refused."""
  try:
    return context.decode(packet)
  except _REFUSED:
    return None
