"""What does not return is left behind; everything else is as if called."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from sigma_jax.data.video import deadline, decode, pixels
from sigma_jax.data.video.containers import DecodeError


def test_a_call_returns_or_raises_as_ever():
  assert deadline.within(5, lambda: 3) == 3
  with pytest.raises(ZeroDivisionError):
    deadline.within(5, lambda: 1 / 0)


def test_calls_of_a_thread_share_one_helper_and_end_with_it():
  seen = []

  def work():
    for _ in range(3):
      seen.append(deadline.within(5, threading.current_thread))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert len(set(seen)) == 1 and seen[0] is not thread
  seen[0].join(5)
  assert not seen[0].is_alive()


def test_what_does_not_return_is_left_behind():
  go_on, start = threading.Event(), time.monotonic()
  with pytest.raises(deadline.Overdue):
    deadline.within(0.1, go_on.wait)
  # The next call has a helper of its own, and its own answer.
  assert deadline.within(5, lambda: "next") == "next"
  assert time.monotonic() - start < 3
  go_on.set()
  assert deadline.within(5, lambda: "last") == "last"


def test_a_helper_keeps_nothing_of_a_call():
  class Held:
    pass

  held = Held()
  ref = weakref.ref(held)
  assert deadline.within(5, lambda held=held: held) is held

  def fail(held=held):
    raise ValueError(held)

  with pytest.raises(ValueError):
    deadline.within(5, fail)
  del held, fail
  deadline.within(5, int)  # now it waits for the next call
  gc.collect()
  assert ref() is None


@pytest.mark.parametrize("stage", ["open", "read"])
def test_a_stall_within_ffmpeg_is_a_bad_file(
  stage, write_video, tmp_path, monkeypatch
):
  path = write_video(tmp_path / "video.mp4")
  wanted = decode.decode_frames(path, np.arange(3))
  go_on = threading.Event()

  def stall(*_, **__):
    go_on.wait()
    raise OSError("nobody hears this")

  monkeypatch.setattr(decode, "_GRACE", 0.2)
  with monkeypatch.context() as patch:
    if stage == "open":
      patch.setattr(decode.av, "open", stall)
    else:
      patch.setattr(pixels.transforms, "to_rgb", stall)
    start = time.monotonic()
    with pytest.raises(DecodeError, match="stalled: no answer"):
      decode.decode_frames(path, np.arange(3), timeout=0.5)
    assert time.monotonic() - start < 5
  found = decode.decode_frames(path, np.arange(3))
  np.testing.assert_array_equal(found, wanted)
  go_on.set()
