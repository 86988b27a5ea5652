"""Export to and import from transformers, beside the real library."""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sigma_jax import errors, masking
from sigma_jax import settings as settings_lib
from sigma_jax.data.video import transforms
from sigma_jax.inference import encoder as encoder_lib
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import hugging_face, published, store
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import heads, targets, vit
from sigma_jax.train import workdir as workdir_lib

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
    _ = found.VideoMAEImageProcessor
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


SIZES = dict(  # of transformers' small models
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
  initializer_range=0.2,
)


@pytest.mark.parametrize(
  "name", ["VideoMAEModel", "VideoMAEForPreTraining", "classifier"]
)
def test_import_of_what_transformers_saves(library, video, tmp_path, name):
  torch, transformers = library
  name = "VideoMAEForVideoClassification" if name == "classifier" else name
  config = transformers.VideoMAEConfig(
    **SIZES, use_mean_pooling=name.endswith("Classification")
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


@pytest.mark.parametrize("name", ["VideoMAEModel", "VideoMAEForPreTraining"])
def test_the_librarys_default_has_no_last_norm(library, video, tmp_path, name):
  """`use_mean_pooling=True`: read as an encoder, imported, sent back."""
  torch, transformers = library
  config = transformers.VideoMAEConfig(**SIZES)
  assert config.use_mean_pooling
  torch.manual_seed(0)
  model = getattr(transformers, name)(config).eval()
  _save(library, model, tmp_path / "hf")
  base = model if name == "VideoMAEModel" else model.videomae
  with torch.no_grad():
    theirs = base(_pixels(torch, video)).last_hidden_state.numpy()
  notes = []
  read = store.read(tmp_path / "hf", note=notes.append)
  assert any("decoder left out" in x for x in notes) == (
    name != "VideoMAEModel"
  )
  store.write_workdir(tmp_path / "run", read, tmp_path / "hf", notes.append)
  store.export(store.read(tmp_path / "run"), tmp_path / "out", "hf", print)
  for folder in ("hf", "run", "out"):
    encoder = encoder_lib.load(tmp_path / folder)
    assert encoder.kind == "encoder"
    found = encoder.encode(video)
    np.testing.assert_allclose(found.tokens, theirs, atol=1e-4)
    np.testing.assert_allclose(found.pooled, theirs.mean(axis=1), atol=1e-4)
  back, info = _load(library, "VideoMAEModel", tmp_path / "out")
  assert not info["unexpected_keys"]
  with torch.no_grad():
    again = back(_pixels(torch, video)).last_hidden_state.numpy()
  np.testing.assert_allclose(again, theirs, atol=1e-6)
  with pytest.raises(errors.UserError, match="without a LayerNorm"):
    store.export(read, tmp_path / "x.pth", "pth", print)


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
    ('"image_size": 32', '"image_size": [32, 64]', "squares"),
    ('"image_size": 32', '"image_size": [32.5, 32.5]', "image_size is 32"),
    ('"norm_pix_loss": true', '"norm_pix_loss": "no"', "norm_pix_loss is"),
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


def change_config(folder, **changes):
  """Changes options of a written config.json."""
  file = folder / "config.json"
  config = json.loads(file.read_text()) | changes
  file.write_text(json.dumps(config))


@pytest.mark.parametrize(
  "changes",
  [
    {"architectures": None},
    {"architectures": []},
    {"image_size": [SIZE, SIZE]},
    {"image_size": [SIZE, SIZE], "patch_size": [8, 8], "architectures": None},
  ],
)
@pytest.mark.parametrize("classes", [0, 5])
def test_other_ways_to_say_the_same(tmp_path, changes, classes):
  layout = published.Layout(MODEL, num_classes=classes)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  change_config(tmp_path, **changes)
  back, found, geometry = hugging_face.read(tmp_path)
  assert (found.kind, found.num_classes) == (layout.kind, classes)
  assert geometry == {"num_frames": FRAMES, "size": SIZE}
  jax.tree.map(np.testing.assert_array_equal, back, params)


def test_the_first_token_is_seen_without_architectures(tmp_path):
  layout = published.Layout(MODEL, num_classes=5)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  change_config(tmp_path, architectures=None, use_mean_pooling=False)
  with pytest.raises(errors.UserError, match="first token"):
    hugging_face.read(tmp_path)


NAMES = {"0": "jump", "1": "läuft", "2": "run, fast"}


@pytest.fixture(name="named")
def named_fixture(classifier, tmp_path):
  """A folder of a fine-tuned model whose config.json names three classes."""
  folder = tmp_path / "hf"
  hugging_face.write(
    folder, classifier.params, classifier.layout, num_frames=4, size=16
  )
  change_config(
    folder,
    id2label=NAMES,
    label2id={name: int(index) for index, name in NAMES.items()},
  )
  return folder


def test_class_names_survive_the_way_back(named, library, tmp_path):
  """Through a workdir, a copy of it, and a .pth; transformers reads them."""
  run = tmp_path / "run"
  for argv in (
    f"import {named} {run}",
    f"export {run} {tmp_path}/x.pth --format=pth",
    f"import {run} {tmp_path}/copy",
    f"export {tmp_path}/copy {tmp_path}/back --format=hf",
    f"export {tmp_path}/x.pth {tmp_path}/again --format=hf",
  ):
    assert cli.main(argv.split()) == 0
  for name in ("back", "again"):
    model, _ = _load(library, "VideoMAEForVideoClassification", tmp_path / name)
    assert model.config.id2label == {int(i): n for i, n in NAMES.items()}
    assert model.config.label2id == {n: int(i) for i, n in NAMES.items()}


@pytest.mark.parametrize(
  "changes, expected, said",
  [
    ({"id2label": None}, tuple(NAMES.values()), False),
    ({"id2label": None, "label2id": None}, (), False),
    ({"id2label": {"0": "a", "1": "b"}}, (), True),
    ({"id2label": {"0": "a", "1": "b", "3": "c"}}, (), True),
    ({"id2label": {str(i): f"LABEL_{i}" for i in range(3)}}, (), False),
    ({"id2label": ["a", "b", "c"]}, (), False),
  ],
)
def test_class_names_that_do_not_fit(named, changes, expected, said):
  change_config(named, **changes)
  notes = []
  model = store.read(named, note=notes.append)
  assert model.class_names == expected
  assert any("class names" in note for note in notes) == said


def test_targets_of_raw_pixels_are_kept(library, video, tmp_path):
  """norm_pix_loss=false: transformers' loss is ours, and it comes back so."""
  torch, _ = library
  layout = published.Layout(MODEL, target_dim=384, normalized=False)
  folder = tmp_path / "hf"
  params = _random_params(layout)
  hugging_face.write(folder, params, layout, num_frames=FRAMES, size=SIZE)
  model, _ = _load(library, "VideoMAEForPreTraining", folder)
  assert model.config.norm_pix_loss is False
  mask = masking.sample(
    jax.random.key(0), 2, kind="tube", grid=(2, 4, 4), ratio=0.75
  )
  hidden = torch.tensor(np.array(masking.to_bool(mask)))
  with torch.no_grad():
    theirs = model(_pixels(torch, video), bool_masked_pos=hidden)
  read = store.read(folder)
  assert read.layout == dataclasses.replace(layout, model=read.layout.model)
  target = targets.build(read.settings, rngs=nnx.Rngs(0))
  wanted = target(_tubes(video), mask.masked)
  error = np.mean((theirs.logits.numpy() - np.asarray(wanted)) ** 2)
  np.testing.assert_allclose(error, theirs.loss.item(), rtol=1e-5)
  run = tmp_path / "run"
  store.write_workdir(run, read, folder, print)
  assert not workdir_lib.read_config(run).target.normalize
  store.export(store.read(run), tmp_path / "back", "hf", print)
  config = json.loads((tmp_path / "back" / "config.json").read_text())
  assert config["norm_pix_loss"] is False
  store.export(store.read(run), tmp_path / "x.pth", "pth", print)
  assert not store.read(tmp_path / "x.pth").settings.target.normalize


def test_transformers_makes_our_clips(library, tmp_path):
  """By preprocessor_config.json: our resize, crop and colours' statistics."""
  torch, transformers = library
  layout = published.Layout(MODEL)
  params = _random_params(layout)
  hugging_face.write(tmp_path, params, layout, num_frames=FRAMES, size=SIZE)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    processor = transformers.VideoMAEImageProcessor.from_pretrained(tmp_path)
    rows, columns = np.mgrid[:64, :96]
    frame = np.stack([rows * 2, columns, rows + columns], -1).astype(np.uint8)
    found = processor([frame] * FRAMES, return_tensors="pt")["pixel_values"]
  assert found.shape == (1, FRAMES, 3, SIZE, SIZE)
  clip = transforms.crop_resize(
    np.stack([frame] * FRAMES), (16, 0, 64, 64), SIZE
  )
  ours = _pixels(torch, clip[None])
  # Both round to 8 bits on the way, and a level is 0.018.
  np.testing.assert_allclose(found, ours, atol=0.04)
