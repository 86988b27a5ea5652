"""Released attentive probes: logits of the published code and transformers."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import golden_case, probes, store
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import heads
from sigma_jax.settings import Model


def golden(golden_dir, name):
  path = golden_dir / "jepa" / name
  given = json.loads(path.with_suffix(".json").read_text())
  with np.load(path.with_suffix(".npz")) as stored:
    return given, dict(stored)


def logits(probe, tokens, heads_of_probe):
  model = Model(encoder_dim=probe.dim, encoder_heads=heads_of_probe)
  head = layout_lib.assemble(
    probe.params,
    heads.Head,
    model,
    probe.num_classes,
    pooling="attentive",
    pool_blocks=probe.num_blocks,
    pool_heads=heads_of_probe,
  )
  return head.outputs(jnp.asarray(tokens))


@pytest.mark.parametrize(
  ("name", "listed", "blocks", "said"),
  [("vjepa_parts", False, 0, 0), ("vjepa2_probe", True, None, 16)],
)
def test_the_logits_are_the_published_ones(
  golden_dir, torch, tmp_path, name, listed, blocks, said
):
  given, arrays = golden(golden_dir, name)
  prefix = "probe_" if "probe_tokens" in arrays else ""
  names = [n for n in given["state_dict"] if n.startswith("probe")]
  names = names or list(given["state_dict"])
  start = next(n for n in names if "query_tokens" in n).split("pooler.")[0]
  state = {
    f"module.{n.removeprefix(start)}": torch.tensor(
      golden_case.weight(n, tuple(given["state_dict"][n]))
    )
    for n in names
  }
  content = {"classifiers": [state]} if listed else {"classifier": state}
  torch.save(content | {"opt": {}, "epoch": 20}, tmp_path / "probe.pt")
  notes = []
  probe = probes.read(tmp_path / "probe.pt", notes.append)
  assert any("state dict found under 'classifier" in note for note in notes)
  assert (probe.num_blocks > 0) == listed
  if blocks is not None:
    assert probe.num_blocks == blocks
  assert probe.num_heads == said
  sizes = given["options"].get("probe", given["options"])
  found = logits(probe, arrays[f"{prefix}tokens"], sizes["heads"])
  wanted = arrays[f"{prefix}logits"]
  np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_transformers_video_classifier(torch, tmp_path):
  transformers = pytest.importorskip("transformers")
  config = transformers.VJEPA2Config(
    **dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=2),
    **dict(crop_size=16, frames_per_clip=4, patch_size=8, num_pooler_layers=2),
    **dict(pred_hidden_size=24, pred_num_attention_heads=2),
    **dict(pred_num_hidden_layers=1, pred_num_mask_tokens=3),
    **dict(initializer_range=0.2, id2label={0: "sit", 1: "run", 2: "jump"}),
  )
  torch.manual_seed(0)
  model = transformers.VJEPA2ForVideoClassification(config).eval()
  model.save_pretrained(tmp_path)
  video = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  pixels = torch.tensor(video).float() / 255
  pixels = (pixels - torch.tensor(mean)) / torch.tensor(std)
  with torch.no_grad():
    wanted = model(pixels.permute(0, 1, 4, 2, 3)).logits.numpy()
  probe = probes.read(tmp_path)
  assert probe.class_names == ("sit", "run", "jump")
  assert (probe.num_blocks, probe.num_heads) == (2, 2)
  encoder = store.read(tmp_path, note=lambda line: None)
  options = {"pool_blocks": 2, "pool_heads": 2, "pooling": "attentive"}
  whole = layout_lib.assemble(
    {**probe.params, "encoder": encoder.params["encoder"]},
    heads.Classifier,
    encoder.settings.model,
    (2, 2, 2),
    3,
    **options,
  )
  np.testing.assert_allclose(whole(jnp.asarray(video)), wanted, atol=1e-4)


@pytest.mark.parametrize(
  ("content", "words"),
  [
    ({"classifier": {"linear.weight": [3, 8]}}, "missing ['linear.bias'"),
    ({"epoch": 3}, "no state dict in it"),
    (
      {"classifiers": [{"linear.weight": [3, 8]}, {"linear.weight": [3, 8]}]},
      "2 models in it: classifiers[0], classifiers[1]",
    ),
    (None, "no file"),
  ],
)
def test_what_is_no_probe(torch, tmp_path, content, words):
  def tensors(value):
    if isinstance(value, dict):
      return {key: tensors(each) for key, each in value.items()}
    if isinstance(value, list) and isinstance(value[0], dict):
      return [tensors(each) for each in value]
    return torch.ones(value) if isinstance(value, list) else value

  file = tmp_path / "x.pt"
  if content is not None:
    torch.save(tensors(content), file)
  with pytest.raises(errors.UserError) as caught:
    probes.read(file, lambda line: None)
  assert words in str(caught.value) and str(file) in str(caught.value)
