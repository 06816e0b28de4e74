"""metrics.jsonl, JSON files and plain lines, as a reader finds them."""

import errno
import io
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from aftrans_jax.json_files import DamagedRecordError, read_json, write_json
from aftrans_jax.training.reporting import MetricsLog, Progress


def strict(text):
    """JSON as every other language reads it: no NaN, no Infinity."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def log(tmp_path):
    return MetricsLog(tmp_path, tensorboard=False)


def test_one_object_a_line_and_no_nan(log, tmp_path):
    log.write(1, "train", {"loss": 2.5, "images_per_second": float("nan")})
    log.write(1, "test", {"global_accuracy": 0.25, "test_loss": float("inf")})
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert strict(first) == {"step": 1, "split": "train", "loss": 2.5, "images_per_second": None}
    assert strict(second) == {
        "step": 1,
        "split": "test",
        "global_accuracy": 0.25,
        "test_loss": None,
    }


def test_without_tensorboard_no_image_is_drawn(log):
    log.write_settings({"seed": 1})
    log.write_images(1, {"a": lambda: pytest.fail("it was drawn")})


def test_history_is_empty_before_the_first_record(log):
    assert log.history() == []


def test_a_torn_line_costs_itself_alone(log, tmp_path):
    log.write(1, "train", {"loss": 3.0})
    log.write(2, "train", {"loss": 2.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])  # killed while it wrote
    log = MetricsLog(tmp_path, tensorboard=False)
    assert [record["loss"] for record in log.history()] == [3.0]
    log.write(2, "train", {"loss": 1.5})  # the resumed run
    log.write(3, "train", {"loss": 1.0})
    assert [record["loss"] for record in log.history()] == [3.0, 1.5, 1.0]


def test_a_damaged_line_costs_itself_alone(log, tmp_path):
    for step in range(1, 8):
        log.write(step, "train", {"loss": float(step)})
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    lines[1] = lines[1].replace(b"2.0", b"\xff.0")  # not UTF-8
    lines[2] = b"[]"
    lines[3] = b'{"split": "train", "step": "four"}'
    lines[4] = b'{"split": "train", "step": 5, "loss": "low"}'
    lines[5] = b"[" * 100_000  # deeper than Python goes
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert [record["step"] for record in MetricsLog(tmp_path, tensorboard=False).history()] == [
        1,
        7,
    ]


def test_what_became_null_is_nan_again(log):
    log.write(1, "train", {"loss": float("inf"), "skipped_steps": 2})
    (record,) = log.history()
    assert np.isnan(record.pop("loss"))
    assert record == {"step": 1, "skipped_steps": 2}


def test_history_holds_each_training_step_once_in_order(log):
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 2.0)):
        log.write(step, "train", {"loss": loss})
    log.write(4, "test", {"loss": 9.0})
    assert [(r["step"], r["loss"]) for r in log.history()] == [(1, 5.0), (2, 2.0), (3, 3.0)]
    assert log.history("test") == [{"step": 4, "loss": 9.0}]
    assert log.history("validation") == []


def test_write_json_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"a": float("nan"), "b": [1.5, float("-inf")], "c": {"d": (1, None)}})
    before = path.read_text()
    content = {"a": None, "b": [1.5, None], "c": {"d": [1, None]}}
    checksum = zlib.crc32(b'{"a": null, "b": [1.5, null], "c": {"d": [1, null]}}')
    assert strict(before) == content | {"checksum": checksum}
    assert read_json(path, lambda value: value == content, "it") == content
    with pytest.raises(TypeError):
        write_json(path, {"a": 1, "b": object()})

    def killed(source, target):
        raise OSError(errno.EIO, "killed before the rename")

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(OSError, match="killed"):
        write_json(path, {"a": 2})
    assert path.read_text() == before


def test_a_flipped_bit_of_a_record_is_found_or_does_not_matter(tmp_path):
    content = {"train": {"learning_rate": 0.01, "steps": 90}, "name": "Häher", "sizes": [1, 2]}
    path = tmp_path / "config.json"
    write_json(path, content)
    whole = path.read_bytes()
    own_name = range(whole.index(b'"checksum"'), whole.index(b'"checksum"') + len('"checksum"'))
    damage = []
    for index in set(range(len(whole))) - set(own_name):
        for bit in range(8):
            path.write_bytes(bytes(x ^ (i == index) << bit for i, x in enumerate(whole)))
            try:
                assert read_json(path, lambda _: True, "a configuration") == content
            except DamagedRecordError as error:
                damage.append(str(error))
    assert len(damage) > 8 * 100  # all that is not a space
    assert all(str(path) in line for line in damage)
    path.write_text('{"edited": 0.2, "checksum": 1}')
    with pytest.raises(
        DamagedRecordError, match=r'changed it yourself, delete its line "checksum"'
    ):
        read_json(path, lambda _: True, "a configuration")
    path.write_text('{"edited": 0.2}')
    assert read_json(path, lambda _: True, "a configuration") == {"edited": 0.2}


def test_what_is_not_known_is_not_shown(capsys):
    progress = Progress(40)
    progress.report(1, {"loss": 2.0, "accuracy": 0.5, "images_per_second": float("nan")})
    assert "images/s" not in capsys.readouterr().out


def test_losses_are_shown_by_term_where_there_are_several(capsys):
    progress = Progress(40)
    values = {"loss": 3.0, "accuracy": 0.5, "images_per_second": 9.0, "global_loss": 1.25}
    progress.report(1, values)
    assert "loss 3.000  accuracy" in capsys.readouterr().out
    progress.report(1, values | {"local_loss": 1.75})
    assert "loss 3.000 (global 1.250, local 1.750)  accuracy" in capsys.readouterr().out


def test_plain_lines_where_there_is_no_terminal(capsys):
    progress = Progress(40)
    progress.start(10)
    progress.advance()
    values = {"loss": 1.23456, "accuracy": 0.5, "images_per_second": 99.96}
    progress.report(20, values)
    progress.close()
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    assert line.startswith("step 20/40  loss 1.235  accuracy 50.0%  images/s 100.0  left 00:")
    assert "\r" not in line


def test_the_time_left_does_not_count_the_compilation(capsys, monkeypatch):
    seconds = iter([1000.0, 1008.0, 1010.0])  # after the first step, at two reports
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    progress, values = Progress(40), {"loss": 1.0, "accuracy": 0.5}
    progress.start(10)
    progress.advance()
    progress.report(11, values)
    progress.advance()
    progress.report(15, values)  # 4 steps took 8 s
    progress.report(20, values)  # 9 steps took 10 s
    lines = capsys.readouterr().out.splitlines()
    assert "left" not in lines[0]
    assert lines[1].endswith("left 00:50")
    assert lines[2].endswith("left 00:22")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_goes_on_where_the_run_was_resumed_and_lines_stay_above_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    progress = Progress(40)
    progress.start(10)
    progress.advance()
    progress.report(11, {"loss": 1.5, "accuracy": 0.5, "mfu": 0.4321})
    progress.say("a line")
    progress.close()
    bars = shown.getvalue().split("\r")
    assert "| 10/40 [" in bars[1]
    assert "| 11/40 [" in bars[-1]
    assert "loss=1.500, accuracy=50.0%, MFU=43.2%" in bars[-1]
    assert any(part.isspace() and len(part) > 50 for part in bars)  # it is taken away for the line
    assert capsys.readouterr().out == "a line\n"


def test_only_the_first_process_speaks(monkeypatch, capsys):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    progress = Progress(40)
    progress.start(10)
    progress.report(11, {"loss": 1.5})
    progress.say("a line")
    assert capsys.readouterr().out == shown.getvalue() == ""


def test_a_log_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = MetricsLog(tmp_path, tensorboard=False)
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=r"No space left on device: .*metrics\.jsonl"):
        log.write(1, "train", {"loss": 1.0})
