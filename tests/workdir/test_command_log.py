"""commands.txt as it is written and read again."""

from aftrans_jax.workdir.command_log import note_start, read_starts


def test_starts_are_added_and_read_as_utf_8(tmp_path):
    assert read_starts(tmp_path) == []
    note_start(tmp_path, "python -m aftrans_jax.main --workdir=\N{GREEK SMALL LETTER ALPHA}")
    note_start(tmp_path, "second \udcff")  # of a file name that is not UTF-8
    first, second = read_starts(tmp_path)
    assert first.endswith(" UTC  python -m aftrans_jax.main --workdir=\N{GREEK SMALL LETTER ALPHA}")
    assert second.endswith(" UTC  second \N{REPLACEMENT CHARACTER}")
