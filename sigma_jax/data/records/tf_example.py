"""tf.train.Example without TensorFlow, and without copying what it holds.

The parser of protobuf copies every value; here bytes are views of the record.
Messages: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto;
their coding: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator, Mapping, Sequence

Value = Sequence[bytes] | Sequence[int]
# Keys of fields, which are number << 3 | type; type 2 is a length and bytes.
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A


def encode(features: Mapping[str, Value]) -> bytes:
  """Serializes lists of bytes and of integers, sorted by name."""
  entries = b"".join(
    _field(
      _FIRST,
      _field(_FIRST, name.encode()) + _field(_SECOND, _feature(values)),
    )
    for name, values in sorted(features.items())
  )
  return _field(_FIRST, entries)


def decode(data: memoryview) -> dict[str, list[memoryview] | list[int]]:
  """The lists of an Example that holds bytes and integers.

  Raises:
    ValueError: it holds anything else, or is damaged.
  """
  features = {}
  for _, entries in _fields(data):
    for _, entry in _fields(entries):
      (_, name), (_, feature) = _fields(entry)
      ((kind, values),) = _fields(feature)
      if kind == _FIRST:
        features[bytes(name).decode()] = [value for _, value in _fields(values)]
      elif kind == _THIRD:
        packed = [
          number for _, part in _fields(values) for number in _all(part)
        ]
        features[bytes(name).decode()] = packed
      else:
        raise ValueError("an Example with floating-point values")
  return features


def _feature(values: Value) -> bytes:
  if isinstance(values[0], bytes):
    return _field(_FIRST, b"".join(_field(_FIRST, value) for value in values))
  packed = b"".join(_varint(value) for value in values)
  return _field(_THIRD, _field(_FIRST, packed))


def _field(key: int, data: bytes) -> bytes:
  return bytes((key,)) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
  out = bytearray()
  number &= (1 << 64) - 1  # negative ones: two's complement of 64 bits
  while number > 0x7F:
    out.append(number & 0x7F | 0x80)
    number >>= 7
  out.append(number)
  return bytes(out)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
  """Keys and contents of fields that are a length and bytes."""
  place = 0
  while place < len(data):
    key = data[place]
    if key not in (_FIRST, _SECOND, _THIRD):
      raise ValueError("no Example")
    size, place = _number(data, place + 1)
    if place + size > len(data):
      raise ValueError("an Example that is not complete")
    yield key, data[place : place + size]
    place += size


def _all(data: memoryview) -> Iterator[int]:
  place = 0
  while place < len(data):
    number, place = _number(data, place)
    yield number - (1 << 64) if number >> 63 else number


def _number(data: memoryview, place: int) -> tuple[int, int]:
  """A varint and where it ends."""
  number = shift = 0
  while place < len(data):
    byte = data[place]
    place += 1
    number |= (byte & 0x7F) << shift
    if byte < 0x80:
      return number, place
    shift += 7
  raise ValueError("an Example that is not complete")
