"""Whatever fails within a command is one line with a remedy; paths are written as in a shell."""

import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from places import ROOT
from tqdm import tqdm

from aftrans_jax import convert, export
from aftrans_jax.command import one_line_errors, show
from aftrans_jax.paths import check_place, expand


def said(
    error: BaseException, folder: Path | None = None, has_begun: bool = True
) -> str | int | None:
    errors = one_line_errors(lambda: folder, has_begun=lambda: has_begun)
    with pytest.raises(SystemExit) as caught, errors:
        raise error
    return caught.value.code


def test_what_works_is_left_alone(tmp_path):
    with one_line_errors(lambda: tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [print, show, tqdm.write])
def test_characters_that_the_encoding_lacks_become_escapes(monkeypatch, write):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    with one_line_errors():
        write("é \N{EN DASH}")
    stream.seek(0)
    assert stream.buffer.read() == b"\xe9 \\u2013\n"


def test_streams_that_are_closed_are_empty_and_not_read():
    code = """if True:
        import os, sys
        from aftrans_jax.command import one_line_errors, say, show
        with one_line_errors():
            assert [os.path.realpath(f"/proc/self/fd/{n}") for n in range(3)] == [os.devnull] * 3
            assert sys.stdin.buffer.read() == b""
            assert not sys.stderr.isatty()
            say("nothing"), show("nothing"), sys.stdout.flush()
            raise SystemExit(7)
    """
    shell = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", shell, sys.executable, code], check=False, cwd=ROOT)
    assert done.returncode == 7


def test_errors_that_speak_for_themselves_are_said_as_they_are():
    assert (
        said(ValueError("data.dir='x' is empty: set it")) == "error: data.dir='x' is empty: set it"
    )
    assert said(OSError(28, "No space left on device", "/x")).endswith(
        "device: '/x'. Make room, or choose another place"
    )


def test_others_are_named_by_their_type():
    assert said(KeyError("step")) == "error: KeyError: 'step'"
    assert said(RuntimeError()) == "error: RuntimeError"
    assert said(AssertionError()) == "error: AssertionError"


def test_a_message_of_several_lines_is_one():
    assert said(ValueError("a\nb\n")) == "error: a b"


def test_a_missing_package_says_how_to_install():
    assert "pip install -r requirements.txt" in str(
        said(ModuleNotFoundError("No module named 'x'"))
    )


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("RESOURCE_EXHAUSTED: out of memory", "memory is full: lower eval.batch_size, take a"),
        ("Unable to initialize backend 'cuda': no GPU", "JAX_PLATFORMS=cpu"),
        ("Unknown backend tpu", "JAX_PLATFORMS=cpu"),
    ],
)
def test_what_jax_says_gets_a_remedy(text, remedy):
    assert remedy in str(said(jax.errors.JaxRuntimeError(text)))


@pytest.mark.parametrize("platform", ["cuda", "rocm"])
def test_a_device_that_is_not_there_is_said_whatever_jax_raises(platform):
    code = "from aftrans_jax.command import one_line_errors\nwith one_line_errors():\n    "
    code += "import jax; jax.devices(); raise SystemExit('error: JAX_PLATFORMS=cpu')"  # it is there
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "JAX_PLATFORMS=cpu" in done.stderr
    assert "AssertionError" not in done.stderr


def test_where_there_are_no_locks_nothing_is_to_be_installed():
    error = said(ImportError("No module named 'fcntl'", name="fcntl"))
    assert error == "error: files cannot be locked here: on Windows use WSL (https://aka.ms/wsl)"
    assert "pip install" in str(said(ImportError("No module named 'clu'", name="clu")))


def test_the_traceback_goes_to_a_file(tmp_path):
    (tmp_path / "run").mkdir()
    code = said(ValueError("why"), tmp_path / "run")
    assert code == f"error: why\n(traceback in {tmp_path / 'run' / 'error.log'})"
    assert "ValueError: why" in (tmp_path / "run" / "error.log").read_text()


