"""The parity command: golden cases, cases of other shapes, bad ones."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import golden_case, parity, parity_model

OPTIONS = {
  "target": "mlp",
  "batch": 2,
  "img": 24,
  "frames": 4,
  "tubelet": 2,
  "patch": 8,
  "num_prototypes": 7,
  "eps": 0.05,
  "sinkhorn_iterations": 10,
  "temperature": 0.1,
  "encoder": {"dim": 24, "depth": 2, "heads": 3},
  "decoder": {"dim": 16, "depth": 1, "heads": 2, "out": 10},
  "layer_norm_eps": 1e-6,
}
VARIANTS = {
  "one_frame_tubes": {
    "tubelet": 1,
    "frames": 3,
    "patch": 4,
    "img": 12,
    "batch": 3,
    "sinkhorn_iterations": 1,
    "num_prototypes": 5,
    "eps": 0.5,
  },
  "deep": {"encoder": {"dim": 16, "depth": 8, "heads": 1}, "eps": 0.03},
  "dino": {
    "target": "dino_v2",
    "sinkhorn_iterations": 20,
    "num_prototypes": 33,
    "eps": 0.02,
    "temperature": 0.07,
  },
  "pixel": {
    "target": "pixel",
    "num_prototypes": 0,
    "decoder": {"dim": 16, "depth": 2, "heads": 4, "out": 384},
  },
}


def _mask(o, ratio=0.7, seed=0):
  tubes = o["frames"] // o["tubelet"] * (o["img"] // o["patch"]) ** 2
  random = np.random.default_rng(seed)
  order = random.permuted(np.tile(np.arange(tubes), (o["batch"], 1)), axis=1)
  return order < int(ratio * tubes)


@pytest.mark.parametrize(
  "name",
  ["pretrain_mlp", "pretrain_dino", "finetune", "sinkhorn.npz", "schedule.npz"],
)
def test_golden_cases(golden_dir, name, capsys):
  assert cli.main(["parity", str(golden_dir / name), "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert max(found.values()) <= 1e-4
  gradients = {q[9:] for q in found if q.startswith("gradient/")}
  if name.startswith("pretrain"):
    options = json.loads((golden_dir / f"{name}.json").read_text())
    assert gradients == set(options["grads"])
    wanted = {"enc_out", "decoder_out", "target_first", "proj", "loss_hard"}
    wanted |= {"loss_soft", "gradient_norm", "gradient_values"}
    for side in ("proj", "video"):
      wanted |= {f"{kind}_{side}" for kind in ("scores", "q", "labels")}
    assert {q for q in found if "/" not in q} == wanted


def test_the_page_of_parity_has_every_case(golden_dir):
  """docs/PARITY.md is written by the command: `interop parity --markdown`."""
  page = (golden_dir.parents[1] / "docs" / "PARITY.md").read_text()
  cases = {path.stem for path in golden_dir.rglob("*.npz")}
  assert cases == set(re.findall(r"^## (\S+): agrees$", page, re.MULTILINE))


@pytest.mark.parametrize("variant", VARIANTS)
def test_cases_of_other_shapes(reference, tmp_path, variant):
  o = OPTIONS | VARIANTS[variant]
  reference.write_pretrain(tmp_path / "case", o, mask=_mask(o))
  result = parity.compare(golden_case.load(tmp_path / "case"))
  assert result.passed, result.rows
  assert len(result.rows) == (14 if o["num_prototypes"] else 4)


def test_a_teacher_given_by_its_weights_is_our_own_image_vit(
  reference, tmp_path
):
  """DINO as the transformers library has it, on frames 0, 2, ... of clips."""
  transformers = pytest.importorskip("transformers")
  o = OPTIONS | VARIANTS["dino"] | {"img": 32}
  width = o["decoder"]["out"] = 12
  config = transformers.ViTConfig(
    hidden_size=width,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=4 * width,
    image_size=o["img"],
    patch_size=o["patch"],
    layer_norm_eps=1e-6,
  )
  vit = transformers.ViTModel(config, add_pooling_layer=False).eval()
  sizes = {name: list(x.shape) for name, x in vit.state_dict().items()}
  vit.load_state_dict(
    {
      name: torch.tensor(golden_case.weight(name, s))
      for name, s in sizes.items()
    }
  )

  def teach(video):
    frames = torch.tensor(video[:, :: o["tubelet"]]).flatten(0, 1)
    frames = (frames.float() / 255.0 - reference.MEAN) / reference.STD
    with torch.no_grad():
      found = vit(frames.permute(0, 3, 1, 2)).last_hidden_state[:, 1:]
    return found.reshape(len(video), -1, width).numpy()

  o["teacher"] = {"variant": "dino_vits16", "heads": 3, "state_dict": sizes}
  reference.write_pretrain(tmp_path / "case", o, mask=_mask(o), teach=teach)
  result = parity.compare(golden_case.load(tmp_path / "case"))
  assert result.passed, result.rows
  assert "teacher_features" in {row.quantity for row in result.rows}
  # What is given is not what is used.
  with np.load(tmp_path / "case.npz") as stored:
    arrays = dict(stored)
  arrays["teacher_features"] += np.float32(0.1)
  np.savez(tmp_path / "case.npz", **arrays)
  result = parity.compare(golden_case.load(tmp_path / "case"))
  wrong = [row.quantity for row in result.rows if not row.passed]
  assert wrong == ["teacher_features"]


def test_finetuning_of_another_shape(reference, tmp_path):
  reference.write_finetune(
    tmp_path / "x", dim=20, depth=3, heads=5, classes=9, tubelet=1, patch=4
  )
  assert parity.compare(golden_case.load(tmp_path / "x.json")).passed


@pytest.fixture(name="case")
def case_fixture(golden_dir, tmp_path):
  """`case(change)` writes the dino case with arrays and options changed."""

  def write(change):
    with np.load(golden_dir / "pretrain_dino.npz") as stored:
      arrays = dict(stored)
    options = json.loads((golden_dir / "pretrain_dino.json").read_text())
    change(arrays, options)
    np.savez(tmp_path / "case.npz", **arrays)
    (tmp_path / "case.json").write_text(json.dumps(options))
    return str(tmp_path / "case.json")

  return write


@pytest.fixture(name="computed", scope="module")
def computed_fixture(golden_dir):
  """What we compute for the dino case."""
  return parity_model.pretrain(golden_case.load(golden_dir / "pretrain_dino"))


@pytest.fixture(name="quick")
def quick_fixture(computed, monkeypatch):
  """Takes our side as computed once: cases differ in the reference alone."""
  monkeypatch.setattr(parity_model, "pretrain", lambda *_: computed)


@pytest.mark.usefixtures("quick")
def test_missing_quantities_are_not_compared(case, capsys):
  def change(arrays, options):
    for name in list(arrays):
      if name not in ("video", "mask", "teacher_features", "enc_out"):
        del arrays[name]
    del options["grads"]

  assert cli.main(["parity", case(change), "--json"]) == 0
  assert list(json.loads(capsys.readouterr().out)) == ["enc_out"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
  "quantity", ["enc_out", "q_video", "loss_soft", "gradient_norm", "labels"]
)
def test_a_difference_is_found(case, quantity, capsys):
  def change(arrays, options):
    if quantity == "gradient_norm":
      options["grads"]["encoder.norm.bias"]["norm"] *= 1.001
    elif quantity == "labels":
      arrays["q_proj"][0, 0] = np.roll(arrays["q_proj"][0, 0], 1)
    else:
      arrays[quantity] = arrays[quantity] * np.float32(1.001)

  assert cli.main(["parity", case(change)]) == 1
  lines = capsys.readouterr().out.splitlines()
  assert "DIFFERS" in lines[0]
  wrong = [line.split()[0] for line in lines if "past the tolerance" in line]
  expected = ["q_proj", "labels_proj"] if quantity == "labels" else [quantity]
  assert wrong == expected


@pytest.mark.usefixtures("quick")
def test_null_gradient_means_none(case, capsys):
  def change(arrays, options):
    options["grads"]["encoder.norm.bias"] = None

  assert cli.main(["parity", case(change), "--json"]) == 1
  found = json.loads(capsys.readouterr().out)
  assert found["gradient/encoder.norm.bias"] > 0


def test_ties_are_counted_apart(reference, tmp_path):
  """The reference prefers, by less than float32 can tell, another label."""
  o = OPTIONS | VARIANTS["dino"]
  reference.write_pretrain(tmp_path / "case", o, mask=_mask(o))
  case = golden_case.load(tmp_path / "case")
  plan = case.arrays["q_proj"]
  best, second = np.argsort(plan[0, 0])[:-3:-1]
  plan[0, 0, second] = plan[0, 0, best] * np.float32(1.000001)
  result = parity.compare(case)
  rows = {row.quantity: row for row in result.rows}
  assert rows["labels_proj"].passed
  assert rows["labels_proj"].note == "1 ties"
  # Taken under the reference's label, the loss is another one.
  assert not rows["q_proj"].passed
  assert not rows["loss_hard"].passed


def _without(name):
  return lambda arrays, options: arrays.pop(name)


def _set(name, value):
  return lambda arrays, options: options.__setitem__(name, value)


def _break(name, index, value):
  return lambda arrays, options: arrays[name].__setitem__(index, value)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
  "change, message",
  [
    (_without("video"), "'video' is missing"),
    (_without("mask"), "'mask' is missing"),
    (_without("teacher_features"), "'teacher_features' is missing"),
    (_set("state_dict", 3), "state_dict"),
    (_set("kind", "raft"), "nothing here computes cases of kind 'raft'"),
    (_set("encoder", {"dim": 48, "depth": 2}), "'heads' is missing"),
    (_set("encoder", {"dim": 48, "depth": 2, "heads": 5}), "divisible"),
    (_set("encoder", {"dim": 40, "depth": 2, "heads": 3}), "encoder.dim"),
    (_set("patch", 8), "patch does not fit"),
    (_set("grads", {"x": None}), "unknown 'x'"),
    (_break("mask", (0, 0), False), "same number of masked"),
    (_break("enc_out", (0, 0, 0), np.nan), "not finite"),
    (lambda a, o: o["state_dict"].pop("encoder.norm.bias"), "missing encoder"),
    (lambda a, o: a.update(proj=a["proj"][:1]), "proj: shape"),
    (lambda a, o: a.update(video=a["video"].astype(np.float32)), "uint8"),
    (lambda a, o: a.update(mask=a["mask"][:, :5]), "mask has shape"),
  ],
)
def test_malformed_cases(case, change, message, capsys):
  path = case(change)
  assert cli.main(["parity", path]) == 2
  shown = capsys.readouterr().err
  assert message in shown
  assert shown.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04"])
def test_unreadable_files(golden_dir, tmp_path, content, capsys):
  shutil.copy(golden_dir / "finetune.json", tmp_path)
  (tmp_path / "finetune.npz").write_bytes(content)
  assert cli.main(["parity", str(tmp_path / "finetune")]) == 2
  shutil.copy(golden_dir / "finetune.npz", tmp_path)
  (tmp_path / "finetune.json").write_text("{")
  assert cli.main(["parity", str(tmp_path / "finetune")]) == 2
  assert capsys.readouterr().err.count("\n") == 2


def test_markdown_and_several_cases(golden_dir, capsys):
  cases = [str(golden_dir / n) for n in ("sinkhorn.npz", "schedule.npz")]
  assert cli.main(["parity", *cases, "--markdown"]) == 0
  shown = capsys.readouterr().out
  assert "## sinkhorn: agrees" in shown
  assert "| lr | " in shown
  assert cli.main(["parity", *cases, "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert list(found) == ["sinkhorn", "schedule"]
  assert list(found["schedule"]) == ["lr"]


def test_relative_error():
  assert parity.relative([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
  assert parity.relative([0.5], [0.0]) == 0.5
  assert np.isnan(parity.relative([np.nan], [1.0]))
  assert not parity.Row("x", np.nan, 1.0).passed
