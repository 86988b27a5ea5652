"""V-JEPA's and V-JEPA 2's encoders, read from files as their authors save them.

Right values: tests/golden/jepa, printed by the published code, and the
transformers library.
"""

import json

import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import golden_case, store, vjepa


class Case:
  """A golden case as the file of a training: weights are made from names."""

  def __init__(self, golden_dir, name):
    path = golden_dir / "jepa" / name
    self.given = json.loads(path.with_suffix(".json").read_text())
    with np.load(path.with_suffix(".npz")) as stored:
      self.arrays = dict(stored)

  def part(self, name):
    """Tensors of encoder, predictor or target_encoder, as saved."""
    found = {
      key.removeprefix(f"{name}."): golden_case.weight(key, tuple(shape))
      for key, shape in self.given["state_dict"].items()
      if key.startswith(f"{name}.")
    }
    table = {"encoder": "pos_embed", "predictor": "predictor_pos_embed"}
    table = table[name.removeprefix("target_")]
    if table in self.arrays:
      found[table] = self.arrays[table][None]
    return {f"module.backbone.{key}": value for key, value in found.items()}


@pytest.fixture(scope="module", name="first")
def first_fixture(golden_dir):
  return Case(golden_dir, "vjepa_pretrain")


@pytest.fixture(scope="module", name="second")
def second_fixture(golden_dir):
  return Case(golden_dir, "vjepa2_pretrain")


def save(torch, file, case, **changes):
  """What their training scripts write."""
  parts = ("encoder", "predictor", "target_encoder")
  content = {
    part: {k: torch.tensor(v) for k, v in case.part(part).items()}
    for part in parts
  }
  content |= {"opt": {"state": {}, "param_groups": []}, "scaler": None}
  content |= {"epoch": 300, "loss": 0.5, "batch_size": 24, "lr": 1e-6}
  torch.save(content | changes, file)
  return str(file)


def test_v_jepas_target_encoder_is_taken(first, torch, tmp_path):
  file, notes = save(torch, tmp_path / "vit.pth.tar", first), []
  encoder = sigma_jax.load(file, encoder_heads=4, note=notes.append)
  tokens, pooled = encoder.encode(first.arrays["video"])
  wanted = first.arrays["target_all"]
  np.testing.assert_allclose(tokens, wanted, atol=1e-5 * np.abs(wanted).max())
  np.testing.assert_allclose(pooled, wanted.mean(axis=1), atol=1e-5)
  assert any("'target_encoder'; left out: encoder, pred" in n for n in notes)
  assert any("V-JEPA's: 4 heads, clips of 8 x 48 px" in n for n in notes)
  # The trained one, by request.
  model = store.read(file, encoder_heads=4, weights="last", note=notes.append)
  online = golden_case.weight("encoder.norm.bias", (32,))
  np.testing.assert_array_equal(model.params["encoder"]["norm"]["bias"], online)


def test_v_jepa_2s_positions_follow_the_clip(second, torch, tmp_path):
  file = save(torch, tmp_path / "vit.pt", second)
  notes = []
  encoder = sigma_jax.load(file, encoder_heads=2, note=notes.append)
  assert any("V-JEPA 2's: 2 heads, clips of 16 x 256 px" in n for n in notes)
  for group in (0, 1):
    tokens = encoder.encode(second.arrays[f"video_{group}"]).tokens
    wanted = second.arrays[f"target_all_{group}"]
    np.testing.assert_allclose(tokens, wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_table_that_v_jepa_2_does_not_use(second, first, torch, tmp_path):
  """Its files may hold one; four mask tokens in the predictor tell."""
  table = torch.tensor(first.arrays["pos_embed"][None])
  slow = {k: torch.tensor(v) for k, v in second.part("target_encoder").items()}
  slow["module.backbone.pos_embed"] = table
  notes = []
  for name, changes in (
    ("with", {"target_encoder": slow}),
    ("alone", {"target_encoder": slow, "predictor": {}}),
  ):
    file = save(torch, tmp_path / name, second, **changes)
    model = store.read(file, encoder_heads=2, note=notes.append)
    wanted = "rotary" if name == "with" else "sine_3d"
    assert model.settings.model.positions == wanted
  assert any("its position table is left out" in note for note in notes)


def test_a_table_is_interpolated_for_other_clips(first, torch, tmp_path):
  file = save(torch, tmp_path / "vit.pth.tar", first)
  encoder = sigma_jax.load(file, encoder_heads=4, note=lambda line: None)
  assert encoder.settings.model.table_grid == (4, 6, 6)
  assert encoder.encode(first.arrays["video"][:, :4, :32]).tokens.shape == (
    *(3, 2 * 4 * 6, 32),
  )


@pytest.mark.parametrize(
  ("problem", "words"),
  [
    ("a predictor alone", "no patch_embed.proj.weight"),
    ("a key is missing", "missing ['blocks.1.norm2.bias']"),
    ("another width", "does not fit together: stack/blocks/mlp/fc2/kernel"),
    ("another table", "pos_embed [144, 32] is not V-JEPA's table"),
    ("no heads", "give it as encoder_heads"),
  ],
)
def test_what_cannot_be_read(problem, words, first, torch, tmp_path):
  slow = {k: torch.tensor(v) for k, v in first.part("target_encoder").items()}
  content = {"target_encoder": slow}
  prefix = "module.backbone."
  if problem == "a predictor alone":
    given = first.part("predictor")
    content = {"predictor": {k: torch.tensor(v) for k, v in given.items()}}
  elif problem == "a key is missing":
    del slow[f"{prefix}blocks.1.norm2.bias"]
  elif problem == "another width":
    for block in (0, 1):
      name = f"{prefix}blocks.{block}.mlp.fc2.weight"
      slow[name] = slow[name][:, :96]
  elif problem == "another table":
    slow[f"{prefix}pos_embed"] = slow[f"{prefix}pos_embed"] + 0.1
  torch.save(content, tmp_path / "x.pt")
  heads = 0 if problem == "no heads" else 4
  with pytest.raises(errors.UserError) as caught:
    store.read(tmp_path / "x.pt", encoder_heads=heads, note=lambda line: None)
  assert words in str(caught.value) and "\n" not in str(caught.value)


def transformers_model(torch, **changes):
  transformers = pytest.importorskip("transformers")
  config = transformers.VJEPA2Config(
    **dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=2),
    **dict(crop_size=32, frames_per_clip=4, patch_size=8, num_pooler_layers=1),
    **dict(pred_hidden_size=24, pred_num_attention_heads=2),
    **dict(pred_num_hidden_layers=1, pred_num_mask_tokens=3),
    **dict(mlp_ratio=48 / 11, initializer_range=0.2),
  )
  torch.manual_seed(0)
  return transformers.VJEPA2Model(config).eval()


