"""Commands that the page prints, ready for a shell."""

import shlex

from sigma_jax.report.gather import Run


def probe(run: Run) -> str:
  """Judges a run on its own data; VAL.csv where it names no test clips."""
  # Read late: the page's numbers need nothing of the data.
  from sigma_jax.data import manifest

  data = run.settings.data
  val = data.val or "VAL.csv"
  options = {"data.train": data.train, "data.val": val, "data.root": data.root}
  options["data.tar_labels"] = data.tar_labels
  if all(manifest.are_of(data.label_sets, p) for p in (data.train, val)):
    options["data.label_sets"] = data.label_sets
  words = ["python", "-m", "sigma_jax.main", "--config=configs/eval/knn.py"]
  words += [f"--workdir={run.workdir}/probe", f"--config.init={run.workdir}"]
  words += [
    f"--config.{key}={value}" for key, value in options.items() if value
  ]
  return shlex.join(words)
