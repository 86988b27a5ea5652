"""Export to and import from transformers, beside the real library."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import encoder as encoder_lib
from sigma_jax import errors, masking
from sigma_jax import settings as settings_lib
from sigma_jax.interop import hugging_face, published, store
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import heads, vit

FRAMES, SIZE = 4, 32
MODEL = settings_lib.Model(
  patch=8,
  encoder_dim=48,
  encoder_depth=2,
  encoder_heads=3,
  decoder_dim=32,
  decoder_depth=1,
  decoder_heads=2,
)
GRID = (2, 4, 4)  # of the clips
MEAN, STD = np.array(vit.IMAGE_MEAN), np.array(vit.IMAGE_STD)


@pytest.fixture(scope="module", name="library")
def library_fixture():
  """(torch, transformers)."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    found = pytest.importorskip("transformers", reason="compares with it")
    # Its lazy modules warn when first touched.
    _ = found.VideoMAEModel, found.VideoMAEForPreTraining
    _ = found.VideoMAEForVideoClassification
  return torch, found


@pytest.fixture(scope="module", name="video")
def video_fixture():
  random = np.random.default_rng(1)
  return random.integers(0, 256, (2, FRAMES, SIZE, SIZE, 3), np.uint8)


def _random_params(layout):
  random = np.random.default_rng(0)

  def draw(path, leaf):
    w = random.standard_normal(leaf.shape, np.float32)
    return 1 + 0.1 * w if path[-1].key == "scale" else 0.1 * w

  return jax.tree_util.tree_map_with_path(draw, layout_lib.shapes(layout))


def _merge(module, params, *args, **kwargs):
  made = nnx.eval_shape(
    lambda: module(MODEL, GRID, *args, rngs=nnx.Rngs(0), **kwargs)
  )
  return nnx.merge(nnx.split(made)[0], params)


def _pixels(torch, video):
  x = (video / 255.0 - MEAN) / STD
  return torch.tensor(x.transpose(0, 1, 4, 2, 3), dtype=torch.float32)


def _tubes(video):
  return vit.split_tubes(jnp.asarray(video), MODEL.tubelet, MODEL.patch)


def _load(library, name, folder):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model, info = getattr(library[1], name).from_pretrained(
      folder, output_loading_info=True
    )
  assert not info["missing_keys"]
  return model.eval(), info


def _save(library, model, folder):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["pixel", "mlp"])
def test_features_of_pretrained_models(library, video, tmp_path, kind):
  torch, _ = library
  layout = published.Layout(MODEL, target_dim=384)
  if kind == "mlp":
    layout = published.Layout(
      MODEL, target_dim=24, num_prototypes=10, hidden=(16,)
    )
  params = _random_params(layout)
  name = hugging_face.write(
    tmp_path, params, layout, num_frames=FRAMES, size=SIZE
  )
  assert (
    name == {"pixel": "VideoMAEForPreTraining", "mlp": "VideoMAEModel"}[kind]
  )
  model, info = _load(library, "VideoMAEModel", tmp_path)
  if kind == "mlp":
    assert not info["unexpected_keys"]
  with torch.no_grad():
    theirs = model(_pixels(torch, video)).last_hidden_state.numpy()
  ours = _merge(vit.Encoder, params["encoder"])(_tubes(video))
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_half_the_frames_have_the_tables_first_rows(library, video, tmp_path):
  """transformers makes a table for the clip, as the published code does."""
  torch, _ = library
  layout = published.Layout(MODEL)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  model, _ = _load(library, "VideoMAEModel", tmp_path)
  config = type(model.config)(**{**model.config.to_dict(), "num_frames": 2})
  short = type(model)(config).eval()
  short.load_state_dict(model.state_dict())
  with torch.no_grad():
    theirs = short(_pixels(torch, video[:, :2])).last_hidden_state.numpy()
  run = layout_lib.to_settings(layout, num_frames=FRAMES, size=SIZE)
  encoder = encoder_lib.VideoEncoder(store.Model(layout, params, run))
  ours = encoder.encode(video[:, :2]).tokens
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_reconstruction_of_pixel_models(library, video, tmp_path):
  torch, _ = library
  layout = published.Layout(MODEL, target_dim=384)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  model, info = _load(library, "VideoMAEForPreTraining", tmp_path)
  assert not info["unexpected_keys"]
  mask = masking.sample(
    jax.random.key(0), 2, kind="tube", grid=(2, 4, 4), ratio=0.75
  )
  hidden = torch.tensor(np.array(masking.to_bool(mask)))
  with torch.no_grad():
    theirs = model(_pixels(torch, video), bool_masked_pos=hidden)
  tokens = _merge(vit.Encoder, params["encoder"])(_tubes(video), mask.visible)
  decoder = _merge(vit.Decoder, params["decoder"], 384)
  ours = decoder(tokens, mask.visible, mask.masked)
  np.testing.assert_allclose(ours, theirs.logits.numpy(), atol=1e-4)


