"""Files are whole or not there: at the same moment, cut short, and where there are no locks."""

import errno
import fcntl
import os
import stat
import threading
import zipfile

import numpy as np
import pytest

from aftrans_jax.files import atomic_write, write_bytes
from aftrans_jax.locks import open_locked
from aftrans_jax.weights.npz import record_of, save_arrays


def at_once(count, call):
    """What calls in threads of their own raise; locks are of open files, not of processes."""
    errors = []

    def caught(number):
        try:
            call(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_one_file_may_be_written_by_several_at_once(tmp_path):
    path, contents = tmp_path / "x.json", [bytes([number]) * 200_000 for number in range(4)]

    def write(number):
        for _ in range(20):
            write_bytes(path, contents[number])
            assert path.read_bytes() in contents

    assert at_once(4, write) == []
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "x").symlink_to(tmp_path / "y")
    write_bytes(tmp_path / "x", b"through")
    assert (tmp_path / "x").is_symlink()
    assert (tmp_path / "y").read_bytes() == b"through"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_cut_short_leaves_the_earlier_file_alone(tmp_path, error):
    write_bytes(tmp_path / "x.npz", b"earlier")

    def cut_short():
        with atomic_write(tmp_path / "x.npz") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        cut_short()
    assert os.listdir(tmp_path) == ["x.npz"]
    assert (tmp_path / "x.npz").read_bytes() == b"earlier"


def test_arrays_are_cut_short_in_the_same_way(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.npz'"):
        save_arrays(tmp_path / "x.npz", {"a": np.ones(3)})
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_is_no_part_of_the_next_file(tmp_path):
    (tmp_path / "x.npz.tmp").write_bytes(b"left over, and longer than what comes" * 99)
    save_arrays(tmp_path / "x.npz", {"a": np.arange(3)}, b"record")
    assert record_of(tmp_path / "x.npz") == b"record"
    with np.load(tmp_path / "x.npz") as arrays, zipfile.ZipFile(tmp_path / "x.npz") as file:
        assert arrays["a"].tolist() == [0, 1, 2]
        assert file.testzip() is None
    (tmp_path / "x.csv.tmp").write_bytes(b"left over, and longer than what comes")
    write_bytes(tmp_path / "x.csv", b"file,answer\n")
    assert (tmp_path / "x.csv").read_bytes() == b"file,answer\n"
    assert sorted(os.listdir(tmp_path)) == ["x.csv", "x.npz"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664)])
def test_others_may_read_and_write_a_file_as_the_user_s_mask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_a_file_has_one_owner(tmp_path):
    with open_locked(tmp_path / "x", wait=False) as file:
        file.write(b"kept")
        with pytest.raises(BlockingIOError):
            open_locked(tmp_path / "x", wait=False)
    with open_locked(tmp_path / "x", wait=False) as file:
        assert file.read() == b"kept"


def test_who_waited_gets_the_file_that_has_the_name(tmp_path):
    found = []
    first = open_locked(tmp_path / "x", wait=True)
    waiting = threading.Thread(target=lambda: found.append(open_locked(tmp_path / "x", wait=True)))
    waiting.start()
    waiting.join(0.1)
    assert not found
    first.write(b"renamed")
    (tmp_path / "x").rename(tmp_path / "y")
    first.close()
    waiting.join()
    with found[0] as file:
        assert file.read() == b""
        assert os.path.samestat(os.fstat(file.fileno()), (tmp_path / "x").stat())


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without)
    write_bytes(tmp_path / "x", b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"
