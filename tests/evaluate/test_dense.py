"""Dense features: which map is of what, and what cannot be had."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import errors
from sigma_jax.evaluate.segmentation import dense
from sigma_jax.inference import encoder as encoder_lib
from sigma_jax.interop import teacher
from sigma_jax.models import sigma, variants, vit
from sigma_jax.train import checkpoint

NAME = "dinov2_vits14"


@pytest.fixture(scope="module", name="run")
def run_fixture(tiny, tmp_path_factory):
  """A workdir of the tiny model at step 7."""
  workdir = tmp_path_factory.mktemp("run")
  params = sigma.init_params(tiny, jax.random.key(5))
  checkpoint.write_params(workdir, tiny, params, step=7)
  return workdir


@pytest.fixture(name="teacher_file")
def teacher_file_fixture(monkeypatch, tmp_path):
  """An .npz of a tiny DINOv2 with patches of 4 px, by the published names."""
  model = dataclasses.replace(
    variants.IMAGE_MODELS[NAME], dim=16, depth=1, heads=2, patch=4, grid=3
  )
  monkeypatch.setitem(variants.IMAGE_MODELS, NAME, model)
  rng = np.random.default_rng(0)
  shapes = teacher._published_shapes(model)
  arrays = {n: 0.3 * rng.normal(size=shape) for n, shape in shapes.items()}
  path = tmp_path / "teacher.npz"
  np.savez(path, **arrays)
  return str(path)


def test_maps_of_a_run_are_its_tokens(tiny, change, run, tiny_video):
  encoders = dense.load(change(tiny, init=str(run)))
  assert list(encoders) == ["pretrained", "random"]
  maps = encoders["pretrained"].maps(tiny_video[0])
  tokens = encoder_lib.load(run).encode(tiny_video[:1]).tokens[0]
  assert maps.shape == (2, 4, 4, 32)
  np.testing.assert_allclose(maps[1, 2, 3], tokens[16 + 2 * 4 + 3], rtol=1e-5)
  other = encoders["random"].maps(tiny_video[0])
  assert np.abs(np.asarray(maps - other)).max() > 0.1
  assert encoders["random"].sums != encoders["pretrained"].sums
  assert dense.step_of(str(run)) == 7


def test_clips_may_be_shorter_than_trained_with(tiny, change, run, tiny_video):
  config = change(tiny, init=str(run), data__num_frames=2)
  maps = dense.load(config)["pretrained"].maps(tiny_video[0, :2])
  assert maps.shape == (1, 4, 4, 32)


def test_which_encoders_there_are(tiny, change, run):
  only = change(tiny, init=str(run), segmentation__random_baseline=False)
  assert list(dense.load(only)) == ["pretrained"]
  without = change(tiny, segmentation__random_baseline=False)
  assert list(dense.load(without)) == ["random"]
  assert dense.step_of("") is None
  again, seeded = (
    dense.load(change(tiny, seed=seed))["random"].sums for seed in (0, 1)
  )
  assert dense.load(tiny)["random"].sums == again != seeded


def test_an_image_model_gives_a_map_a_frame(
  tiny, change, teacher_file, tiny_video
):
  config = change(tiny, init=teacher_file, segmentation__teacher=NAME)
  encoders = dense.load(config)
  model = variants.IMAGE_MODELS[NAME]
  target = dataclasses.replace(
    config.target, kind="dino", variant=NAME, weights=teacher_file
  )
  weights = teacher.load(dataclasses.replace(config, target=target))
  frame = vit.normalize_pixels(jnp.asarray(tiny_video[0, 3:4]))
  made = dense._abstract(model, jnp.float32)
  tokens = nnx.merge(nnx.split(made)[0], weights["target"]["teacher"])(frame)
  maps = encoders["pretrained"].maps(tiny_video[0])
  assert maps.shape == (4, 4, 4, 16)
  np.testing.assert_allclose(maps[3, 2, 1], tokens[0, 9], atol=1e-5)
  random = np.asarray(encoders["random"].maps(tiny_video[0]))
  assert random.shape == maps.shape and random.std(axis=(0, 1, 2)).min() > 0
  assert dense.step_of(teacher_file) is None


def test_untrained_weights_fit_the_model():
  model = dataclasses.replace(
    variants.IMAGE_MODELS["dino_vits16"], dim=16, depth=2, heads=2, grid=2
  )
  drawn = dense.untrained(model, jax.random.key(0), jnp.float32)
  wanted = nnx.to_pure_dict(nnx.split(dense._abstract(model, jnp.float32))[1])
  assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, wanted)
  block = drawn["blocks"]["mlp"]["fc1"]
  assert (block["bias"] == 0).all() and (drawn["norm"]["scale"] == 1).all()
  assert (block["kernel"][0] != block["kernel"][1]).any()


@pytest.mark.parametrize(
  ("name", "option", "part"),
  [
    ("absent", "", "init: no such checkpoint"),
    ("weights.pth", "", "need segmentation.teacher"),
    ("weights.pth", NAME, f"init, read as segmentation.teacher '{NAME}': "),
  ],
)
def test_init_that_cannot_be_read_is_named_in_one_line(
  tiny, change, tmp_path, teacher_file, name, option, part
):
  (tmp_path / "weights.pth").write_text("no weights")
  config = change(tiny, init=str(tmp_path / name), segmentation__teacher=option)
  with pytest.raises(errors.UserError) as caught:
    dense.load(config)
  assert part in str(caught.value) and "\n" not in str(caught.value)


def test_clips_have_to_divide(tiny, change, run, teacher_file):
  size = change(tiny, init=str(run), data__size=18, model__patch=2)
  with pytest.raises(errors.UserError, match=r"data\.size is 18.* of 4$"):
    dense.load(size)
  frames = change(tiny, init=str(run), data__num_frames=3, model__tubelet=1)
  with pytest.raises(errors.UserError, match=r"num_frames is 3.* of 2$"):
    dense.load(frames)
  image = change(tiny, segmentation__teacher=NAME, data__size=6, model__patch=2)
  with pytest.raises(errors.UserError, match=r"data\.size is 6.* of 4$"):
    dense.load(image)
