"""Blocks' parameters as one stack, or as an array a block.

Checkpoints, evaluation and every mesh but a single CPU know the stack alone:
leaves [depth, ...] below a key "blocks", which `models.layers.Stack` scans
over. XLA on CPU fills the stacks of such a scan's gradients with zeros first
and copies each block's weights out of theirs. Large models feel it; there, a
run holds a tuple of `depth` arrays in place of each leaf, and no scan.
"""

from collections.abc import Callable
from typing import Any

import jax

# ViT-B's blocks, 370 MB: 3% of a step, for half as much compile time again.
# The toy model's, 2 MB: nothing.
_MIN_BYTES = 2**27


def fit(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """The form in which a step on this mesh is fastest.

  Args:
    tree: stacked; a training state, of which `params` counts.
    mesh: of the run.
  """
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  if not on_cpu or mesh.size > 1:
    return tree
  blocks = []
  _on_blocks(blocks.append, tree.params)
  nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(blocks))
  return unstack(tree) if nbytes >= _MIN_BYTES else tree


def unstack(tree: Any) -> Any:
  """[depth, ...] below "blocks" -> tuples of `depth` arrays; copies them."""
  return _on_blocks(lambda blocks: jax.tree.map(tuple, blocks), tree)


def stack(tree: Any) -> Any:
  """The inverse of `unstack`; of a tree that is stacked, itself."""

  def is_tuple(node):
    return isinstance(node, tuple)

  def join(leaf):
    return jax.numpy.stack(leaf) if is_tuple(leaf) else leaf

  return _on_blocks(
    lambda blocks: jax.tree.map(join, blocks, is_leaf=is_tuple), tree
  )


def _on_blocks(function: Callable, tree: Any) -> Any:
  """`function` of what stands below every key "blocks"; the rest as it is."""

  def holds_blocks(node):
    return isinstance(node, dict) and "blocks" in node

  def convert(node):
    if not holds_blocks(node):
      return node
    return {**node, "blocks": function(node["blocks"])}

  return jax.tree.map(convert, tree, is_leaf=holds_blocks)
