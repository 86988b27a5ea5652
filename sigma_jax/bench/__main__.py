"""Command line: `python -m sigma_jax.bench loss|step|data|evidence ...`.

Each prints a table, or with --json one JSON object. Only `data` needs
TensorFlow, and not with --no-pipeline.
"""

import sys

from sigma_jax import cli

_COMMANDS = {
  "loss": (
    "sigma_jax.bench.loss_bench",
    "the assignment loss against a plain PyTorch writing of it",
  ),
  "step": (
    "sigma_jax.bench.step_bench",
    "a training step, of pre-training against the same model in PyTorch",
  ),
  "attention": (
    "sigma_jax.bench.attention_bench",
    "attention by XLA, cuDNN, in tiles, and PyTorch's",
  ),
  "compile": (
    "sigma_jax.bench.pod.compile_bench",
    "compile a config's step for a TPU topology, without a TPU",
  ),
  "data": (
    "sigma_jax.bench.data.data_bench",
    "clips a second from videos and records, against other readers",
  ),
  "lists": (
    "sigma_jax.bench.data.lists_bench",
    "opening lists of millions of videos",
  ),
  "learn": (
    "sigma_jax.bench.evidence.learning",
    "a short toy run, its clips drawn in memory, judged before and after",
  ),
  "evidence": (
    "sigma_jax.bench.evidence.command",
    "all figures of one accelerator, in minutes",
  ),
  "scaling": (
    "sigma_jax.bench.pod.scaling_bench",
    "memory and collective bytes over 1 to 256 chips, compiled",
  ),
}


def main(argv: list[str] | None = None) -> int:
  """Runs one benchmark.

  Returns:
    Exit code: 0 done, 1 results disagree, 2 the input has to change.
  """
  parser = cli.commands("python -m sigma_jax.bench", __doc__, _COMMANDS)
  args = parser.parse_args(argv)
  return cli.answer(lambda: args.run(args))


if __name__ == "__main__":
  sys.exit(main())
