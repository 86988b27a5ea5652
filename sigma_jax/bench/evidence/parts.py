"""What `sigma_jax.bench evidence` measures: commands, in order of weight."""

from typing import NamedTuple


class Part(NamedTuple):
  """One command of `sigma_jax.bench`, in a process group of its own.

  Attributes:
    name: of its entry in the results.
    arguments: behind `python -m sigma_jax.bench`, without --json.
    seconds: after which it is ended.
    aim: what it is to show, for the page.
  """

  name: str
  arguments: tuple[str, ...]
  seconds: float
  aim: str


def _loss(tubes: int, prototypes: int, dim: int, dtype: str) -> tuple[str, ...]:
  size = (f"--tubes={tubes}", f"--prototypes={prototypes}", f"--dim={dim}")
  modes = ("--mode", "keep", "recompute")
  return ("loss", *size, f"--dtype={dtype}", *modes)


def _step(config: str, batch: int, *more: str) -> tuple[str, ...]:
  return ("step", f"--config=configs/{config}", f"--batch={batch}", *more)


def full() -> tuple[Part, ...]:
  """For one GPU with 80 GB or more: nine minutes."""
  turns = "--turns=10"
  return (
    Part(
      "attention",
      ("attention", "--batch=16"),
      60,
      "cuDNN's attention runs in bfloat16 at 1568 tokens, and what it saves",
    ),
    Part(
      "loss, MLP's size",
      (*_loss(180_224, 4000, 256, "bfloat16"), turns),
      80,
      "the loss of 128 clips of a ViT-B against compiled PyTorch; keep and "
      "recompute. Goal: 4 times as fast, a tenth of the memory",
    ),
    Part(
      "step, ViT-B, MLP",
      (*_step("k400_vitb.py:mlp", 40), turns),
      120,
      "a pre-training step against compiled PyTorch. Goal: 1.3 times as fast",
    ),
    Part("learning", ("learn",), 60, "a toy run of 200 steps learns"),
    Part(
      "step, ViT-L, MLP",
      (*_step("k400_vitl.py:mlp", 40), turns),
      120,
      "Goal: 45% of the measured matrix peak",
    ),
    Part(
      "loss, DINO's size",
      (*_loss(56_320, 3000, 768, "bfloat16"), turns),
      60,
      "the loss of 40 clips with a DINO target",
    ),
    Part(
      "step, ViT-B, DINO",
      (*_step("k400_vitb.py:dino", 40), turns),
      120,
      "with the frozen teacher",
    ),
    Part(
      "step, ViT-B, V-JEPA",
      (*_step("k400_vitb_vjepa.py", 40), turns),
      90,
      "ours alone: no PyTorch side is written",
    ),
    Part(
      "step, fine-tuning ViT-B",
      (*_step("eval/finetune_k400.py", 8), turns),
      90,
      "ours alone, with augmentation",
    ),
  )


def tiny() -> tuple[Part, ...]:
  """The same commands at sizes for a CPU, to see that they run."""
  small = ("--set", "data.size=32", "data.num_frames=4", "model.patch=16")
  small += ("model.encoder_dim=32", "model.encoder_depth=1")
  small += ("model.encoder_heads=2",)
  decoder = ("model.decoder_dim=32", "model.decoder_depth=1")
  decoder += ("model.decoder_heads=2",)
  sigma = (*small, *decoder, "loss.num_prototypes=16")
  once = "--turns=1"
  return (
    Part(
      "attention",
      ("attention", "--batch=1", "--tokens=16", "--heads=2", "--dim=8", once),
      120,
      "the attention that is chosen agrees with XLA's",
    ),
    Part(
      "loss",
      (*_loss(64, 8, 8, "float32"), once),
      120,
      "the loss agrees with PyTorch's",
    ),
    Part(
      "step, MLP",
      (*_step("k400_vitb.py:mlp", 2, once, "--product=64"), *sigma),
      240,
      "a pre-training step",
    ),
    Part(
      "step, fine-tuning",
      (*_step("eval/finetune_k400.py", 2, once, "--product=64"), *small),
      240,
      "a step with labels",
    ),
    Part(
      "learning",
      ("learn", "--steps=3", "--clips=16", "--batch=8"),
      240,
      "a toy run",
    ),
  )