def test_logits_of_finetuned_models(library, video, tmp_path):
  torch, _ = library
  layout = published.Layout(MODEL, num_classes=5)
  params = _random_params(layout)
  name = hugging_face.write(
    tmp_path, params, layout, num_frames=FRAMES, size=SIZE
  )
  assert name == "VideoMAEForVideoClassification"
  model, info = _load(library, name, tmp_path)
  assert not info["unexpected_keys"]
  with torch.no_grad():
    theirs = model(_pixels(torch, video)).logits.numpy()
  ours = _merge(heads.Classifier, params, 5)(jnp.asarray(video))
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
  "name", ["VideoMAEModel", "VideoMAEForPreTraining", "classifier"]
)
def test_import_of_what_transformers_saves(library, video, tmp_path, name):
  torch, transformers = library
  name = "VideoMAEForVideoClassification" if name == "classifier" else name
  config = transformers.VideoMAEConfig(
    image_size=SIZE,
    patch_size=8,
    num_frames=FRAMES,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=192,
    decoder_hidden_size=32,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=128,
    use_mean_pooling=name.endswith("Classification"),
    initializer_range=0.2,
  )
  torch.manual_seed(0)
  model = getattr(transformers, name)(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():  # biases start at zero otherwise
      parameter.add_(0.05 * torch.randn_like(parameter))
  _save(library, model, tmp_path)
  params, layout, geometry = hugging_face.read(tmp_path)
  assert geometry == {"num_frames": FRAMES, "size": SIZE}
  assert layout.model.norm_epsilon == 1e-12
  pixels = _pixels(torch, video)
  with torch.no_grad():
    if name.endswith("Classification"):
      theirs = model(pixels).logits.numpy()
      ours = _merge(heads.Classifier, params, layout.num_classes)(
        jnp.asarray(video)
      )
    else:
      base = model if name == "VideoMAEModel" else model.videomae
      theirs = base(pixels).last_hidden_state.numpy()
      ours = _merge(vit.Encoder, params["encoder"])(_tubes(video))
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
  "layout",
  [
    published.Layout(MODEL, target_dim=384),
    published.Layout(MODEL, num_classes=5),
    published.Layout(MODEL),
  ],
  ids=lambda layout: layout.kind,
)
def test_round_trip_is_bitwise(tmp_path, layout):
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  assert hugging_face.is_folder(tmp_path)
  back, found, geometry = hugging_face.read(tmp_path)
  assert found.kind == layout.kind
  assert geometry == {"num_frames": FRAMES, "size": SIZE}
  jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(
  "key, value, message",
  [
    ('"gelu"', '"relu"', "hidden_act"),
    ('"videomae"', '"timesformer"', "model_type"),
    ('"qkv_bias": true', '"qkv_bias": false', "biases"),
    ('"use_mean_pooling": true', '"use_mean_pooling": false', "first token"),
    ('"patch_size": 8', '"patch_size": [8, 4]', "squares"),
  ],
)
def test_what_we_cannot_compute_is_refused(tmp_path, key, value, message):
  layout = published.Layout(MODEL, num_classes=5)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  config = tmp_path / "config.json"
  config.write_text(config.read_text().replace(key, value))
  with pytest.raises(errors.UserError, match=message):
    hugging_face.read(tmp_path)


def test_unknown_tensors_are_listed(tmp_path):
  from safetensors.numpy import load_file, save_file

  layout = published.Layout(MODEL)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  tensors = load_file(tmp_path / "model.safetensors")
  tensors["videomae.pooler.weight"] = np.zeros(3, np.float32)
  key = "videomae.encoder.layer.1.attention.attention.key.weight"
  del tensors[key]
  save_file(tensors, tmp_path / "model.safetensors")
  with pytest.raises(errors.UserError, match=r"pooler.*missing .*1\.attn\.qkv"):
    hugging_face.read(tmp_path)
