"""The worked example of docs/methods/own.md: one file, one config."""

import dataclasses
import pathlib
import re
import sys

import jax
import numpy as np
import pytest

import sigma_jax
from sigma_jax import settings as settings_lib
from sigma_jax.methods import method
from sigma_jax.settings import config_file
from sigma_jax.train import checkpoint

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "methods" / "own.md"


@pytest.fixture
def own(tmp_path, monkeypatch):
  """The page's two files, where Python finds them; the folder."""
  files = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
  for name, text in zip(("my_method", "my_config"), files, strict=True):
    (tmp_path / f"{name}.py").write_text(text)
  monkeypatch.syspath_prepend(str(tmp_path))
  method.named.cache_clear()
  yield tmp_path
  sys.modules.pop("my_method", None)
  method.named.cache_clear()


def test_the_example_trains_and_is_evaluated(own, tiny, pretrain):
  run = config_file.load(str(own / "my_config.py"))
  assert run.method.momentum == 0.99 and run.data.size == 32
  train = dataclasses.replace(
    tiny.train, steps=4, log_every=1, checkpoint_every=4
  )
  small = dataclasses.replace(tiny, method=run.method, train=train)
  assert np.isfinite(pretrain(small, own / "run")["target_std"])
  trained, step = checkpoint.restore_params(own / "run")
  slow, _ = checkpoint.restore_params(own / "run", judged=True)
  assert step == 4 and set(slow) == {"encoder"}
  fresh = method.of(small).init(jax.random.key(small.seed))["encoder"]
  leaves = map(jax.tree.leaves, (fresh, slow["encoder"], trained["encoder"]))
  begin, behind, ahead = (np.asarray(each[0]) for each in leaves)
  # .99 and three times less a step: it is on its way, and far behind.
  assert 0 < np.abs(behind - begin).max() < 0.1 * np.abs(ahead - begin).max()
  data = small.data
  shape = (1, data.num_frames, data.size, data.size, 3)
  encoding = sigma_jax.load(own / "run").encode(np.zeros(shape, np.uint8))
  assert np.isfinite(encoding.pooled).all()


def test_a_method_that_is_not_there_is_named():
  with pytest.raises(ValueError, match=r"no method 'sigmma'"):
    settings_lib.default_config("sigmma")
