"""The masked family with prototypes in a tree: settings, step, health, use."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sigma_jax import settings as settings_lib
from sigma_jax.interop import exporting, store
from sigma_jax.losses import assignment, levels
from sigma_jax.methods import method
from sigma_jax.models import sigma
from sigma_jax.report import tubes
from sigma_jax.settings import given
from sigma_jax.train import checkpoint, optimizer, steps
from sigma_jax.train import mesh as mesh_lib
from sigma_jax.train import state as state_lib


@pytest.fixture(scope="module")
def tree(tiny, change):
  """12 leaves under 3 and 6 nodes."""
  return change(tiny, loss__levels=(3, 6), loss__epsilon=0.1)


@pytest.mark.parametrize("hierarchy", ["leaves", "top_down", "independent"])
def test_a_run_learns_nodes_of_all_levels(tree, tiny_video, change, hierarchy):
  run = change(tree, loss__hierarchy=hierarchy)
  mesh = mesh_lib.make(settings_lib.Mesh(), jax.devices()[:1])
  tx = optax.adam(1e-3)
  make = steps.pretrain_step(run, tx, lambda step: step.astype("float32"))
  step, state = jax.jit(make), state_lib.create(run, tx, mesh)
  assert state.params["coarse_prototypes"].shape == (9, 16)
  losses, first = [], state.params["coarse_prototypes"]
  for _ in range(12):
    state, metrics = step(state, {}, {"video": tiny_video})
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-3:]) < np.mean(losses[:3])
  assert not np.allclose(state.params["coarse_prototypes"], first)
  for level, count in ((1, 3), (2, 6)):
    assert 1 <= metrics[f"perplexity_{level}"] <= count
    assert 0 < metrics[f"used_{level}"] <= 1
    if hierarchy != "independent":  # a leaf's ancestors agree where it does
      assert metrics[f"agreement_{level}"] >= metrics["agreement"]
  about = np.mean(losses[:3])
  (chart, *_) = method.of(run).describe().charts
  assert 0.5 * chart.reference[1] < about < 2 * chart.reference[1]


def test_without_a_tree_nothing_is_drawn_otherwise(tiny, tree):
  """The leaves and all else are those of the flat run, bitwise."""
  key = jax.random.key(0)
  flat, with_tree = (sigma.init_params(run, key) for run in (tiny, tree))
  del with_tree["coarse_prototypes"]
  jax.tree.map(np.testing.assert_array_equal, flat, with_tree)


def test_nodes_are_projected_and_decayed_as_prototypes_are(tree):
  made = method.of(tree)
  params = made.init(jax.random.key(0))
  unit = made.project(params)
  for name in ("prototypes", "coarse_prototypes"):
    np.testing.assert_allclose(np.linalg.norm(unit[name], axis=1), 1, rtol=1e-6)
  mask = optimizer.decay_mask(params, **made.optimizer())
  assert mask["prototypes"] and mask["coarse_prototypes"]


def test_words_and_signs_name_the_levels(tree):
  made = method.of(tree, method.Length(100, 10.0))
  facts = dict(made.describe().facts)
  assert facts["Loss"].endswith(", under 3 and 6 (leaves)")
  assert "levels 3, 6" in made.plan(method.Where("cpu"))
  titles = [chart.title for chart in made.describe().charts]
  assert titles[-2:] == ["Level 1, 3 nodes", "Level 2, 6 nodes"]
  now = {"used": 1.0, "perplexity": 9.0, "used_1": 0.2, "used_2": 1.0}
  found = made.signs(50, {}, now)
  assert list(found) == ["used_1"]
  assert "only 20% of the 3 nodes of level 1" in found["used_1"]


@pytest.mark.parametrize(
  ("options", "text"),
  [
    ({"levels": (5,)}, "each a divisor of the next"),
    ({"levels": (6, 3)}, "growing numbers"),
    ({"levels": (12,)}, "growing numbers"),
    ({"levels": (1,)}, "from 2 up"),
    ({"hierarchy": "leafs"}, "did you mean 'leaves'?"),
    ({"levels": (3,), "level_weights": (1.0,)}, "each of 2 levels"),
    ({"levels": (3,), "level_weights": (0.0, 0.0)}, "nor all 0"),
    ({"levels": (3,), "level_scores": (1.0, 1.0)}, "must have the sum 1"),
  ],
)
def test_impossible_trees_are_refused(options, text):
  with pytest.raises(ValueError, match=text.replace("?", r"\?")):
    settings_lib.Loss(num_prototypes=12, **options)


def test_options_of_no_tree_have_no_effect(tiny, tree, change):
  assert "no tree" in given.unread(tiny, "loss.level_weights")
  assert not given.unread(tree, "loss.level_scores")
  other = change(tree, loss__hierarchy="independent")
  assert "independent" in given.unread(other, "loss.level_scores")


def test_the_report_and_exports_know_of_the_tree(tree, tiny_video, tmp_path):
  params = method.of(tree).init(jax.random.key(0))
  checkpoint.write_params(tmp_path / "run", tree, params, 3)
  model = store.read(tmp_path / "run")
  with pytest.raises(ValueError, match="prototypes in a tree"):
    exporting.export(model, tmp_path / "out.pth", "pth", print)
  vectors = levels.vectors(params, tree.loss)
  unit = assignment.normalize(params["prototypes"])
  coarse = assignment.normalize(params["coarse_prototypes"])
  by_hand = (unit[7] + coarse[7 // 4] + coarse[3 + 7 // 2]) / 3
  np.testing.assert_allclose(vectors[7], by_hand, rtol=1e-5)
  found = tubes.assign(tree, params, tiny_video)
  flat = {**params, "coarse_prototypes": -params["coarse_prototypes"]}
  other = tubes.assign(tree, flat, tiny_video)
  assert (found.labels != other.labels).any()
  assert jnp.asarray(found.labels).max() < 12
