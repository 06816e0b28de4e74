"""Event files, read back by TensorBoard."""

import errno
import math
import sys

import events
import numpy as np
import pytest

from aftrans_jax.config import base_config
from aftrans_jax.settings import flat
from aftrans_jax.training.events import EventFile
from aftrans_jax.training.reporting import MetricsLog


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_reads_scalars_settings_and_images(tmp_path):
    settings = flat(base_config().to_dict()) | {
        "data.mean": [0.5, 0.25, 0.5],
        "data.dir": "photos\udcff",  # a folder's name that is not UTF-8
    }
    image = np.full((2, 3, 3), 77, np.uint8)
    log = MetricsLog(tmp_path, tensorboard=True)
    log.write_settings(settings)
    log.write(3, "train", {"loss": 2.5, "images_per_second": math.nan})
    log.write(6, "train", {"loss": 1.5})
    log.write(6, "test", {"loss": math.nan, "box_area_mean": 0.5, "box_iou_mean": math.nan})
    log.write_images(6, {"test/a b(1)\udcff.jpg": lambda: image})
    log.close()
    found = events.accumulated(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        "train/loss",
        "train/images_per_second",
        "test/loss",  # of a run that diverged
        "test/box_area_mean",
    }
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(3, 2.5), (6, 1.5)]
    written = events.settings(found)
    assert written.keys() == settings.keys()
    assert written["train.steps"].number_value == settings["train.steps"]
    assert written["model.name"].string_value == settings["model.name"]
    assert written["report.tensorboard"].bool_value is True
    assert written["data.mean"].string_value == "[0.5, 0.25, 0.5]"
    assert written["data.dir"].string_value == "photos\\udcff"
    ((tag, (step, pixels)),) = events.pictures(found).items()
    assert (tag, step) == ("test/a b(1)\\udcff.jpg", 6)
    np.testing.assert_allclose(pixels, image, atol=2)  # JPEG


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_a_second_start_writes_a_second_file(tmp_path, monkeypatch):
    for step in (1, 2):
        monkeypatch.setattr("os.getpid", lambda step=step: step)
        file = EventFile(tmp_path)
        file.write_scalars(step, {"a": 1.0})
        file.close()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
    found = events.accumulated(tmp_path.parent, tmp_path.name).Scalars("a")
    assert [event.step for event in found] == [1, 2]


def test_without_its_package_tensorboard_is_off_and_a_line_says_why(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("tensorboardX")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "aftrans_jax.training.events")
    MetricsLog(tmp_path, tensorboard=False)
    assert capsys.readouterr().out == ""
    MetricsLog(tmp_path, tensorboard=True).write(1, "train", {"loss": 2.5})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("TensorBoard is off: ")
    assert line.endswith("pip install tensorboardX")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_log_to_which_nothing_is_written_leaves_no_file(tmp_path):
    MetricsLog(tmp_path, tensorboard=True).close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    file = EventFile(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.flush", full)
    with pytest.raises(OSError, match=str(tmp_path)):
        file.write_scalars(1, {"a": 1.0})
    with pytest.raises(OSError, match=str(tmp_path)):
        file.close()
    monkeypatch.undo()
    file.close()