def test_what_was_refused_leaves_no_traceback_but_a_fault_of_the_program_does(tmp_path):
    assert said(ValueError("why"), tmp_path / "run", has_begun=False) == "error: why"
    assert not (tmp_path / "run").exists()
    assert said(ValueError("why"), tmp_path, has_begun=False) == "error: why"
    assert not (tmp_path / "error.log").exists()
    assert "(traceback in " in str(said(KeyError("why"), tmp_path / "run", has_begun=False))
    assert "KeyError: 'why'" in (tmp_path / "run" / "error.log").read_text()


def test_who_is_kept_out_by_a_lock_writes_nothing_there(tmp_path):
    assert said(BlockingIOError("in use"), tmp_path) == "error: in use"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_the_file_alone(tmp_path):
    (tmp_path / "file").touch()
    assert said(ValueError("why"), tmp_path / "file") == "error: why"
    assert said(ValueError("why"), Path("/proc/nosuch")) == "error: why"


def test_a_current_folder_that_is_gone_is_said(tmp_path, monkeypatch):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as caught, one_line_errors():
        Path("run").absolute()
    assert caught.value.code == (
        "error: the folder that this was started in is gone: change to another one"
    )


def test_ctrl_c_is_no_error(capsys):
    assert said(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_leaving_keeps_its_status():
    assert said(SystemExit(3)) == 3


def test_home_and_variables_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PHOTOS", "/mnt/photos")
    assert expand("~/runs/x") == "/home/me/runs/x"
    assert expand("$PHOTOS/cub") == expand("${PHOTOS}/cub") == "/mnt/photos/cub"
    assert expand("runs/~x") == "runs/~x"
    assert expand("") == ""


def test_what_cannot_be_expanded_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NOSUCH", raising=False)
    with pytest.raises(ValueError, match=r"'\$NOSUCH/x' names a variable that is not set"):
        expand("$NOSUCH/x")
    with pytest.raises(ValueError, match=r"names a variable that is not set"):
        expand("$HOME/${NOSUCH}/x")
    with pytest.raises(ValueError, match=r"'~nosuchuser/x' names a home directory that is not"):
        expand("~nosuchuser/x")
    for address in ("gs://bucket/run", "s3://bucket/run", "https://host/x.npz", "file:///x"):
        with pytest.raises(ValueError, match=rf"^'{address}' is an address, .*: download it, or "):
            expand(address)
    assert expand("gs:/x") == "gs:/x"
    monkeypatch.chdir(tmp_path)
    Path("a$b").touch()  # a file may be called so
    assert expand("a$b") == "a$b"


def test_a_folder_that_cannot_be_entered_cannot_be_written(tmp_path, monkeypatch):
    """Permissions are faked, since root, who may run this, has all of them."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.X_OK)
    said = f"^--out=x.html: {tmp_path} cannot be written: choose another --out$"
    with pytest.raises(PermissionError, match=said):
        check_place(tmp_path, "--out=x.html")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )


def test_a_reader_that_goes_away_leaves_no_traceback():
    code = "python -m aftrans_jax.main --help | head -1"
    code = code.replace("python", sys.executable, 1)
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == ""


def test_help_explains_every_key_and_imports_no_jax():
    done = command("aftrans_jax.main", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "\n  sacm.keep_ratio=0.2 " in done.stdout
    assert "\n  --workdir " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ml_collections" in imported  # so the list is one
    assert not imported & {"jax", "flax", "orbax", "grain"}


@pytest.mark.parametrize(
    ("command", "source"), [(export, "--workdir=absent"), (convert, "absent.npz")]
)
def test_a_folder_in_the_place_of_a_file_is_said_before_anything_is_read(
    tmp_path, monkeypatch, command, source
):
    (place := tmp_path / "x.npz").mkdir()
    monkeypatch.setattr(sys, "argv", ["command", source, f"--out={place}"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    expected = f"error: --out={place}: {place} is a folder: expected the name of a file"
    assert caught.value.code == expected
    assert os.listdir(tmp_path) == ["x.npz"]
