"""Weights files made to harm: nothing runs, changes, or takes much memory."""

import codecs
import pickle
import random
import struct
import sys
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from sigma_jax import errors
from sigma_jax.interop import inert_pickle, torch_pickle, torch_writer

TENSORS = {
  "a.weight": np.arange(600, dtype=np.float32).reshape(20, 30),
  "b": np.array([1.5, -2.0], ml_dtypes.bfloat16),
}
PROTO = b"\x80\x02"
# What a mutation may leave in the pickle: calls, states, sizes, nesting.
SNIPPETS = (
  b"cos\nsystem\nX\x05\x00\x00\x00false\x85R",
  b"cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R",
  b"(X\x05\x00\x00\x00falseios\nsystem\n",
  b"ctorch\nBFloat16Storage\n"
  b"(K\x03X\x01\x00\x00\x00<NNNM\xe8\x03M\xe8\x03K\x00tb",
  b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
  b"(K\x03X\x01\x00\x00\x00<NNNM\xe8\x03M\xe8\x03K\x00tb",
  b"]r\xff\xff\xff\x7f",
  b"\x8b\x00\x00\x01\x00" + bytes(range(256)) * 256,
  b"]" * 200 + b"a" * 199,
  b"\x8e" + struct.pack("<Q", 1 << 40),
  b"I1\nQ",
  b"\x82\x01",
  b"\x97\x98",
)


def entries_of(path):
  with zipfile.ZipFile(path) as archive:
    return {name: archive.read(name) for name in archive.namelist()}


def write_entries(path, entries, compression=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
  return path


def legacy(pickled: bytes, tensors) -> bytes:
  """The form from before PyTorch 1.6 of the same state dict."""
  about = {"protocol_version": 1001, "little_endian": True}
  keys = [str(i) for i in range(len(tensors))]
  heads = (0x1950A86A20F9469CFC6C, 1001, about)
  return b"".join(
    [*(pickle.dumps(head, 2) for head in heads), pickled, pickle.dumps(keys, 2)]
    + [struct.pack("<q", t.size) + t.tobytes() for t in tensors.values()]
  )


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
  """A zip's entries, and the legacy stream's bytes."""
  path = tmp_path_factory.mktemp("original") / "x.pth"
  torch_writer.save(path, TENSORS)
  entries = entries_of(path)
  return entries, legacy(entries["archive/data.pkl"], TENSORS)


def mutated(data: bytes, rng: random.Random) -> bytes:
  """One to three changes of bytes."""
  data = bytearray(data)
  for _ in range(rng.randint(1, 3)):
    place = rng.randrange(len(data) + 1)
    kind = rng.randrange(6)
    if kind == 0 and place < len(data):
      data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
      data[place:place] = rng.choice(SNIPPETS)
    elif kind == 2:
      data[place : place + 4] = rng.choice(
        [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)]
      )
    elif kind == 3:
      del data[place : place + rng.randint(1, 40)]
    elif kind == 4:
      data[place : place + 1] = bytes([rng.randrange(256)])
    else:
      other = rng.randrange(len(data) + 1)
      data[place:place] = data[other : other + rng.randint(1, 60)]
  return bytes(data)


def hostile(path, originals, seed: int) -> None:
  """Writes the file of a seed: a pickle, an archive or a stream, changed."""
  entries, stream = originals
  rng = random.Random(seed)
  kind = seed % 4
  if kind < 2:
    changed = mutated(entries["archive/data.pkl"], rng)
    deflated = rng.random() < 0.1
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    write_entries(path, entries | {"archive/data.pkl": changed}, method)
  elif kind == 2:
    write_entries(path, entries)
    path.write_bytes(mutated(path.read_bytes(), rng))
  else:
    path.write_bytes(mutated(stream, rng))


