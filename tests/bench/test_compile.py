"""The step that TPUs would run: compiled here, for slices that are not.

Each compilation is a process of its own: JAX runs on the CPU in this one.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from sigma_jax import errors
from sigma_jax.bench.pod import compiled, topology

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
from sigma_jax import recipes

def get_config(target="mlp"):
  config = recipes.pretrain("vits", target)
  config.data.num_frames = 4
  config.data.size = 112
  config.masking.ratio = 0.5
  config.model.encoder_dim = 256
  config.model.encoder_depth = 2
  config.model.encoder_heads = 2
  config.model.decoder_dim = 128
  config.model.decoder_depth = 1
  config.model.decoder_heads = 2
  config.target.hidden = (320,)
  config.loss.num_prototypes = 300
  config.train.batch_size = 10
  return config
"""
needs_compiler = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="libtpu is missing: pip install -r requirements-tpu-compile.txt",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp("configs") / "small.py"
  path.write_text(CONFIG)
  return path


def run(*command, **variables):
  return subprocess.run(
    [sys.executable, *map(str, command)],
    cwd=ROOT,
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=600,
  )


@pytest.fixture(scope="module")
def found(config):
  """Three clips a chip, the config's ten scaled up, and one clip a chip.

  Alone on the command line, without a variable set, and quiet.
  """
  command = ("-m", "sigma_jax.bench", "compile", f"--config={config}")
  command += ("--topology=v5e:2x2", "--fsdp=2", "--json")
  made = [
    run(*command, *flags, JAX_PLATFORMS="") for flags in ((), ("--batch=4",))
  ]
  for done in made:
    assert (done.returncode, done.stderr) == (0, "")
  return [json.loads(done.stdout) for done in made]


@needs_compiler
def test_what_travels_does_not_grow_with_the_batch(found):
  three, one = (each["collective_mb_per_step_and_chip"] for each in found)
  assert one == three
  # Ten rounds, of both sides the 300 masses; and the loss.
  assert one["assignment"] == pytest.approx((10 * 2 * 300 * 4 + 4) / 1e6)
  assert one["other"] == 0
  assert min(one["parameters"], one["gradients"]) > 2
  assert {row["collective"] for row in found[0]["rows"]} == {
    *("all-reduce", "all-gather", "reduce-scatter")
  }


@needs_compiler
def test_figures_of_a_step(found):
  three, one = found
  assert "12 clips (the config's 10 scaled" in three["title"]
  assert "4 clips (as given)" in one["title"]
  assert three["mesh"] == {"data": 2, "fsdp": 2}
  assert three["loss_plan"].endswith("for tpu")
  memory = three["memory_gb_per_chip"]
  parts = ("arguments", "outputs", "temporaries", "code")
  total = sum(memory[part] for part in parts) - memory["aliased"]
  assert memory["total"] == pytest.approx(total)
  assert three["fits"]
  assert 0 < memory["arguments"] < memory["total"] < memory["of"] == 16
  flops = three["tflop_per_step"]
  assert flops["all_chips"] == pytest.approx(4 * flops["per_chip"])
  assert flops["all_chips"] == pytest.approx(
    3 * one["tflop_per_step"]["all_chips"], rel=1e-3
  )
  assert flops["per_chip"] > flops["per_chip_by_xla_with_each_loop_once"]
  times = three["roofline"]
  assert times["step_at_least_seconds"] == max(
    times["matrix_products_seconds"], times["hbm_seconds"]
  )
  assert times["matrix_products_seconds"] == pytest.approx(
    flops["per_chip"] / 197
  )


@needs_compiler
def test_scaling_from_one_chip(config):
  done = run(
    *("-m", "sigma_jax.bench", "scaling", f"--config={config}"),
    *("--chips=1,4", "--per-chip-batch=1", "--json"),
  )
  assert (done.returncode, done.stderr) == (0, "")
  alone, four = json.loads(done.stdout)["rows"]
  assert (alone["chips"], alone["clips"], alone["topology"]) == (
    1,
    1,
    "v5e:1x1",
  )
  assert alone["sent_mb"] == alone["gradients_mb"] == 0
  assert (four["chips"], four["clips"]) == (4, 4)
  assert four["assignment_mb"] == pytest.approx((10 * 2 * 300 * 4 + 4) / 1e6)
  assert four["gradients_mb"] > 100 * four["assignment_mb"]
  # Each chip keeps a fourth of the state: see `settings.Mesh`.
  assert four["arguments_gb"] < alone["arguments_gb"] / 3


