"""tests/slow.txt, which says what `bash launch/test.sh` leaves out."""

from tests.conftest import ROOT, _is_of, _slow_tests


def test_every_entry_is_a_file_or_a_test_of_it():
  listed = _slow_tests()
  assert listed
  for entry in listed:
    path, _, test = entry.partition("::")
    text = (ROOT / path).read_text()
    assert not test or f"def {test.split('[')[0]}(" in text, entry


def test_a_file_a_test_and_a_point_are_told_apart():
  listed = {"tests/test_a.py", "tests/test_b.py::test_c", "tests/b.py::d[1-x]"}
  assert _is_of("tests/test_a.py::test_any[2]", listed)
  assert _is_of("tests/test_b.py::test_c[3]", listed)
  assert _is_of("tests/b.py::d[1-x]", listed)
  assert not _is_of("tests/test_b.py::test_other", listed)
  assert not _is_of("tests/b.py::d[2-x]", listed)
