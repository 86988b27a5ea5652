"""The benchmark of starts: two processes that train three steps each."""

import json

from sigma_jax.bench import __main__ as bench

SMALL = (
  *("model.encoder_dim=48", "model.encoder_depth=1", "model.encoder_heads=4"),
  *("model.decoder_dim=48", "model.decoder_depth=1", "model.decoder_heads=4"),
  *("train.batch_size=4", "loss.num_prototypes=8"),
)


def test_a_cold_and_a_warm_start(toy_clips, capsys):
  command = ["start", f"--train={toy_clips / 'train.csv'}", "--json"]
  assert bench.main([*command, *(f"--set={each}" for each in SMALL)]) == 0
  found = json.loads(capsys.readouterr().out)
  assert [row["programs"] for row in found["rows"]] == ["cold", "warm"]
  for row in found["rows"]:
    times = [row[name] for name in ("state_s", "step_1_s", "step_3_s", "end_s")]
    assert times == sorted(times)
    assert times[0] > 0


def test_a_run_that_fails_is_told(tmp_path, capsys):
  assert bench.main(["start", f"--train={tmp_path / 'none.csv'}"]) == 2
  assert "none.csv" in capsys.readouterr().err
