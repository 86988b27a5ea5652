"""Checkpoints through the command line, as workdirs, and as encoders."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import errors
from sigma_jax.inference import encoder as encoder_lib
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import (
  golden_case,
  hugging_face,
  store,
  torch_writer,
)
from sigma_jax.interop import layout as layout_lib
from sigma_jax.models import positions, sigma
from sigma_jax.train import checkpoint
from sigma_jax.train import workdir as workdir_lib

HEADS = ["--encoder-heads", "3", "--decoder-heads", "2"]
FLAGS = [*HEADS, "--size", "64"]


@pytest.fixture(scope="module", name="mlp")
def mlp_fixture(golden_dir, tmp_path_factory):
  """The golden mlp case's weights as x.pth, and the case."""
  case = golden_case.load(golden_dir / "pretrain_mlp")
  path = tmp_path_factory.mktemp("mlp") / "x.pth"
  torch_writer.save(path, case.weights)
  return path, case


@pytest.fixture(scope="module", name="workdir")
def workdir_fixture(mlp, tmp_path_factory):
  folder = tmp_path_factory.mktemp("imported") / "run"
  assert cli.main(["import", str(mlp[0]), str(folder), *FLAGS]) == 0
  return folder


def test_imported_checkpoint_is_a_workdir(workdir, mlp):
  settings = workdir_lib.read_config(workdir)
  assert settings.target.kind == "mlp"
  assert settings.data.size == 64
  assert settings.loss.num_prototypes == 20
  params, step = checkpoint.restore_params(workdir)
  assert step == 0
  expected = sigma.abstract(settings).params
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  np.testing.assert_array_equal(
    params["prototypes"], mlp[1].weights["prototypes"]
  )
  about = json.loads((workdir / "imported.json").read_text())
  assert about == {"source": str(mlp[0]), "kind": "mlp"}


def test_workdir_exports_the_same_pth(workdir, mlp, tmp_path):
  out = tmp_path / "sub" / "back.pth"
  assert cli.main(["export", str(workdir), str(out), "--format", "pth"]) == 0
  back = store.torch_pickle.load(out)
  assert set(back) == set(mlp[1].weights)
  for name, tensor in mlp[1].weights.items():
    np.testing.assert_array_equal(back[name], tensor)


def test_workdir_exports_to_transformers(workdir, tmp_path, capsys):
  out = tmp_path / "hf"
  assert cli.main(["export", str(workdir), str(out), "--format", "hf"]) == 0
  assert "left out" in capsys.readouterr().out
  assert hugging_face.is_folder(out)
  ours, theirs = sigma_jax.load(workdir), sigma_jax.load(out)
  assert theirs.kind == "encoder"
  video = np.zeros((1, 16, 64, 64, 3), np.uint8)
  for a, b in zip(ours.encode(video), theirs.encode(video), strict=True):
    np.testing.assert_array_equal(a, b)


def test_encoder_of_a_finetuned_file(golden_dir, tmp_path, capsys):
  case = golden_case.load(golden_dir / "finetune")
  torch_writer.save(tmp_path / "x.pth", case.weights)
  run = tmp_path / "run"
  assert cli.main(["import", str(tmp_path / "x.pth"), str(run), *FLAGS]) == 0
  assert "initialised afresh" in capsys.readouterr().out
  checkpoint.restore_params(run)
  encoder = sigma_jax.load(run)
  assert encoder.kind == "finetune"
  pooled = encoder.encode(case.arrays["video"]).pooled
  np.testing.assert_allclose(pooled, case.arrays["features"], atol=1e-4)
  out = tmp_path / "back.pth"
  assert cli.main(["export", str(run), str(out), "--format", "pth"]) == 0
  back = store.torch_pickle.load(out)
  assert set(back) == set(case.weights)
  np.testing.assert_array_equal(back["head.bias"], case.weights["head.bias"])


