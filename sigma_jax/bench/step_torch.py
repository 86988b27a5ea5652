"""Contender: the same step in PyTorch, of its users' own parts; see `contest`.

Encoder and decoder are those of transformers' VideoMAE with scaled dot-product
attention, the teacher is its ViT, the loss that of `loss_torch`, AdamW fused
where it can be; on a GPU bfloat16 autocast and torch.compile.
"""

import numpy as np

from sigma_jax import masking
from sigma_jax import settings as settings_lib
from sigma_jax.bench import loss_torch, output, step_jax
from sigma_jax.models.variants import IMAGE_MODELS


def is_written_for(settings: settings_lib.Settings) -> bool:
  """Whether there is a PyTorch side of this training."""
  return settings.task == "pretrain" and settings.method.name == "masked"


def _video_config(settings: settings_lib.Settings):
  import transformers

  model, data = settings.model, settings.data
  return transformers.VideoMAEConfig(
    image_size=data.size,
    patch_size=model.patch,
    num_frames=data.num_frames,
    tubelet_size=model.tubelet,
    hidden_size=model.encoder_dim,
    num_hidden_layers=model.encoder_depth,
    num_attention_heads=model.encoder_heads,
    intermediate_size=model.mlp_ratio * model.encoder_dim,
    decoder_hidden_size=model.decoder_dim,
    decoder_num_hidden_layers=model.decoder_depth,
    decoder_num_attention_heads=model.decoder_heads,
    decoder_intermediate_size=model.mlp_ratio * model.decoder_dim,
    layer_norm_eps=model.norm_epsilon,
    attn_implementation="sdpa",
    use_mean_pooling=False,
  )


def _teacher(settings: settings_lib.Settings):
  """transformers' ViT of the target's size, at random weights."""
  import transformers

  facts = IMAGE_MODELS[settings.target.variant]
  if not settings.target.variant.startswith("dino_"):
    raise ValueError(
      "the step benchmark's PyTorch side knows the teachers dino_vits16 and "
      f"dino_vitb16, got {settings.target.variant!r}"
    )
  config = transformers.ViTConfig(
    hidden_size=facts.dim,
    num_hidden_layers=facts.depth,
    num_attention_heads=facts.heads,
    intermediate_size=4 * facts.dim,
    image_size=settings.data.size,
    patch_size=facts.patch,
    attn_implementation="sdpa",
  )
  return transformers.ViTModel(config, add_pooling_layer=False).eval()


def _mlp(settings: settings_lib.Settings):
  from torch import nn

  model, target = settings.model, settings.target
  sizes = (model.tubelet * model.patch**2 * 3, *target.hidden, target.dim)
  parts = []
  for i in range(len(sizes) - 1):
    parts += [nn.GELU()] if i else []
    parts.append(nn.Linear(sizes[i], sizes[i + 1]))
  return nn.Sequential(*parts)


