"""Imports and exports write over no run, nor over what they read."""

import shutil

import pytest

from sigma_jax import errors
from sigma_jax.interop import __main__ as cli
from sigma_jax.interop import hugging_face, store, torch_writer
from sigma_jax.train import workdir as workdir_lib


def silent(line):
  del line


@pytest.fixture(scope="module", name="made")
def made_fixture(small, tmp_path_factory):
  """A .pth, a workdir, a folder of transformers, and a run that began."""
  folder = tmp_path_factory.mktemp("made")
  torch_writer.save(folder / "x.pth", small.tensors)
  model = store.read(folder / "x.pth", **small.options)
  store.write_workdir(folder / "run", model, folder / "x.pth", silent)
  store.export(model, folder / "hf", "hf", silent)
  workdir_lib.write_config(folder / "begun", model.settings)
  (folder / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
  (folder / "empty").mkdir()
  return folder


def contents(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


FLAGS = ("--encoder-heads=3", "--decoder-heads=2", "--frames=4", "--size=16")


@pytest.mark.parametrize(
  "argv",
  [
    "export run run --format=hf",
    "export run run/. --format=hf",
    "export run begun --format=hf",
    "export run run/checkpoints --format=hf",
    "export run run/checkpoints/x.pth --format=pth",
    "export run run --format=pth",
    "export run run/config.json --format=pth",
    "export run run/metrics.jsonl --format=pth",
    "export run hf/model.safetensors --format=pth",
    "export run x.pth --format=hf",
    "export hf hf --format=hf",
    "export x.pth x.pth --format=pth",
    "import x.pth run",
    "import x.pth begun",
    "import x.pth hf",
    "import hf hf",
    "import run run",
    "import x.pth x.pth",
  ],
)
def test_what_is_there_stays(made, argv, monkeypatch, capsys):
  monkeypatch.chdir(made)
  before = contents(made)
  command, source, *rest = argv.split()
  flags = FLAGS if source == "x.pth" else ()
  assert cli.main([command, source, *rest, *flags]) == 2
  assert contents(made) == before
  shown = capsys.readouterr()
  assert shown.err.count("\n") == 1
  assert shown.err.startswith("error: ")
  assert not shown.out  # refused before anything is read


def test_links_to_a_run(made, tmp_path):
  (tmp_path / "link").symlink_to(made / "run")
  with pytest.raises(errors.UserError, match="belongs to the run"):
    store.export(store.read(made / "run"), tmp_path / "link", "hf", silent)


def test_places_that_are_free(made, tmp_path, monkeypatch):
  """Beside or inside a run, in place of an older export, in an empty folder."""
  shutil.copytree(made, tmp_path / "made")
  monkeypatch.chdir(tmp_path / "made")
  for argv in (
    "export run run/export.pth --format=pth",
    "export run run/export.pth --format=pth",
    "export run run/hf --format=hf",
    "export run hf --format=hf",
    "export run new/deep/x.pth --format=pth",
    "import hf empty",
  ):
    assert cli.main(argv.split()) == 0
  assert hugging_face.is_folder("run/hf")
  assert store.read("run").layout.kind == "mlp"


def test_an_import_that_broke_off_is_done_again(made, tmp_path, monkeypatch):
  model = store.read(made / "run")

  def fail(*_):
    raise OSError("no space left")

  with monkeypatch.context() as patch:
    patch.setattr(store.checkpoint, "write_params", fail)
    with pytest.raises(OSError, match="no space"):
      store.write_workdir(tmp_path / "run", model, made / "x.pth", silent)
  store.write_workdir(tmp_path / "run", model, made / "x.pth", silent)
  assert store.read(tmp_path / "run").layout == model.layout
