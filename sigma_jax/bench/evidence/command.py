"""All that can be measured of one accelerator in nine minutes.

Each part is a command of `sigma_jax.bench` in a process group of its own, with
a deadline; one that fails or hangs costs no other. After each part
DIR/evidence.json and DIR/evidence.md are written anew, so what was reached is
kept when time ends. Nothing but JAX, Flax, Optax, Orbax and ml_collections is
needed: no TensorFlow, PyAV, clu or network. PyTorch and transformers are
compared with where they are installed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from sigma_jax import errors, files, paths
from sigma_jax.bench import output
from sigma_jax.bench.evidence import parts as parts_lib

_ROOT = pathlib.Path(__file__).parents[3]
_LEAST = 10.0  # seconds: a part that has less left is not begun
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "transformers")
_CARD = (
  "import jax, json; d = jax.devices()[0]; print(json.dumps({'platform': "
  "d.platform, 'card': d.device_kind, 'count': jax.device_count(), 'memory': "
  "(d.memory_stats() or {}).get('bytes_limit')}))"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's options."""
  parser.add_argument(
    "--out", type=paths.argument, required=True, help="folder for the results"
  )
  parser.add_argument(
    "--seconds", type=float, default=540.0, help="for all parts; 540"
  )
  parser.add_argument(
    "--tiny", action="store_true", help="small sizes, to try it on a CPU"
  )
  parser.add_argument(
    "--only", nargs="+", metavar="PART", help="names, or what they begin with"
  )


def run(args: argparse.Namespace) -> int:
  """Exit code 0, or 1 where a part failed or was not reached."""
  if args.seconds <= 0:
    raise errors.UserError("--seconds must be positive")
  chosen = _chosen(args)
  out = pathlib.Path(args.out)
  out.mkdir(parents=True, exist_ok=True)
  end = time.monotonic() + args.seconds
  environment = os.environ | {
    # Parts that share a program compile it once.
    "JAX_COMPILATION_CACHE_DIR": str((out / "programs").absolute()),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # PyTorch is measured on the same card.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
  }
  found: dict[str, Any] = {
    "began": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    "machine": _machine(environment, end),
    "parts": {},
  }
  _write(out, found)
  for part in chosen:
    left = end - time.monotonic()
    if left < _LEAST:
      entry = {"state": "not reached", "reason": "the time was over"}
    else:
      print(f"{part.name} ...", flush=True)
      command = [sys.executable, "-m", "sigma_jax.bench", *part.arguments]
      entry = _run([*command, "--json"], min(part.seconds, left), environment)
    entry |= {"command": " ".join(part.arguments), "aim": part.aim}
    found["parts"][part.name] = entry
    _write(out, found)
    print(f"{part.name}: {entry['state']} {entry.get('reason', '')}".rstrip())
  print(f"{out / 'evidence.md'} and evidence.json", flush=True)
  done = all(e["state"] == "done" for e in found["parts"].values())
  return 0 if done else 1


def _chosen(args) -> list[parts_lib.Part]:
  known = parts_lib.tiny() if args.tiny else parts_lib.full()
  names = args.only or [""]
  for name in names:
    if not any(part.name.startswith(name) for part in known):
      raise errors.UserError(
        f"--only {name!r}: the parts are {', '.join(p.name for p in known)}"
      )
  return [p for p in known if any(p.name.startswith(name) for name in names)]


def _machine(environment, end: float) -> dict[str, Any]:
  """Card, versions and processor; asked in a process that ends again."""
  left = min(60.0, end - time.monotonic())
  entry = _run([sys.executable, "-c", _CARD], left, environment)
  facts = entry.get("result") or {"card": f"unknown: {entry['reason']}"}
  return {
    **facts,
    "cpu": output.processor(),
    "versions": output.versions(*_PACKAGES),
  }


def _run(command: list[str], seconds: float, environment) -> dict[str, Any]:
  """One command to its end or its deadline, and all that it has started."""
  start = time.monotonic()
  process = subprocess.Popen(
    command,
    cwd=_ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  try:
    text, complaints = process.communicate(timeout=seconds)
    reason = ""
  except subprocess.TimeoutExpired:
    reason = f"ended after its {seconds:.0f} s"
  finally:
    # Contenders are processes of the same group.
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
  if reason:
    text, complaints = process.communicate()
  entry = {"state": "done", "seconds": round(time.monotonic() - start, 1)}
  try:
    entry["result"] = json.loads(text.strip().splitlines()[-1])
  except (ValueError, IndexError):
    last = (complaints.strip().splitlines() or ["it gave no reason"])[-1]
    return entry | {"state": "failed", "reason": reason or last[-300:]}
  if process.returncode:
    failed = entry["result"].get("failed") or {}
    reason = "; ".join(failed.values()) or f"exit code {process.returncode}"
    entry |= {"state": "failed", "reason": reason}
  return entry


def _write(out: pathlib.Path, found: dict[str, Any]) -> None:
  files.write_whole(out / "evidence.json", json.dumps(found, indent=1))
  files.write_whole(out / "evidence.md", _page(found))


def _page(found: dict[str, Any]) -> str:
  machine = found["machine"]
  versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
  lines = [
    f"# Measured on {machine['card']}",
    "",
    f"Begun {found['began']}. CPU: {machine['cpu']}. {versions}.",
    "",
  ]
  for name, entry in found["parts"].items():
    lines += [f"## {name}", "", f"`bench {entry['command']}`: {entry['aim']}."]
    if entry["state"] != "done":
      lines += ["", f"**{entry['state']}**: {entry['reason']}"]
    if "result" in entry:
      lines += ["", entry["result"]["title"], ""]
      lines += [output.markdown(entry["result"]["rows"])]
      lines += ["", f"{entry['seconds']} s in all."]
    lines += [""]
  return "\n".join(lines)