def attack(folder, originals, seeds):
  """What came of each seed's file: "read" or "refused".

  Raises where a file changed a type, made something run, or took more than
  its size allows.
  """
  ran = []
  watched = {"exec", "os.system", "subprocess.Popen", "pickle.find_class"}
  watching = [True]

  def watch(event, _):
    if watching and event in watched:
      ran.append(event)

  codecs.lookup("raw-unicode-escape")  # else its import counts as running
  sys.addaudithook(watch)  # no hook can be taken off: it goes blind below
  before = types()
  path = folder / "x.pth"
  outcomes = []
  tracemalloc.start()
  try:
    for seed in seeds:
      hostile(path, originals, seed)
      tracemalloc.reset_peak()
      start = tracemalloc.get_traced_memory()[0]
      try:
        torch_pickle.load(path)
        outcomes.append("read")
      except errors.UserError as error:
        assert len(str(error)) < 1000, seed
        outcomes.append("refused")
      peak = tracemalloc.get_traced_memory()[1] - start
      assert peak < 2**21 + 20 * path.stat().st_size, (seed, peak)
      assert types() == before, seed
      assert not ran, (seed, ran)
  finally:
    tracemalloc.stop()
    watching.clear()
  return outcomes


def types():
  kinds = (*torch_pickle.STORAGES.values(), np.dtype(ml_dtypes.bfloat16))
  return [(str(t), t.itemsize, t.alignment, t.fields) for t in kinds]


def test_300_changed_files(tmp_path, originals):
  outcomes = attack(tmp_path, originals, range(300))
  assert outcomes.count("refused") > 100
  assert outcomes.count("read") > 10  # some changes hit nothing that matters


def refused(path, match):
  """Loading fails with this word, in memory that the file's size bounds."""
  tracemalloc.start()
  with pytest.raises(errors.UserError, match=match):
    torch_pickle.load(path)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 2**22 + 30 * path.stat().st_size


def test_a_compressed_archive_is_not_unpacked(tmp_path):
  """1 GiB of zeros is 1 MB deflated; here 64 MiB, of which none is made."""
  size = 2**26
  path = tmp_path / "x.pth"
  torch_writer.save(path, {"a": np.zeros(size // 4, np.float32)})
  write_entries(path, entries_of(path), zipfile.ZIP_DEFLATED)
  assert path.stat().st_size < 2**17
  refused(path, "compressed")


def test_a_size_that_the_file_does_not_have(tmp_path, originals):
  """The directory claims 1 GiB for a storage of 2400 bytes."""
  path = write_entries(tmp_path / "x.pth", originals[0])
  data = bytearray(path.read_bytes())
  place = data.rindex(b"archive/data/0") - 46
  assert struct.unpack_from("<II", data, place + 20) == (2400, 2400)
  struct.pack_into("<II", data, place + 20, 2**30, 2**30)
  path.write_bytes(data)
  refused(path, "overlaps")


def test_entries_that_share_their_bytes(tmp_path, originals):
  """Two thousand names for one place in the file."""
  entries = originals[0]
  path = tmp_path / "x.pth"
  with zipfile.ZipFile(path, "w") as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
    first = archive.getinfo("archive/data/0")
    for i in range(2, 2000):
      info = zipfile.ZipInfo(f"archive/data/{i}")
      info.header_offset, info.CRC = first.header_offset, first.CRC
      info.file_size = info.compress_size = first.file_size
      archive.filelist.append(info)
    archive._didModify = True
  refused(path, "overlaps")


def test_two_entries_of_one_name(tmp_path, originals):
  path = write_entries(tmp_path / "x.pth", originals[0])
  with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning):
    archive.writestr("archive/data/0", bytes(2400))
  refused(path, "one name")


def test_a_directory_of_endless_entries(tmp_path):
  path = tmp_path / "x.pth"
  record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *(0,) * 16)
  count = 2**23 // 46 + 1
  end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 46 * count, 4, 0)
  path.write_bytes(b"PK\x03\x04" + record * count + end)
  refused(path, "directory")


