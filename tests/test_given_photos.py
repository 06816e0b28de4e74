"""The photos that arguments of `predict` and `explain` mean, and messages about others."""

import glob
import io
import os

import pytest

from aftrans_jax.data.decoding.decode import read_photo
from aftrans_jax.data.decoding.formats import HEIC_REMEDY
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.photos import find


def plant(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def closed(monkeypatch, name):
    """Lets no folder of that name be read, as permissions do for all but root."""
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_folder_that_cannot_be_read_costs_no_photo_beside_it(tmp_path, monkeypatch, capsys):
    plant(tmp_path, "a/x.jpg", "a/no/y.jpg", "b/z.jpg", "no/w.jpg")
    closed(monkeypatch, "no")
    assert find([str(tmp_path)]) == ([f"{tmp_path}/a/x.jpg", f"{tmp_path}/b/z.jpg"], 2)
    assert capsys.readouterr().err.splitlines() == [
        f"error: the folder or link {f'{tmp_path}/{name}/'!r} cannot be read: give yourself the "
        "permission to, attach the disk that a link leads to, or move it elsewhere"
        for name in ("a/no", "no")
    ]
    with pytest.raises(ValueError, match="there are no images"):
        find([f"{tmp_path}/a/no"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: the folder or link '{tmp_path}/a/no' cannot be read")


def test_what_a_folder_holds_besides_photos_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aftrans_jax.data.sets.files.HEIC", False)
    monkeypatch.setattr("aftrans_jax.data.sets.files.photo_suffixes", lambda: {".jpg"})
    plant(tmp_path, "a/1.jpg", "a/2.heic", "a/3.jxl", "a/4", "a/@eaDir/x.jpg", "b/5.heic")
    assert find([f"{tmp_path}/a", f"{tmp_path}/?"]) == ([f"{tmp_path}/a/1.jpg"], 0)
    remedy = f" {HEIC_REMEDY}."
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"note: HEIC photos left out (2): {tmp_path}/a/2.heic, {tmp_path}/b/5.heic.{remedy}",
        f"note: files left out whose suffix is no photo's (2): {tmp_path}/a/3.jxl, {tmp_path}/a/4.",
        f"note: hidden files and folders of other programs left out (1): {tmp_path}/a/@eaDir.",
    ]
    with pytest.raises(ValueError, match="there are no images"):
        find([f"{tmp_path}/b"])
    assert capsys.readouterr().err.splitlines() == [
        f"error: '{tmp_path}/b' holds or matches no images",
        f"note: HEIC photos left out (1): {tmp_path}/b/5.heic.{remedy}",
    ]
    assert "pip install pillow-heif" in remedy


@pytest.mark.parametrize("pattern", ["**/*.jpg", "*/**/*.jpg", "a/*", "*", "a/**", "[a]/**/*.jpg"])
@pytest.mark.parametrize("root", ["nas", "nas/@eaDir", "thumbs"])
def test_globs_leave_out_what_folders_do(tmp_path, monkeypatch, capsys, root, pattern):
    monkeypatch.chdir(tmp_path)
    plant(tmp_path / root, "a/1.jpg", "a/@eaDir/1.jpg/THUMB.jpg", "a/~$2.jpg", "a/thumbs/1.jpg")
    assert find([f"{root}/{pattern}"]) == ([f"{root}/a/1.jpg"], 0)
    note = "note: hidden files and folders of other programs left out ("
    assert note in capsys.readouterr().err
    for given, shown in ((f".//{root}//", f"./{root}"), (tmp_path / root, tmp_path / root)):
        assert find([f"{given}/{pattern}"]) == ([f"{shown}/a/1.jpg"], 0)


def test_globs_find_what_they_name_and_classes_named_as_helpers(tmp_path, monkeypatch):
    monkeypatch.chdir(plant(tmp_path, "a/@eaDir/1.jpg", "thumbs/2.jpg", "fist/3.jpg"))
    assert find(["*/@eaDir/*"])[0] == ["a/@eaDir/1.jpg"]
    assert find(["@eaDir/*", "**/*.jpg"]) == (["fist/3.jpg", "thumbs/2.jpg"], 1)
    assert find(["t*/*"])[0] == ["thumbs/2.jpg"]


def test_what_a_glob_matches_in_two_ways_was_not_given_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(plant(tmp_path, "a/b/1.jpg", "2.jpg"))
    assert find(["**/**/*.jpg"]) == (["2.jpg", "a/b/1.jpg"], 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["~nosuchuser.jpg", "$HOME.jpg"])
def test_a_file_is_taken_by_its_name_before_a_shell_s_signs_are(tmp_path, monkeypatch, name):
    monkeypatch.chdir(plant(tmp_path, name))
    assert find([name]) == ([name], 0)


@pytest.mark.parametrize("pattern", ["**/*.jpg", "**", "*", "a*/**/*.jpg", "*/**", "**/a/**/*.jpg"])
def test_globs_follow_the_links_that_folders_do(tmp_path, monkeypatch, pattern):
    """Not those to a folder that contains them, by one way or two; others are."""
    monkeypatch.chdir(plant(tmp_path, "set/a/1.jpg", "set/a/b/2.jpg", "beside/3.jpg"))
    for path, goal in (("set/a/up", ".."), ("set/a/here", "."), ("set/a/beside", "../../beside")):
        os.symlink(goal, path)
    os.symlink("../set", "beside/back")
    os.symlink("itself", "itself")
    wanted = ["set/a/1.jpg", "set/a/b/2.jpg", "set/a/beside/3.jpg"]
    assert find(["set"]) == (wanted, 0)
    with pytest.raises(ValueError, match="no images"):
        find(["itself/*.jpg"])
    found, problems = find([f"set/{pattern}"])
    assert (sorted(found), problems) == (wanted, 0)


@pytest.mark.parametrize(
    "pattern",
    [
        *("*/", "**/", "*/b/*", "**/b", "?/[!b]*", "**/.h/*", "b/*", "**", "a/**"),
        *("*/../b/3.jpg", "*/./*.jpg", "**/b/../*.jpg"),
    ],
)
def test_globs_match_what_those_of_python_do(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(plant(tmp_path, "a/b/1.jpg", "a/2.jpg", "b/3.jpg", "b/[c]/4.jpg", ".h/5.jpg"))
    wanted = find([path.rstrip("/") for path in glob.glob(pattern, recursive=True)])[0]
    found, num_problems = find([pattern])
    assert set(map(os.path.normpath, found)) == set(map(os.path.normpath, wanted))
    assert num_problems == 0


@pytest.mark.parametrize("lines", [b"", b"\n\n", b" \n\t\r\n"])
def test_standard_input_without_a_line_is_said(monkeypatch, capsys, lines):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    with pytest.raises(ValueError, match="there are no images"):
        find(["-"])
    assert capsys.readouterr().err == (
        "error: standard input lists no images: expected their paths, one a line\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_on_standard_input_may_come_from_a_spreadsheet(tmp_path, monkeypatch, encoding, end):
    monkeypatch.chdir(plant(tmp_path, "é.jpg", "b c.jpg"))
    lines = end.join(["é.jpg", "  ", "b c.jpg", ""]).encode(encoding)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert find(["-"]) == (["é.jpg", "b c.jpg"], 0)


def test_a_list_on_standard_input_may_have_zero_bytes_between_names(tmp_path, monkeypatch):
    """As from `find -print0`, where names may hold line ends."""
    names = ["a.jpg", "b\nc.jpg", "d\r"]
    monkeypatch.chdir(plant(tmp_path, *names))
    for end in ("", "\0"):
        text = ("\0".join(names) + end).encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert find(["-"]) == (names, 0)


def test_a_damaged_list_on_standard_input_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfea\0\n")))
    with pytest.raises(ValueError, match="there are no images"):
        find(["-"])
    assert "error: standard input is no list in UTF-8 or UTF-16: " in capsys.readouterr().err


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    plant(tmp_path, *(f"{name}/{n}.jpg" for name in "ab" for n in "xyz"), "c/a.txt")
    for name in ("a/p.jpg", "b/p.jpg"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"2 of 8 images .* first: .*/p\.jpg"):
        photo_dataset(read_folder(tmp_path, evaluates=True))
    paths, num_problems = find([str(tmp_path)])
    assert (len(paths), num_problems) == (8, 0)
    for path in (tmp_path / "a", tmp_path / "a" / "p.jpg", "/dev/zero"):
        with pytest.raises(ValueError, match=f"'{path}' is no regular file: expected an image"):
            read_photo(path)
