"""Contender: the assignment loss as PyTorch users write it; see `contest`.

Scores, plans and probabilities of all tubes are matrices; Sinkhorn scales the
plan itself, in place, as SwAV's reference code does; autograd does the rest.
"""

import numpy as np

from sigma_jax.bench import loss_inputs, output


def sinkhorn(scores, epsilon: float, rounds: int):
  """Float [tubes, k] -> the balanced plan, rows summing to 1."""
  import torch

  plan = torch.exp(scores / epsilon).t()
  prototypes, tubes = plan.shape
  plan /= plan.sum()
  for _ in range(rounds):
    plan /= plan.sum(dim=1, keepdim=True)
    plan /= prototypes
    plan /= plan.sum(dim=0, keepdim=True)
    plan /= tubes
  plan *= tubes
  return plan.t()


def loss(video, target, prototypes, *, epsilon, rounds, temperature, labels):
  """Features [tubes, dim] and prototypes [k, dim] -> loss, hard labels."""
  import torch
  import torch.nn.functional as F

  unit = F.normalize(prototypes, dim=-1)
  by_video = F.normalize(video, dim=-1) @ unit.detach().t()
  by_target = F.normalize(target, dim=-1) @ unit.t()
  with torch.no_grad():
    plans = [sinkhorn(s, epsilon, rounds) for s in (by_video, by_target)]
    hard = [plan.argmax(dim=-1) for plan in plans]
  wanted = hard if labels == "hard" else plans
  total = F.cross_entropy(by_target / temperature, wanted[0])
  total = total + F.cross_entropy(by_video / temperature, wanted[1])
  return total, hard


class _Case:
  def __init__(self, options: dict):
    import torch

    self._torch = torch
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    self._solver = {key: options[key] for key in loss_inputs.SOLVER}
    self._leaves = [
      torch.tensor(
        x.reshape(-1, x.shape[-1]), device=self._device, requires_grad=True
      )
      for x in loss_inputs.make(options)
    ]
    self._loss = loss
    if self._device == "cuda":
      self._loss = torch.compile(loss)
      self.run()  # compiles
      torch.cuda.reset_peak_memory_stats()
      self._start = torch.cuda.memory_allocated()

  def run(self) -> None:
    for leaf in self._leaves:
      leaf.grad = None
    self._total, self._labels = self._loss(*self._leaves, **self._solver)
    self._total.backward()
    if self._device == "cuda":
      self._torch.cuda.synchronize()

  def results(self) -> dict[str, np.ndarray]:
    def host(x):
      return x.detach().cpu().numpy()

    gradients = [host(leaf.grad) for leaf in self._leaves]
    return loss_inputs.results(
      host(self._total), [host(x) for x in self._labels], gradients
    )

  def peak_bytes(self) -> int | None:
    if self._device == "cpu":
      return None
    return self._torch.cuda.max_memory_allocated() - self._start

  def facts(self) -> dict:
    return {
      "threads": self._torch.get_num_threads(),
      **output.versions("torch"),
    }


prepare = _Case
