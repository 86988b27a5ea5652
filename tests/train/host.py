"""One process of a run on noise: `python host.py JSON`.

Keys: how (--distributed's value), devices (of this process), settings, workdir,
pause (seconds a batch, so that there is time to kill it).
"""

import json
import sys
import time

import jax
import numpy as np

from sigma_jax import distributed, errors
from sigma_jax import settings as settings_lib
from sigma_jax.train import loop, metrics
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


def main() -> int:
  """Exit codes as sigma_jax.main's."""
  options = json.loads(sys.argv[1])
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