def _model(settings: settings_lib.Settings):
  """A module: (video uint8 [b, t, h, w, 3], masked bool [b, n]) -> loss."""
  import torch
  import transformers
  from torch import nn

  options = settings.loss
  time, height, width = settings.grid
  patch, tubelet = settings.model.patch, settings.model.tubelet

  class Sigma(nn.Module):
    def __init__(self):
      super().__init__()
      self.video = transformers.VideoMAEForPreTraining(_video_config(settings))
      dim = settings.target.dim
      if settings.target.kind == "dino":
        self.teacher = _teacher(settings).requires_grad_(False)
        dim = self.teacher.config.hidden_size
      else:
        self.mlp = _mlp(settings)
      self.video.decoder.head = nn.Linear(settings.model.decoder_dim, dim)
      if options.kind == "assignment":
        self.prototypes = nn.Parameter(torch.randn(options.num_prototypes, dim))
      statistics = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
      for name, values in zip(("mean", "std"), statistics, strict=True):
        self.register_buffer(name, torch.tensor(values))

    def forward(self, video, masked):
      pixels = video.float() / 255
      frames = ((pixels - self.mean) / self.std).permute(0, 1, 4, 2, 3)
      predicted = self.decoded(frames, masked)
      if settings.target.kind == "dino":
        target = self.from_teacher(frames, masked)
      else:
        target = self.from_pixels(pixels, masked)
      predicted, target = predicted.flatten(0, 1).float(), target.float()
      if options.kind == "l2":
        return nn.functional.mse_loss(predicted, target)
      with torch.autocast(predicted.device.type, enabled=False):
        return loss_torch.loss(
          predicted,
          target,
          self.prototypes,
          epsilon=options.epsilon,
          rounds=options.rounds,
          temperature=options.temperature,
          labels=options.labels,
        )[0]

    def decoded(self, frames, masked):
      """What VideoMAEForPreTraining computes before its own pixel loss."""
      video = self.video
      tokens = video.videomae(frames, bool_masked_pos=masked).last_hidden_state
      tokens = video.encoder_to_decoder(tokens)
      b, _, width = tokens.shape
      table = video.position_embeddings.expand(b, -1, -1).to(tokens.dtype)
      seen = tokens + table[~masked].reshape(b, -1, width)
      hidden = video.mask_token + table[masked].reshape(b, -1, width)
      both = torch.cat([seen, hidden], dim=1)
      return video.decoder(both, hidden.shape[1]).logits

    def from_pixels(self, pixels, masked):
      """Standardised values of the masked tubes, through the MLP if any."""
      b = len(pixels)
      tubes = pixels.reshape(
        b, time, tubelet, height, patch, width, patch, 3
      ).permute(0, 1, 3, 5, 2, 4, 6, 7)
      tubes = tubes.reshape(b, time * height * width, -1, 3)[masked]
      tubes = tubes - tubes.mean(dim=1, keepdim=True)
      tubes = tubes / (tubes.std(dim=1, keepdim=True) + 1e-6)
      tubes = tubes.flatten(1)
      return tubes if settings.target.kind == "pixel" else self.mlp(tubes)

    @torch.no_grad()
    def from_teacher(self, frames, masked):
      """The frozen ViT's tokens of every tube's first frame, standardised."""
      b = len(frames)
      tokens = self.teacher(frames[:, ::tubelet].flatten(0, 1))
      tokens = tokens.last_hidden_state[:, 1:].float()
      tokens = tokens.reshape(b, time * height * width, -1)
      tokens = tokens - tokens.mean(dim=1, keepdim=True)
      return (tokens / (tokens.std(dim=1, keepdim=True) + 1e-6))[masked]

  model = Sigma().train()
  if settings.target.kind == "dino":
    model.teacher.eval()
  return model


class _Case:
  def __init__(self, options: dict):
    import torch

    self._torch = torch
    settings = step_jax.read_settings(options)
    on_gpu = torch.cuda.is_available()
    self._device = "cuda" if on_gpu else "cpu"
    self._half = settings.model.dtype == "bfloat16"
    torch.manual_seed(0)
    self._model = _model(settings).to(self._device)
    # transformers keeps this table in a plain attribute: `to` leaves it behind.
    table = self._model.video.position_embeddings
    self._model.video.position_embeddings = table.to(self._device)
    self._video = torch.from_numpy(step_jax.video(settings)).to(self._device)
    self._masked = torch.from_numpy(_mask(settings)).to(self._device)
    learnt = [p for p in self._model.parameters() if p.requires_grad]
    self._parameters = sum(p.numel() for p in learnt)
    self._optimizer = torch.optim.AdamW(
      learnt, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )
    self._loss = torch.compile(self._model) if on_gpu else self._model
    self.run()
    if on_gpu:
      torch.cuda.reset_peak_memory_stats()
      self._start = torch.cuda.memory_allocated()

  def run(self) -> None:
    self._optimizer.zero_grad(set_to_none=True)
    with self._torch.autocast(
      self._device, self._torch.bfloat16, enabled=self._half
    ):
      loss = self._loss(self._video, self._masked)
    loss.backward()
    self._optimizer.step()
    self._last = loss.detach().cpu()

  def results(self) -> dict[str, np.ndarray]:
    return {"loss": self._last.numpy()}

  def peak_bytes(self) -> int | None:
    if self._device == "cpu":
      return None
    return self._torch.cuda.max_memory_allocated() - self._start

  def facts(self) -> dict:
    return {
      "parameters": self._parameters,
      "threads": self._torch.get_num_threads(),
      **output.versions("torch", "transformers"),
    }


def _mask(settings: settings_lib.Settings) -> np.ndarray:
  """bool [b, n] of tube masks, True where masked."""
  rng = np.random.default_rng(0)
  time, height, width = settings.grid
  hidden = masking.num_masked("tube", settings.grid, settings.masking.ratio)
  rows = [
    rng.permutation(height * width) < hidden // time
    for _ in range(settings.train.batch_size)
  ]
  return np.tile(np.stack(rows), (1, time))


prepare = _Case
