"""Which option was meant, where one is named that does not exist."""

import difflib
from collections.abc import Collection

# What other codes call our options.
_SYNONYMS = {
  "init": "pretrained checkpoint ckpt finetune resume_from encoder_weights",
  "seed": "random_seed",
  "data.val": "test validation",
  "data.root": "data_root data_path prefix",
  "data.num_frames": "frames clip_len clip_length",
  "data.stride": "sampling_rate frame_stride frame_interval",
  "data.size": "resolution image_size img_size input_size crop_size",
  "data.flip": "mirror hflip",
  "data.workers": "num_workers threads",
  "augment.erase_prob": "reprob",
  "augment.label_smoothing": "smoothing",
  "model.tubelet": "tubelet_size",
  "model.patch": "patch_size",
  "model.encoder_dim": "embed_dim width",
  "model.encoder_depth": "depth",
  "model.encoder_heads": "num_heads heads",
  "model.dtype": "precision",
  "model.remat": "use_checkpoint checkpointing",
  "model.attention": "flash splash sdpa attn_implementation",
  "masking.kind": "mask_type",
  "masking.ratio": "mask_ratio masking_ratio",
  "loss.num_prototypes": "prototypes num_clusters k",
  "loss.epsilon": "eps",
  "loss.rounds": "iters sinkhorn_iterations",
  "loss.temperature": "temp tau",
  "optimizer.base_lr": "lr blr learning_rate",
  "optimizer.min_lr": "final_lr lr_min",
  "optimizer.weight_decay": "wd decay",
  "optimizer.warmup_epochs": "warmup warmup_steps",
  "optimizer.clip_norm": "grad_clip clip_grad max_norm",
  "optimizer.b1": "beta1 betas",
  "optimizer.b2": "beta2",
  "train.batch_size": "batch bs",
  "train.accumulate": "accum grad_accum accum_iter update_freq",
  "train.epochs": "num_epochs max_epochs epoch",
  "train.steps": "num_steps max_steps total_steps",
  "train.log_every": "log_interval log_freq",
  "train.checkpoint_every": "save_every save_freq save_interval",
  "evaluate.every": "eval_every eval_freq eval_interval",
  "train.keep_best": "save_best keep_best_only",
  "probe.batch_size": "batch bs",
  "probe.knn_k": "k neighbours neighbors",
  "supervised.drop_path": "drop_path_rate",
  "supervised.layer_decay": "layer_lr_decay llrd",
  "supervised.test_batch_size": "batch bs batch_size",
}


def option(key: str, valid: Collection[str]) -> str | None:
  """The option that was most likely meant.

  It is one of that name in another section, or one that other codes call so,
  or else one whose name is spelt alike. Of several, it is the one whose section
  is most alike.

  Args:
    key: dotted, not among `valid`.
    valid: all options, dotted.
  """
  section, _, name = key.rpartition(".")

  def alike(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()

  def fit(other: str) -> tuple[float, float]:
    of, _, last = other.rpartition(".")
    called = _SYNONYMS.get(other, "").split()
    spelt = 1.0 if name in (last, *called) else alike(name, last)
    return spelt, alike(section, of) if section else 0.0

  fits = {other: fit(other) for other in valid}
  best = max(spelt for spelt, _ in fits.values())
  if best < 1 and not section:  # perhaps the dot is what is missing
    whole = difflib.get_close_matches(key, valid, 1, 0.85)
    if whole:
      return whole[0]
  least = 1.0 if best == 1 else 0.6
  found = [other for other in valid if fits[other][0] >= least]
  return max(found, key=lambda other: sum(fits[other]), default=None)
