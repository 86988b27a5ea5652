"""Manifests and videos that are not local files: TensorFlow reads them."""

import os

import numpy as np
import pytest
import tensorflow as tf

from sigma_jax import errors
from sigma_jax.data import manifest, sources
from sigma_jax.data.video import containers, stills
from sigma_jax.data.video.containers import DecodeError
from sigma_jax.data.video.decode import Clip, decode_frames


@pytest.fixture
def remote(tmp_path):
  """Puts a local file at ram://, which gfile reads as it reads gs://."""
  folder = f"ram://{tmp_path}"

  def put(path):
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(f"{folder}/{path.name}", "wb") as file:
      file.write(path.read_bytes())
    return f"{folder}/{path.name}"

  return put


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_remote_video_has_the_frames_of_a_local_one(
  suffix, remote, write_video, tmp_path
):
  local = tmp_path / f"video{suffix}"
  write_video(local)
  indices = np.array([2, 17, 29])
  np.testing.assert_array_equal(
    decode_frames(remote(local), indices), decode_frames(str(local), indices)
  )


def test_a_remote_manifest_lists_remote_and_local_files(
  remote, write_video, tmp_path
):
  video = tmp_path / "video.mp4"
  write_video(video)
  far = remote(video)
  listing = tmp_path / "train.txt"
  # Relative to the manifest's folder; elsewhere; on this machine.
  listing.write_text(f"video.mp4 3\n{far},4\n{video}\t5\n")
  for path in (str(listing), remote(listing)):
    found = manifest.load(path)
    folder = os.path.dirname(path)
    assert found.files == (f"{folder}/video.mp4", far, str(video))
    np.testing.assert_array_equal(found.labels, [3, 4, 5])
    source = sources.load(path)
    for row in range(3):
      with source.open(row, 10) as clip:
        assert clip.num_frames == 30
  with pytest.raises(errors.UserError, match="is a folder"):
    manifest.load(os.path.dirname(far))
  with pytest.raises(FileNotFoundError, match="does not exist"):
    manifest.load(far + ".txt")


def test_a_remote_image(remote, tmp_path):
  local = tmp_path / "image.png"
  tf.io.write_file(str(local), tf.io.encode_png(np.full((4, 6, 3), 7, "u1")))
  with stills.Still(remote(local)) as still:
    np.testing.assert_array_equal(still.read([0]), np.full((1, 4, 6, 3), 7))


def refuse(*_):
  raise tf.errors.PermissionDeniedError(None, None, "HTTP 403,\nno access")


def test_what_is_wrong_with_a_remote_file_is_said(
  remote, write_video, tmp_path, monkeypatch
):
  video = tmp_path / "video.mp4"
  write_video(video)
  path = remote(video)
  empty = tmp_path / "empty.mp4"
  empty.touch()
  for bad, reason in (
    (path + "4", "missing file"),
    (remote(empty), "empty file (0 bytes)"),
  ):
    with pytest.raises(DecodeError) as caught:
      Clip(bad, 10)
    assert caught.value.reason == reason and caught.value.path == bad
  with pytest.raises(errors.UserError, match="nowhere:// is not known"):
    Clip("nowhere://bucket/video.mp4", 10)
  monkeypatch.setattr(containers, "_MAX_BYTES", 100)
  with pytest.raises(DecodeError, match="larger than"):
    Clip(path, 10)
  monkeypatch.setattr(tf.io.gfile, "GFile", refuse)
  with pytest.raises(DecodeError) as caught:
    Clip(path, 10)
  assert caught.value.reason == "cannot be read (HTTP 403, no access)"


def test_a_local_file_that_may_not_be_read(write_video, tmp_path, monkeypatch):
  path = write_video(tmp_path / "video.mp4")
  monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may
  with pytest.raises(DecodeError, match="no permission to read it"):
    Clip(path, 10)