def test_dino_file(golden_dir, tmp_path):
  case = golden_case.load(golden_dir / "pretrain_dino")
  # Its p of 24 is no known teacher's.
  torch_writer.save(tmp_path / "x.pth", case.weights)
  with pytest.raises(ValueError, match="width 24"):
    store.read(tmp_path / "x.pth", size=64, encoder_heads=3, decoder_heads=2)
  sizes = {n: tuple(t.shape) for n, t in case.weights.items()}
  sizes |= {
    "decoder.head.weight": (384, 32),
    "decoder.head.bias": (384,),
    "prototypes": (20, 384),
  }
  weights = {n: golden_case.weight(n, s) for n, s in sizes.items()}
  torch_writer.save(tmp_path / "y.pth", weights)
  run = tmp_path / "run"
  assert cli.main(["import", str(tmp_path / "y.pth"), str(run), *FLAGS]) == 0
  assert workdir_lib.read_config(run).target.variant == "dino_vits16"
  checkpoint.restore_params(run)
  encoder = sigma_jax.load(run)
  video = np.zeros((1, 16, 64, 64, 3), np.uint8)
  assert encoder.encode(video).pooled.shape == (1, 48)
  with pytest.raises(errors.UserError, match=r"target\.weights"):
    encoder.assign(video)


def test_encode_agrees_with_the_model(workdir, mlp):
  encoder = sigma_jax.load(workdir)
  video = mlp[1].arrays["video"]
  settings = workdir_lib.read_config(workdir)
  params, _ = checkpoint.restore_params(workdir)
  model = sigma.merge(sigma.abstract(settings).graph, params)
  tokens, pooled = encoder.encode(video)
  np.testing.assert_allclose(tokens, model.encode(video), atol=1e-5)
  raw = model.encode(video, final_norm=False)
  np.testing.assert_allclose(pooled, raw.mean(axis=1), atol=1e-5)
  bigger = np.zeros((1, 8, 96, 80, 3), np.uint8)
  assert encoder.encode(bigger).tokens.shape == (1, 4 * 6 * 5, 48)


def test_assignments_of_all_tubes(workdir, mlp):
  encoder = sigma_jax.load(workdir)
  arrays = mlp[1].arrays
  labels, soft = encoder.assign(arrays["video"])
  assert labels.shape == (2, 128)
  assert soft.shape == (2, 128, 20)
  np.testing.assert_allclose(soft.sum(-1), 1.0, atol=1e-5)
  np.testing.assert_array_equal(labels, soft.argmax(-1))
  masked = np.asarray(labels)[arrays["mask"]].reshape(2, -1)
  nearest = arrays["scores_proj"].argmax(-1)
  np.testing.assert_array_equal(masked, nearest)


def test_encoder_refuses_other_input(workdir, tmp_path, mlp):
  encoder = sigma_jax.load(workdir)
  for video in (
    np.zeros((1, 16, 64, 64, 3), np.float32),
    np.zeros((16, 64, 64, 3), np.uint8),
    np.zeros((1, 16, 60, 64, 3), np.uint8),
  ):
    with pytest.raises(ValueError, match="video must be uint8"):
      encoder.encode(video)
  with pytest.raises(ValueError, match="assignments need clips of 16"):
    encoder.assign(np.zeros((1, 16, 96, 96, 3), np.uint8))
  with pytest.raises(errors.UserError, match="no such checkpoint"):
    sigma_jax.load(tmp_path / "nothing")
  fine = {k: v for k, v in mlp[1].weights.items() if k.startswith("encoder.")}
  torch_writer.save(tmp_path / "e.pth", fine)
  alone = sigma_jax.load(tmp_path / "e.pth", encoder_heads=3, size=64)
  with pytest.raises(errors.UserError, match="no prototypes"):
    alone.assign(np.zeros((1, 16, 64, 64, 3), np.uint8))


@pytest.mark.parametrize(
  "argv, message",
  [
    (["import", "nowhere.pth", "run"], "no such checkpoint"),
    (["import", "{pth}", "{run}"], "encoder_heads"),
    (["import", "{pth}", "{workdir}", *FLAGS], "already holds checkpoints"),
    (["import", "{pth}", "{run}", "--config", "none.py"], "no such config"),
    (["import", "{pth}", "{run}", "--config", "{config}"], "another model"),
    (["import", "{pth}", "{run}", *HEADS, "--size", "65"], "data.size"),
    (["export", "{run}", "{run}/x.pth", "--format", "pth"], "no such"),
    (["export", "{tmp}", "{run}/x.pth", "--format", "pth"], "config.json"),
    (["parity", "{run}.json"], "no such file"),
  ],
)
def test_errors_are_one_line(argv, message, workdir, mlp, tmp_path, capsys):
  config = tmp_path / "config.py"
  config.write_text(
    "from sigma_jax import settings\n"
    "def get_config():\n"
    "  config = settings.default_config()\n"
    "  config.model.encoder_heads = 3\n"
    "  config.model.decoder_dim = 32\n"
    "  config.model.decoder_heads = 2\n"
    "  return config\n"
  )
  words = {
    "pth": mlp[0],
    "run": tmp_path / "run",
    "workdir": workdir,
    "config": config,
    "tmp": tmp_path,
  }
  assert cli.main([word.format(**words) for word in argv]) == 2
  shown = capsys.readouterr().err
  assert shown.startswith("error: ")
  assert shown.count("\n") == 1
  assert message in shown