PICKLES = {
  "steps": (b"]0" * 60_000, "steps"),
  "integer": (b"\x8b\x00\x00\x10\x00" + b"\x01" * 2**20, "bits"),
  "nesting": (b"]" * 50_000 + b"a" * 49_999, "no state dict"),
  # Each list holds the one before it twice: 2^200 when walked or printed.
  "laughs": (
    b"]q\x00"
    + b"".join(
      b"](h"
      + bytes([i, i + 1])[:1]
      + b"h"
      + bytes([i])
      + b"eq"
      + bytes([i + 1])
      for i in range(200)
    ),
    "no state dict",
  ),
  "laughs as a storage": (
    b"]q\x00"
    + b"".join(
      b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
      for i in range(200)
    )
    + b"Q",
    "no state dict",
  ),
  "memo": (b"]r\xff\xff\xff\x7f", "no state dict"),
  # Keys that have one hash make a dict's every look-up slow.
  "one hash": (
    b"}("
    + b"".join(
      b"\x8a\x10" + ((2**61 - 1) * (2**60 + i)).to_bytes(16, "little") + b"N"
      for i in range(20_000)
    )
    + b"u",
    "no state dict",
  ),
  # A hash of this key would overflow the stack of the interpreter itself.
  "deep key": (b"}(" + b")" + b"\x85" * 50_000 + b"Nu", "no state dict"),
  "long text": (b"cos\n" + b"x" * 2**20 + b"\n", "calls for os.x"),
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles_that_swell(tmp_path, monkeypatch, what):
  monkeypatch.setattr(inert_pickle, "_MAX_STEPS", 110_000)
  body, match = PICKLES[what]
  path = tmp_path / "x.pth"
  refused(write_entries(path, {"x/data.pkl": PROTO + body + b"."}), match)


def test_one_storage_copied_for_many_names(tmp_path):
  """Each tensor starts an element later: together a thousand times the file."""
  size, count = 100_000, 1000
  parts = []
  for i in range(count):
    parts += [
      torch_writer._text(f"t{i}"),
      b"ctorch._utils\n_rebuild_tensor_v2\n((",
      torch_writer._text("storage") + b"ctorch\nFloatStorage\n",
      torch_writer._text("0") + torch_writer._text("cpu"),
      torch_writer._integer(size) + b"tQ" + torch_writer._integer(i),
      b"(" + torch_writer._integer(size - count) + b"t(K\x01t",
      b"\x89}tR",
    ]
  data = PROTO + b"}(" + b"".join(parts) + b"u."
  entries = {"x/data.pkl": data, "x/data/0": bytes(4 * size)}
  refused(write_entries(tmp_path / "x.pth", entries), "its tensors take")


def test_tied_weights_are_one_array(tmp_path):
  path = tmp_path / "x.pth"
  torch_writer.save(path, {"a": TENSORS["a.weight"], "b": TENSORS["a.weight"]})
  entries = entries_of(path)
  pickled = entries["archive/data.pkl"].replace(
    torch_writer._text("1"), torch_writer._text("0")
  )
  del entries["archive/data/1"]
  write_entries(path, entries | {"archive/data.pkl": pickled})
  found = torch_pickle.load(path)
  np.testing.assert_array_equal(found["b"], TENSORS["a.weight"])
  assert found["a"] is found["b"]


@pytest.mark.parametrize("count", [-1, 2**40, 601])
def test_sizes_in_the_older_stream(tmp_path, originals, count):
  path = tmp_path / "x.pth"
  stream = originals[1]
  place = stream.index(struct.pack("<q", 600))
  path.write_bytes(
    stream[:place] + struct.pack("<q", count) + stream[place + 8 :]
  )
  refused(path, "cut off|dtype")


def test_the_older_stream_is_read(tmp_path, originals):
  path = tmp_path / "x.pth"
  path.write_bytes(originals[1])
  for name, array in torch_pickle.load(path).items():
    np.testing.assert_array_equal(array, TENSORS[name])
