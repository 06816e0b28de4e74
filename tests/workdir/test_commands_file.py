"""commands.txt as it is written and read again."""

import calendar
import time

from aftrans_jax.workdir.record import note_command, read_commands


def test_starts_are_added_and_read_as_utf_8(tmp_path):
    assert read_commands(tmp_path) == []
    note_command(tmp_path, "python -m aftrans_jax.main --workdir=\N{GREEK SMALL LETTER ALPHA}")
    note_command(tmp_path, "second \udcff")  # of a file name that is not UTF-8
    first, second = read_commands(tmp_path)
    assert first.endswith(" UTC  python -m aftrans_jax.main --workdir=\N{GREEK SMALL LETTER ALPHA}")
    assert second.endswith(" UTC  second \N{REPLACEMENT CHARACTER}")


def test_the_time_is_of_the_zone_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC-9")  # nine hours ahead
    time.tzset()
    try:
        note_command(tmp_path, "x")
    finally:
        monkeypatch.undo()
        time.tzset()
    (line,) = read_commands(tmp_path)
    told = calendar.timegm(time.strptime(line, "%Y-%m-%d %H:%M:%S UTC  x"))
    assert abs(told - time.time()) < 600
