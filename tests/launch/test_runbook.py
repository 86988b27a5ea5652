"""docs/RUNBOOK.md speaks of keys, metrics and messages that there are."""

import pathlib
import re

import pytest

from sigma_jax import settings

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "RUNBOOK.md").read_text()
SECTIONS = settings.Settings().to_dict()
# As the code prints them; N and M stand for numbers.
MESSAGES = [
  "not finite at step",
  "a checkpoint cannot be written to",
  "is damaged",
  "tried so far cannot be read",
  "the processes did not find each other",
  "run another config",
  "do not see process 0's folder",
  "must be the number of devices",
  "holds a run of another model",
  "holds a training of something else",
  "; nothing was moved",
  "resuming after step",
  "waiting for data",
]


def test_config_keys_exist():
  found = set(re.findall(r"\b([a-z]+)\.([a-z_]+)\b", TEXT))
  # Files and modules that are named like a section's key.
  found -= {("train", "csv"), ("data", "check"), ("data", "prepare")}
  keys = [(a, b) for a, b in found if isinstance(SECTIONS.get(a), dict)]
  assert len(keys) > 15
  assert [(a, b) for a, b in keys if b not in SECTIONS[a]] == []


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_the_codes(message):
  assert message in " ".join(TEXT.split())
  sources = [path.read_text() for path in (ROOT / "sigma_jax").rglob("*.py")]
  # Strings are broken over lines in the code.
  joined = [re.sub(r'"\s*\n\s*f?"', "", source) for source in sources]
  assert any(message in source for source in joined)


def test_files_exist():
  named = set(re.findall(r"\blaunch/[\w.]+\w", TEXT))
  named |= set(re.findall(r"\bconfigs/\w+\.py", TEXT))
  assert len(named) > 5
  assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_launcher_is_spoken_of():
  scripts = [
    p.name for p in (ROOT / "launch").iterdir() if p.suffix != ".ipynb"
  ]
  sourced = {"acting.sh", "k8s.yaml", "demo.sh", "docs.sh", "test.sh"}
  cluster = (ROOT / "docs" / "CLUSTER.md").read_text()
  missing = [name for name in scripts if name not in TEXT + cluster]
  assert set(missing) <= sourced | {"setup.sh"}
