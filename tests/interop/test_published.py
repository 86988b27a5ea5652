"""Published state dicts: every layout, both ways, bitwise and strict."""

import json

import jax
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import published


@pytest.fixture(scope="module", name="layouts")
def layouts_fixture(golden_dir):
  return json.loads((golden_dir / "checkpoint_layouts.json").read_text())


NAMES = (
  "sigma_small_mlp",
  "sigma_small_dino_v1",
  "videomae_pretrain_small",
  "finetune_small",
  "sigma_base_mlp",
  "sigma_base_dino_v1",
  "videomae_pretrain_base",
  "finetune_base",
)


def _random(sizes):
  """Distinct bit patterns in every tensor, at the price of a range."""
  return {
    name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7
    for name, shape in sizes.items()
  }


def test_names_cover_the_layouts(layouts):
  assert set(layouts) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_layout_round_trips_bitwise(layouts, name):
  tensors = _random(layouts[name])
  layout = layout_lib.infer(tensors)
  params = published.to_params(tensors, layout)
  shapes = jax.tree.map(lambda leaf: tuple(leaf.shape), params)
  expected = jax.tree.map(
    lambda leaf: tuple(leaf.shape), layout_lib.shapes(layout)
  )
  assert shapes == expected
  back = published.from_params(params, layout)
  assert set(back) == set(tensors)
  for key, tensor in tensors.items():
    np.testing.assert_array_equal(back[key], tensor)


@pytest.mark.parametrize(
  "name, kind, dim, heads, narrow, target_dim",
  [
    ("sigma_small_mlp", "mlp", 384, 6, 192, 256),
    ("sigma_base_dino_v1", "dino", 768, 12, 384, 768),
    ("videomae_pretrain_base", "pixel", 768, 12, 384, 1536),
  ],
)
def test_sizes_are_inferred(
  layouts, name, kind, dim, heads, narrow, target_dim
):
  sizes = layouts[name]
  found = layout_lib.infer(
    {n: np.broadcast_to(0.0, s) for n, s in sizes.items()}
  )
  assert found.kind == kind
  model = found.model
  assert (model.encoder_dim, model.encoder_heads) == (dim, heads)
  assert (model.decoder_dim, model.decoder_heads) == (narrow, narrow // 64)
  assert (model.encoder_depth, model.decoder_depth) == (12, 4)
  assert (model.tubelet, model.patch, model.mlp_ratio) == (2, 16, 4)
  assert found.target_dim == target_dim
  assert found.num_prototypes == (0 if kind == "pixel" else 3000)
  assert found.hidden == ((1024, 1024, 512) if kind == "mlp" else None)


def test_vit_h_heads():
  sizes = {
    "encoder.patch_embed.proj.weight": (1280, 3, 2, 16, 16),
    "encoder_to_decoder.weight": (640, 1280),
  }
  found = layout_lib.infer(
    {n: np.broadcast_to(0.0, s) for n, s in sizes.items()}
  )
  assert (found.model.encoder_heads, found.model.decoder_heads) == (16, 8)


def test_settings_of_a_layout_have_its_parameters(tiny, layouts):
  layout = layout_lib.of_settings(tiny)
  again = layout_lib.to_settings(layout, num_frames=4, size=16)
  assert layout_lib.of_settings(again) == layout
  from sigma_jax.models import sigma

  assert sigma.abstract(tiny).params == layout_lib.shapes(layout)


def test_one_error_lists_everything(layouts):
  tensors = _random(layouts["finetune_small"])
  layout = layout_lib.infer(tensors)
  tensors["head.scale"] = tensors.pop("fc_norm.bias")
  tensors["blocks.3.mlp.fc1.weight"] = np.zeros((4, 4), np.float32)
  with pytest.raises(errors.UserError) as caught:
    published.to_params(tensors, layout)
  text = str(caught.value)
  assert "3 problems" in text
  assert "unknown head.scale" in text
  assert "missing fc_norm.bias" in text
  assert (
    "blocks.3.mlp.fc1.weight has shape [4, 4], expected [1536, 384]" in text
  )


@pytest.mark.parametrize(
  "missing", ["encoder_to_decoder.weight", "mask_token", "decoder.head.weight"]
)
def test_a_missing_tensor_is_named(layouts, missing):
  tensors = _random(layouts["sigma_small_mlp"])
  del tensors[missing]
  with pytest.raises(errors.UserError, match=f"1 problems: missing {missing}"):
    published.to_params(tensors, layout_lib.infer(tensors))


def test_not_a_video_model():
  with pytest.raises(errors.UserError, match="not a SIGMA, VideoMAE or V-JEPA"):
    layout_lib.infer({"conv1.weight": np.zeros((4, 3, 7, 7))})


def test_unpublished_width_needs_heads():
  tensors = {"encoder.patch_embed.proj.weight": np.zeros((48, 3, 2, 16, 16))}
  with pytest.raises(errors.UserError, match="encoder_heads"):
    layout_lib.infer(tensors)
  assert layout_lib.infer(tensors, encoder_heads=3).model.encoder_heads == 3


def test_stored_sinusoid_positions_are_dropped_others_refused(layouts):
  from sigma_jax.models import positions

  tensors = _random(layouts["finetune_small"])
  layout = layout_lib.infer(tensors)
  tensors["pos_embed"] = positions.sinusoid_table(1568, 384)[None]
  published.to_params(tensors, layout)
  tensors["pos_embed"] = tensors["pos_embed"] + 1
  with pytest.raises(errors.UserError, match="not the fixed sinusoid"):
    published.to_params(tensors, layout)
