"""Files in a directory before a run writes there: its own, the user's, or of another kind."""

import os
import re
import shutil
from pathlib import Path

import pytest
from experiments import tiny_config
from places import ROOT

from aftrans_jax.json_files import write_json
from aftrans_jax.workdir.contents import (
    FILES,
    FOLDERS,
    SCORES,
    check_contents,
    check_output,
    forget_earlier,
)

EXPORTED = {"trunk.npz", "aftrans.npz", "aftrans.stablehlo", "aftrans.onnx"}


def put(workdir: Path, name: str, content: str = "mine") -> Path:
    path = workdir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_documentation_has_every_name():
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    table = text.partition("| in the directory |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    told = {name.rstrip("/") for row in rows for name in re.findall(r"`(.*?)`", row)}
    scores = {pattern.replace("*", "<name>") for pattern in SCORES}
    assert told - EXPORTED == {*FOLDERS, *FILES, *scores} - {"report", "checkpoints/scores.json"}


def test_a_run_writes_no_other_name(trained_run):
    files = {path.relative_to(trained_run) for path in contents(trained_run)}
    written = {path.as_posix() for path in files if path.parts[0] not in FOLDERS}
    assert {"config.json", "predictions.csv", ".lock"} <= written <= set(FILES)
    assert (trained_run / "checkpoints" / "scores.json").is_file()


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_what_is_of_another_kind_is_named(name, tmp_path):
    check_contents(tmp_path / "absent")
    path = tmp_path / name
    if name in FOLDERS:
        path.symlink_to("gone")
        message = f"{path} is no folder: expected one, which a run writes there. Move it elsewhere"
    else:
        path.mkdir(parents=True)
        message = f"{path} is a folder: expected a file, which a run writes there"
    with pytest.raises(OSError, match=f"^{re.escape(message)}"):
        check_contents(tmp_path)


OWN = [name for name in FILES if name not in (".lock", "error.log")]
OWN += ["eval-mine.json", "eval-a.predictions.csv", "tensorboard/events"]


@pytest.mark.parametrize("name", OWN)
def test_a_file_of_the_user_s_is_neither_replaced_nor_removed(name, tmp_path):
    put(tmp_path, name)
    message = rf"has no record .*: {re.escape(name)}\. Choose .* --workdir={tmp_path}/run$"
    with pytest.raises(ValueError, match=message):
        check_contents(tmp_path)


def test_other_files_stay_beside_a_run(tmp_path):
    for name in ("error.log", "notes.txt", "evaluation.json", "report/a.html", "checkpoints/a.pt"):
        put(tmp_path, name)  # the log may be of a start that failed before there was a record
    (tmp_path / "tensorboard").mkdir()
    check_contents(tmp_path)


@pytest.mark.parametrize("record", [".lock", "config.json", "checkpoints/3/state"])
def test_with_a_record_its_files_may_be_replaced(record, tmp_path):
    for name in ("metrics.jsonl", "eval-test.json", "config.json"):
        put(tmp_path, name, "{")
    with pytest.raises(ValueError, match="no record of a run"):
        check_contents(tmp_path)
    put(tmp_path, record)
    if record == "config.json":
        write_json(tmp_path / record, tiny_config().to_dict())
    check_contents(tmp_path)


def test_of_a_link_only_the_link_is_removed(tmp_path):
    kept = [put(tmp_path / "disk", name) for name in ("events", "metrics.jsonl")]
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "tensorboard").symlink_to(tmp_path / "disk")
    (workdir / "metrics.jsonl").symlink_to(kept[1])
    forget_earlier(workdir)
    assert list(workdir.iterdir()) == []
    assert all(path.is_file() for path in kept)


def test_what_a_new_run_would_go_on_with_is_removed_and_what_it_writes_anew_stays(tmp_path):
    for name in (*FILES, "tensorboard/events", "eval-a.json", "eval-a.predictions.csv", "mine.txt"):
        put(tmp_path, name)
    before = {path.relative_to(tmp_path).as_posix() for path in contents(tmp_path)}
    forget_earlier(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in contents(tmp_path)}
    logs = {"commands.txt", "metrics.jsonl", "skipped_images.json", "tensorboard/events"}
    assert before - left == logs | {"eval-a.json", "eval-a.predictions.csv"}


def test_another_program_s_record_is_none(tmp_path):
    (tmp_path / "config.json").write_text('{"train": {"lr": 1}, "model": "x"}')
    check_output(tmp_path / "predictions.csv", "--out=predictions.csv")
    with pytest.raises(ValueError, match=r"has no record of a run, but .*: config\.json\. Ch"):
        check_contents(tmp_path)


def test_no_file_of_a_run_is_written_by_another_command(trained_run, tmp_path):
    run, link = shutil.copytree(trained_run, tmp_path / "run"), tmp_path / "link"
    link.symlink_to(run)
    (run / "eval-b.predictions.csv").touch()
    for name in ("predictions.csv", "report/index.html", "metrics.jsonl", "eval-b.predictions.csv"):
        for place in (run / name, link / name, Path(os.path.relpath(run / name))):
            with pytest.raises(
                ValueError, match=f"^--out=x: {name} is a file of the run in {run}: "
            ):
                check_output(place, "--out=x")
    for place in (run / "mine.csv", run / "report" / "mine.html", tmp_path / "predictions.csv"):
        check_output(place, "--out=x")
