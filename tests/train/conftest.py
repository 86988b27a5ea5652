"""Batches from arrays and a loop without TensorBoard."""

import jax
import numpy as np
import pytest

from sigma_jax.methods import method
from sigma_jax.train import loop, metrics


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
  """Each run of the loop compiles its step anew; here the first one does."""
  folder = str(tmp_path_factory.mktemp("compiled"))
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
  yield
  jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="session")
def pretrain():
  """Runs `loop.pretrain` on noise that is a function of the step.

  `stop_before`: the step whose batch raises KeyboardInterrupt, as a killed
  run sees no more batches. Returns the loop's result.
  """

  def run(
    settings,
    workdir,
    stop_before=None,
    opened=None,
    initial=None,
    profile_steps=range(0),
    score=None,
  ):
    data, rows = settings.data, settings.train.batch_size
    shape = (rows, data.num_frames, data.size, data.size, 3)

    def open_batches(start):
      if opened is not None:
        opened.append(start)
      step = start
      while True:
        step += 1
        if step == stop_before:
          raise KeyboardInterrupt(f"before step {step}")
        rng = np.random.default_rng(step)
        index = np.arange(rows, dtype=np.int32) + 100 * step
        video = rng.integers(0, 256, shape, np.uint8)
        chosen = method.of(settings)
        further = {
          view.name: rng.integers(0, 256, view.shape(rows), np.uint8)
          for view in chosen.views()
        }
        if chosen.luma is not None:
          further["luma"] = np.asarray(chosen.batch(video)["luma"])
        yield {"video": video, "index": index, **further}

    with pytest.MonkeyPatch.context() as patch:
      # TensorFlow takes seconds to load; test_kill.py runs with it.
      patch.setattr(metrics, "_tensorboard", lambda workdir: None)
      return loop.pretrain(
        settings,
        workdir,
        num_examples=4 * rows,
        open_batches=open_batches,
        file_name=lambda row: f"clip{row}.mp4",
        initial=initial,
        score=score,
        profile_steps=profile_steps,
      )

  return run
