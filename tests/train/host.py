"""One process of a run on noise: `python host.py JSON`.

Keys: how (--distributed's value), devices (of this process), settings, workdir,
pause (seconds a batch, so that there is time to kill it). With `judge`, a
number of clips, their features are computed instead and stored.
"""

import json
import sys
import time

import jax
import numpy as np

from sigma_jax import compile_cache, distributed, errors
from sigma_jax import settings as settings_lib
from sigma_jax.evaluate import features
from sigma_jax.models import sigma
from sigma_jax.train import loop, metrics
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib


def batches(settings, start: int, pause: float):
  """This process's rows of batches that are functions of the step."""
  data, rows = settings.data, settings.train.batch_size
  share = rows // jax.process_count()
  mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
  shape = (rows, data.num_frames, data.size, data.size, 3)
  step = start
  while True:
    step += 1
    time.sleep(pause)
    video = np.random.default_rng(step).integers(0, 256, shape, np.uint8)
    index = np.arange(rows, dtype=np.int32)
    yield {"video": video[mine], "index": index[mine]}


def judge(settings, workdir, clips: int) -> None:
  """Features of `clips` noise clips, of which number 3 cannot be read."""
  params = jax.jit(lambda: sigma.init_params(settings, jax.random.key(0)))()
  size = 8
  share = size // jax.process_count()

  def batches():
    for start in range(0, clips, size):
      first = start + jax.process_index() * share
      rows = np.arange(first, first + share)
      valid = (rows < clips) & (rows != 3)
      video = np.stack(
        [
          np.random.default_rng(row).integers(0, 256, (4, 16, 16, 3), np.uint8)
          for row in rows
        ]
      )
      index = np.where(rows < clips, rows, -1).astype(np.int32)
      yield {"video": video, "index": index, "valid": valid}

  mesh = mesh_lib.make(settings.mesh)
  encoders = {"it": jax.tree.map(np.asarray, params["encoder"])}
  found = features.extract(settings, encoders, batches(), mesh)["it"]
  name = f"features{jax.process_index()}.npz"
  np.savez(str(workdir / name), **found._asdict())


def main() -> int:
  """Exit codes as sigma_jax.main's."""
  options = json.loads(sys.argv[1])
  compile_cache.use()  # as sigma_jax.tasks does
  jax.config.update("jax_num_cpu_devices", options["devices"])
  settings = settings_lib.Settings.from_config(options["settings"])
  workdir = workdir_lib.path(options["workdir"])
  workdir.mkdir(parents=True, exist_ok=True)
  distributed.TIMEOUT = options.get("timeout", distributed.TIMEOUT)
  # TensorFlow takes seconds to load.
  metrics._tensorboard = lambda workdir: None
  try:
    distributed.start(options["how"])
    distributed.check_agreement(settings.fingerprint(), workdir)
    if "judge" in options:
      judge(settings, workdir, options["judge"])
      return 0
    loop.pretrain(
      settings,
      workdir,
      num_examples=4 * settings.train.batch_size,
      open_batches=lambda start: batches(
        settings, start, options.get("pause", 0.0)
      ),
      file_name=str,
    )
  except errors.Preempted as error:
    print(error, file=sys.stderr)
    return 143
  except (errors.UserError, errors.RunStopped) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