@pytest.mark.parametrize("argv", [[], ["export", "a", "b"], ["fly"]])
def test_usage_errors(argv, capsys):
  with pytest.raises(SystemExit) as caught:
    cli.main(argv)
  assert caught.value.code == 2
  assert capsys.readouterr().err.count("\n") == 1


def test_config_gives_what_files_do_not_tell(workdir, mlp, tmp_path):
  config = tmp_path / "config.py"
  values = workdir_lib.read_config(workdir).to_dict()
  values["data"]["stride"] = 2
  config.write_text(f"def get_config():\n  return {values!r}\n")
  out = tmp_path / "run"
  code = cli.main(["import", str(mlp[0]), str(out), "--config", str(config)])
  assert code == 0
  settings = workdir_lib.read_config(out)
  assert settings.data.stride == 2
  assert layout_lib.of_settings(settings).hidden == (1024, 1024, 512)


def test_interpolated_positions_are_pytorchs():
  torch = pytest.importorskip("torch", reason="compares with PyTorch")
  grid, new, dim = (4, 7, 5), (6, 10, 3), 12
  table = positions.sinusoid_table(4 * 7 * 5, dim)
  x = torch.tensor(table).reshape(*grid, dim).permute(0, 3, 1, 2)
  x = torch.nn.functional.interpolate(
    x, size=new[1:], mode="bicubic", align_corners=False
  )
  x = x.permute(2, 3, 1, 0).reshape(new[1] * new[2], dim, grid[0])
  x = torch.nn.functional.interpolate(
    x, size=new[0], mode="linear", align_corners=False
  )
  theirs = x.permute(2, 0, 1).reshape(-1, dim).numpy()
  ours = positions.interpolate_positions(table, grid, new)
  np.testing.assert_allclose(ours, theirs, atol=2e-6)
  same = positions.interpolate_positions(table, grid, grid)
  np.testing.assert_array_equal(same, table)
  with pytest.raises(ValueError, match="does not fit grid"):
    positions.interpolate_positions(table, new, grid)


def test_a_table_other_than_the_encoders_is_refused(workdir):
  model = store.read(workdir)
  grid = model.settings.grid
  assert store.with_table(model, ()) is model
  told = store.with_table(model, grid)
  assert told.settings.model.table_grid == grid
  with pytest.raises(errors.UserError, match=r"table_grid is .2, 4, 4., but"):
    store.with_table(model, (2, 4, 4))


def test_clips_of_another_length(workdir, mlp):
  """By default the formula's rows; on request the interpolated table."""
  video = mlp[1].arrays["video"][:, :4]
  model = store.read(workdir)
  found = sigma_jax.load(workdir).encode(video).tokens
  data = dataclasses.replace(model.settings.data, num_frames=4)
  short = model._replace(
    settings=dataclasses.replace(model.settings, data=data)
  )
  made_for_it = encoder_lib.VideoEncoder(short).encode(video).tokens
  np.testing.assert_array_equal(found, made_for_it)
  other = sigma_jax.load(workdir, interpolate=True).encode(video).tokens
  assert np.abs(other - found).max() > 1e-3


def test_an_interpolated_table_is_not_exported(workdir, tmp_path, capsys):
  model = store.read(workdir)
  grid = model.settings.grid
  model = store.with_table(model, grid)
  store.export(model, tmp_path / "same.pth", "pth", print)
  data = dataclasses.replace(model.settings.data, num_frames=4)
  other = model._replace(
    settings=dataclasses.replace(model.settings, data=data)
  )
  with pytest.raises(errors.UserError, match="formula's rows would be others"):
    store.export(other, tmp_path / "other.pth", "pth", print)