def features(torch, model, video):
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  pixels = torch.tensor(video).float() / 255
  pixels = (pixels - torch.tensor(mean)) / torch.tensor(std)
  with torch.no_grad():
    return model.get_vision_features(pixels.permute(0, 1, 4, 2, 3)).numpy()


@pytest.fixture(scope="module", name="clip")
def clip_fixture():
  random = np.random.default_rng(0)
  return random.integers(0, 256, (2, 4, 32, 32, 3), np.uint8)


def test_transformers_there_and_back(torch, clip, tmp_path):
  """An MLP of no whole ratio, as of ViT-g; both ways the same features."""
  model = transformers_model(torch)
  model.save_pretrained(tmp_path / "theirs")
  wanted, notes = features(torch, model, clip), []
  encoder = sigma_jax.load(tmp_path / "theirs", note=notes.append)
  assert encoder.settings.model.encoder_mlp_dim == 209
  data = encoder.settings.data
  assert (data.num_frames, data.size) == (4, 32)
  np.testing.assert_allclose(encoder.encode(clip).tokens, wanted, atol=1e-4)
  assert any("left out" in note and "predictor" in note for note in notes)
  for form in ("hf", "pth"):
    out = tmp_path / f"ours.{form}"
    argv = ["export", str(tmp_path / "theirs"), str(out), f"--format={form}"]
    assert cli.main(argv) == 0
    again = sigma_jax.load(out, note=notes.append)
    np.testing.assert_allclose(again.encode(clip).tokens, wanted, atol=1e-4)
  theirs = type(model).from_pretrained(tmp_path / "ours.hf").eval()
  np.testing.assert_allclose(features(torch, theirs, clip), wanted, atol=1e-5)


def test_v_jepa_goes_to_pth_and_not_to_transformers(
  first, torch, tmp_path, capsys
):
  source = save(torch, tmp_path / "vit.pth.tar", first)
  argv = ["--encoder-heads=4", "--frames=8", "--size=48"]
  out = str(tmp_path / "x.pth")
  assert cli.main(["export", source, out, "--format=pth", *argv]) == 0
  tensors = torch.load(out, weights_only=True)["target_encoder"]
  wanted = first.part("target_encoder")
  assert set(tensors) == {k.removeprefix("module.backbone.") for k in wanted}
  for name, tensor in tensors.items():
    np.testing.assert_array_equal(tensor, wanted[f"module.backbone.{name}"])
  capsys.readouterr()
  argv = ["export", source, str(tmp_path / "hf"), "--format=hf", *argv]
  assert cli.main(argv) == 2
  assert "transformers has V-JEPA 2 alone" in capsys.readouterr().err


def test_an_imported_workdir_is_the_same_encoder(first, torch, tmp_path):
  source = save(torch, tmp_path / "vit.pth.tar", first)
  argv = ["import", source, str(tmp_path / "run"), "--encoder-heads=4"]
  assert cli.main(argv) == 0
  encoder = sigma_jax.load(tmp_path / "run", note=lambda line: None)
  tokens = encoder.encode(first.arrays["video"]).tokens
  wanted = first.arrays["target_all"]
  np.testing.assert_allclose(tokens, wanted, atol=1e-5 * np.abs(wanted).max())


def test_every_released_layout_is_known(golden_dir):
  """Names and shapes of all released files: their sizes come back."""
  layouts = json.loads(
    (golden_dir / "jepa" / "jepa_checkpoint_layouts.json").read_text()
  )
  seen = []
  for family, kind in (("vjepa", "sine_3d"), ("vjepa2", "rotary")):
    for name, released in layouts[family].items():
      depth, tensors = released["encoder_depth"], {}
      for key, shape in released["encoder_and_target_encoder"].items():
        for block in range(depth if "{i}" in key else 1):
          zero = np.broadcast_to(np.float32(0), shape)
          plain = key.removeprefix("module.backbone.").format(i=block)
          tensors[plain] = zero
      table = tensors.pop("pos_embed", None)
      if table is not None:
        side = int((table.shape[1] / 8) ** 0.5)
        tensors["pos_embed"] = vjepa.positions.sinusoid_table_3d(
          table.shape[2], (8, side, side), uniform=True
        )[None]
      layout = vjepa.read(tensors)[0]
      model = layout.model
      assert model.positions == kind, name
      assert model.encoder_heads == released["encoder_heads"], name
      assert model.encoder_depth == depth, name
      seen.append(name)
  assert len(seen) >= 7
