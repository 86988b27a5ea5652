"""What state dicts do not say: stated by our files, assumed with a word."""

import dataclasses
import json

import numpy as np
import pytest

from sigma_jax import errors, recipes, settings
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import layout as layout_lib
from sigma_jax.interop import (
  published,
  store,
  torch_writer,
  unstated,
)


def read(path, **options):
  notes = []
  return store.read(path, **options, note=notes.append), notes


@pytest.mark.parametrize("size", ["vits", "vitb", "vitl", "vith", "vitg"])
def test_heads_of_the_published_sizes(size):
  """Those of the configs, from nothing but shapes (of no memory)."""
  run = settings.Settings.from_config(recipes.pretrain(size, "mlp"))
  zero = np.zeros((), np.float32)
  tensors = {
    name: np.broadcast_to(zero, entry.shape)
    for entry in published.entries(layout_lib.of_settings(run))
    for name in entry.names
  }
  found = layout_lib.infer(tensors).model
  assert found.encoder_heads == run.model.encoder_heads
  assert found.decoder_heads == run.model.decoder_heads


def test_our_files_say_all_of_it(small, tmp_path):
  """Heads, epsilon and clips that no tensor's shape tells."""
  tensors, options = small.tensors, small.options
  torch_writer.save(tmp_path / "x.pth", tensors)
  model = read(tmp_path / "x.pth", **options)[0]
  changed = dataclasses.replace(
    model.settings.model, norm_epsilon=1e-5, encoder_heads=6, decoder_heads=4
  )
  model = model._replace(
    settings=dataclasses.replace(model.settings, model=changed)
  )
  store.export(model, tmp_path / "y.pth", "pth", print)
  found, notes = read(tmp_path / "y.pth")
  assert found.settings.model == changed
  assert found.settings.grid == (2, 2, 2)
  assert not any("taken as published" in note for note in notes)
  # By hand the clips can be others, what the weights were trained with not.
  found = read(tmp_path / "y.pth", size=32)[0]
  assert (found.settings.data.size, found.settings.data.num_frames) == (32, 4)
  with pytest.raises(errors.UserError, match=r"encoder_heads is 6, .* says 3"):
    read(tmp_path / "y.pth", encoder_heads=3)


def test_published_scripts_read_our_files(small, reference, tmp_path):
  """As VideoMAE's and SIGMA's do: torch.load(path)["model"]."""
  torch = reference.torch
  path = tmp_path / "x.pth"
  torch_writer.save(path, small.tensors)
  model = read(path, **small.options)[0]
  store.export(model, tmp_path / "y.pth", "pth", print)
  content = torch.load(tmp_path / "y.pth", weights_only=True)
  assert list(content) == ["model", unstated.KEY]
  assert list(content["model"]) == list(small.tensors)
  for name, tensor in content["model"].items():
    np.testing.assert_array_equal(tensor.numpy(), small.tensors[name])
  assert json.loads(content[unstated.KEY])["encoder_heads"] == 3


def test_what_is_assumed_is_said_in_a_line(tmp_path, capsys):
  model = dataclasses.replace(
    settings.Model(), patch=8, encoder_dim=64, encoder_depth=1, encoder_heads=1
  )
  model = dataclasses.replace(
    model, decoder_dim=64, decoder_heads=1, decoder_depth=1
  )
  layout = layout_lib.Layout(model, target_dim=384)
  zero = np.zeros((), np.float32)
  tensors = {
    name: np.broadcast_to(zero, entry.shape)
    for entry in published.entries(layout)
    for name in entry.names
  }
  path = tmp_path / "x.pth"
  torch_writer.save(path, tensors)
  store.read(path)
  said = capsys.readouterr().err.splitlines()
  assert said == [
    "note: not in the file, so taken as published: 1 heads in the encoder "
    "(encoder_heads), 1 in the decoder (decoder_heads), clips of 16 x 224 px, "
    "an epsilon of 1e-06 in its LayerNorms, a target of normalised pixels"
  ]
  given = {"num_frames": 4, "size": 16, "encoder_heads": 1, "decoder_heads": 1}
  notes = read(path, **given)[1]
  assert notes == [
    "not in the file, so taken as published: an epsilon of 1e-06 in its "
    "LayerNorms, a target of normalised pixels"
  ]


def test_a_folders_heads_are_its_own(classifier, tmp_path):
  store.hugging_face.write(
    tmp_path, classifier.params, classifier.layout, num_frames=4, size=16
  )
  with pytest.raises(errors.UserError, match=r"encoder_heads is 3, .* says 6"):
    read(tmp_path, encoder_heads=6)


def test_stored_positions_of_other_clips(small, tmp_path):
  """A table of 8 tubes shows that the clips are not the published ones."""
  from sigma_jax.models import positions

  path = tmp_path / "x.pth"
  tensors = {
    **small.tensors,
    "encoder.pos_embed": positions.sinusoid_table(8, 48),
  }
  torch_writer.save(path, tensors)
  heads = {"encoder_heads": 3, "decoder_heads": 2}
  with pytest.raises(errors.UserError, match=r"of 8 tubes, not the 6272"):
    read(path, **heads)
  assert read(path, **small.options)[0].settings.grid == (2, 2, 2)


@pytest.mark.parametrize(
  "text",
  [
    "no JSON",
    "[1]",
    '{"heads": 3}',
    '{"encoder_heads": "3"}',
    '{"encoder_heads": true}',
    '{"num_frames": -4}',
    '{"class_names": {"a": 1}}',
  ],
)
def test_a_text_that_is_not_ours(small, tmp_path, text, capsys):
  path = tmp_path / "x.pth"
  torch_writer.save(path, small.tensors, "model", {unstated.KEY: text})
  assert cli.main(["import", str(path), str(tmp_path / "run")]) == 2
  shown = capsys.readouterr().err
  assert "is not understood" in shown
  assert shown.count("\n") == 1


def test_what_comes_back_from_the_text():
  facts = unstated.Facts(4, 16, 3, 2, 1e-5, False, ("a", "b"))
  assert unstated.from_json(facts.to_json(), "x.pth") == facts
  assert unstated.from_json(None, "x.pth") == unstated.Facts()