def test_without_the_compiler(monkeypatch):
  monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(errors.UserError, match="requirements-tpu-compile"):
    topology.prepare()


def test_chips():
  assert topology.chip("v5e:16x16").hbm == 16e9
  with pytest.raises(errors.UserError, match="known are v4, v5e, v5p, v6e"):
    topology.chip("v7x:2x2x1")
  assert topology.slice_of("v5e", 64) == "v5e:8x8"
  with pytest.raises(errors.UserError, match=r"no slice of v5e has 5 .* 4, 8"):
    topology.slice_of("v5e", 5)


@pytest.mark.parametrize(
  ("batch", "wanted"), [(640, 768), (512, 512), (128, 256)]
)
def test_published_batches_on_a_pod(batch, wanted):
  assert compiled.scaled_batch(batch, 256) == wanted


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("configs/k400_vitbb.py", "did you mean configs/k400_vitb"),
    ("configs/k400_vitb.py:dinu", "did you mean 'dino'"),
    ("configs/k400_vitb_videomae.py:dino", "nothing behind a colon"),
    ("configs/eval/segmentation_toy.py", "compiled are those of pretrain"),
    ("sigma_jax/recipes/toys.py", "has no get_config"),
  ],
)
def test_configs_that_cannot_be_compiled(monkeypatch, name, message):
  monkeypatch.chdir(ROOT)
  with pytest.raises(ValueError, match=message):
    compiled.load(name)


# A minute or two each: SIGMA_COMPILE_ALL=1 pytest tests/bench
@needs_compiler
@pytest.mark.skipif(
  "SIGMA_COMPILE_ALL" not in os.environ,
  reason="takes twenty minutes: set SIGMA_COMPILE_ALL=1",
)
@pytest.mark.parametrize("target", ["", ":dino"])
@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*_vit*.py")))
def test_full_size_configs_fit_a_pod(path, target):
  if "videomae" in path.stem and target:
    pytest.skip("it has no other target")
  name = path.relative_to(ROOT)
  command = ("compile", f"--config={name}{target}", "--json")
  done = run("-m", "sigma_jax.bench", *command)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found["memory_gb_per_chip"]["total"] < 16
  assert found["collective_mb_per_step_and_chip"]["other"] == 0


LABELS = """
from sigma_jax import recipes

def get_config():
  config = recipes.{recipe}
  config.data.num_frames = 4
  config.data.size = 64
  config.model.encoder_dim = 256
  config.model.encoder_depth = 2
  config.model.encoder_heads = 4
  return config
"""


@needs_compiler
@pytest.mark.parametrize(
  ("recipe", "flags", "parts"),
  [
    (
      'finetune("k400", batch_size=8)',
      (),
      {"inputs", "embedding", "encoder", "head", "optimizer"},
    ),
    (
      'finetune("k400", batch_size=8)',
      ("--testing", "--batch=16"),
      {"embedding", "encoder", "head"},
    ),
    ('knn("k400")', ("--batch=16",), {"embedding", "encoder"}),
  ],
)
def test_programs_of_evaluations(tmp_path, recipe, flags, parts):
  config = tmp_path / "judged.py"
  config.write_text(LABELS.format(recipe=recipe))
  done = run(
    *("-m", "sigma_jax.bench", "compile", f"--config={config}"),
    *("--topology=v5e:2x2", "--json", *flags),
  )
  assert (done.returncode, done.stderr) == (0, "")
  found = json.loads(done.stdout)
  assert ("16 clips" if flags else "8 clips") in found["title"]
  traffic = found["hbm_gb_per_step_and_chip"]
  assert parts <= traffic.keys()
  assert traffic.pop("all") == pytest.approx(sum(traffic.values()))
  assert found["mesh"] == {"data": 1, "fsdp": 4}


def test_what_has_no_test_pass():
  settings = compiled.load("configs/toy.py")
  with pytest.raises(ValueError, match="--testing is for trainings with"):
    compiled.batch_key(settings, testing=True)
