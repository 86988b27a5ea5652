"""One process of a run on noise: `python host.py JSON`.

Keys: how (--distributed's value), devices (of this process), settings, workdir,
pause (seconds a batch, so that there is time to kill it), order (of the mesh's
devices, as `jax.make_mesh` has one of its own on TPUs), fail ([process, times]:
whose reading of arrays fails so often), evaluate (seconds a batch of the
evaluations in the run, which `settings` ask for). With `judge`, a number of
clips, their features and predictions are computed instead and stored, and what
a step draws.
"""

import contextlib
import functools
import json
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np

from sigma_jax import compile_cache, distributed, errors, keys
from sigma_jax import settings as settings_lib
from sigma_jax.augment import batches as augment
from sigma_jax.evaluate import features, in_run, knn, predictions
from sigma_jax.methods import guided
from sigma_jax.models import layers, sigma
from sigma_jax.tasks import reading
from sigma_jax.train import loop, metrics, preemption, steps, stored
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import workdir as workdir_lib


def batches(settings, start: int, pause: float):
  """This process's rows of batches that are functions of the step."""
  data, rows = settings.data, settings.train.batch_size
  mine = mesh_lib.rows(mesh_lib.make(settings.mesh), rows)
  shape = (rows, data.num_frames, data.size, data.size, 3)
  step = start
  while True:
    step += 1
    time.sleep(pause)
    video = np.random.default_rng(step).integers(0, 256, shape, np.uint8)
    index = np.arange(rows, dtype=np.int32)
    yield {"video": video[mine], "index": index[mine]}


def draws(settings, mesh, batch) -> dict[str, np.ndarray]:
  """All that step 7 draws for the clips of a batch, in the mesh's order."""
  spread = mesh_lib.over_batch(mesh)

  @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
  def draw(batch):
    size = len(batch["index"])
    key = keys.of_step(settings.seed, 7)
    mirrored = steps.mirrored(settings, key, batch["video"], mesh)
    video, targets = augment.batch(
      key, mirrored, batch["index"], size, settings.augment, spread=spread
    )
    drop = layers.DropPath(keys.of(key, keys.Use.DROP_PATH), 0.5)
    return {
      "index": batch["index"],
      "mirrored": mirrored,
      "augmented": video,
      "targets": targets,
      "kept": jnp.stack([drop(jnp.ones((size, 1)), n) for n in range(9)]),
      **guided.masks(settings, mirrored, key)._asdict(),
    }

  return jax.tree.map(np.asarray, draw(mesh_lib.put_batch(batch, mesh)))


def judge(settings, workdir, clips: int, pause: float) -> None:
  """Features of `clips` noise clips, of which number 3 cannot be read."""
  params = jax.jit(lambda: sigma.init_params(settings, jax.random.key(0)))()
  size = 8
  share = size // jax.process_count()

  def evaluated():
    for start in range(0, clips, size):
      if pause:
        print(f"batch {start // size} judged", flush=True)
        time.sleep(pause)
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
      view = index % 3
      yield {"video": video, "index": index, "valid": valid, "view": view}

  mesh = mesh_lib.make(settings.mesh)
  encoders = {"it": jax.tree.map(np.asarray, params["encoder"])}
  nothing = {"share": lambda gather: None, "strike": lambda gather: None}
  counts = types.SimpleNamespace(**nothing)
  stoppable = reading._Evaluation(evaluated(), counts)
  found = features.extract(settings, encoders, stoppable, mesh)["it"]

  @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(mesh))
  def forward(video):
    return video[None, :, 0, 0, 0].astype(np.float32)

  said = predictions.collect(forward, evaluated(), mesh)
  half = len(found.rows) // 2
  votes = knn.predict(
    found.features[:half],
    found.rows[:half] % 3,
    found.features[half:],
    num_classes=3,
    k=4,
    temperature=0.1,
  )
  drawn = draws(settings, mesh, next(batches(settings, 0, 0.0)))
  name = f"judged{jax.process_index()}.npz"
  arrays = found._asdict() | {"votes": votes} | drawn
  arrays |= {f"said_{key}": value for key, value in said._asdict().items()}
  np.savez(str(workdir / name), **arrays)


def scorer(settings, pause: float) -> in_run.Scorer:
  """Of noise clips in three classes, which differ a little in brightness."""
  size, data = 8, settings.data
  share = size // jax.process_count()
  shape = (data.num_frames, data.size, data.size, 3)

  def clip(name, row):
    random = np.random.default_rng([len(name), row])
    most = 200 + 8 * (row % 3)
    return random.integers(0, most, shape).astype(np.uint8)

  @contextlib.contextmanager
  def opened(name, clips):
    def batches():
      for start in range(0, clips, size):
        if pause:
          print(f"{name} batch {start // size}", flush=True)
          time.sleep(pause)
        first = start + jax.process_index() * share
        rows = np.arange(first, first + share)
        yield {
          "video": np.stack([clip(name, row) for row in rows]),
          "index": np.where(rows < clips, rows, -1).astype(np.int32),
          "valid": (rows < clips) & (rows != 3),
        }

    yield batches()

  splits = [
    in_run.Split(
      name,
      functools.partial(opened, name, clips),
      {"label": np.arange(clips) % 3},
    )
    for name, clips in (("train", 60), ("test", 45))
  ]
  return in_run.Scorer(
    settings, mesh_lib.make(settings.mesh), *splits, {"label": 3}, kept=0
  )


def fail(process: int, times: int) -> None:
  """Reading a checkpoint's arrays fails on one process."""
  real, left = stored.arrays, [times]

  def read(*args):
    left[0] -= 1
    if left[0] >= 0 and jax.process_index() == process:
      raise OSError(5, "Input/output error")
    return real(*args)

  stored.arrays = read


def main() -> int:
  """Exit codes as sigma_jax.main's."""
  options = json.loads(sys.argv[1])
  compile_cache.use()  # as sigma_jax.tasks does
  jax.config.update("jax_num_cpu_devices", options["devices"])
  settings = settings_lib.Settings.from_config(options["settings"])
  workdir = workdir_lib.path(options["workdir"])
  workdir.mkdir(parents=True, exist_ok=True)
  distributed.TIMEOUT = options.get("timeout", distributed.TIMEOUT)
  if "order" in options:
    real = jax.make_mesh
    jax.make_mesh = lambda *args, devices, **rest: real(
      *args, devices=[devices[i] for i in options["order"]], **rest
    )
  preemption.PATIENCE = (300.0, 300.0)  # on however slow a machine
  # TensorFlow takes seconds to load.
  metrics._tensorboard = lambda workdir: None
  try:
    distributed.start(options["how"])
    distributed.check_agreement(settings.fingerprint(), workdir)
    if "fail" in options:
      fail(*options["fail"])
    if "judge" in options:
      with preemption.watching():
        judge(settings, workdir, options["judge"], options.get("pause", 0.0))
      return 0
    loop.pretrain(
      settings,
      workdir,
      num_examples=4 * settings.train.batch_size,
      open_batches=lambda start: batches(
        settings, start, options.get("pause", 0.0)
      ),
      file_name=str,
      score=scorer(settings, options.get("evaluate", 0.0)),
    )
  except errors.Preempted as error:
    print(error, file=sys.stderr)
    return error.code
  except (errors.UserError, errors.RunStopped) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
