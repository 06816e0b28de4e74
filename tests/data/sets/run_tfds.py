"""tfds.zip is what tensorflow-datasets prepares now; CLU's writers have the methods of ours.

Both need TensorFlow, so no suite collects this: launch/test_versions.sh runs it.
"""

import inspect
import json

import pytest
from golden.make_tfds import CUB, FAKES, photos, prepare_cub, prepare_fakes

from aftrans_jax.data.sets.tfds import read_tfds


@pytest.fixture
def kept(unpacked):
    return unpacked / "tfds"


def text(record):
    """A record whose arrays are lists, and whose bytes are digits."""
    return json.dumps(record, default=lambda x: x.tolist() if hasattr(x, "tolist") else x.hex())


def assert_same(name, kept, prepared):
    """Every record, and the names of the classes."""
    ours, theirs = read_tfds(name, kept), read_tfds(name, prepared)
    assert ours.class_names == theirs.class_names
    for one, other in ((ours.train, theirs.train), (ours.test, theirs.test)):
        assert len(one) == len(other) > 0
        assert [text(one.record(x)) for x in range(len(one))] == [
            text(other.record(x)) for x in range(len(one))
        ]


def test_cub_is_prepared_by_the_script(kept, tmp_path):
    made = photos(lambda name, _: (kept / "photos" / name).read_bytes())
    said = prepare_cub(tmp_path, made)
    assert "12 training and 6 test images of 200 classes" in said
    assert f"--config.data.name=tfds:{CUB} --config.data.dir={tmp_path / 'data'}" in said
    assert_same(CUB, kept, tmp_path / "data")


@pytest.mark.skipif(not FAKES.is_dir(), reason=f"{FAKES} is absent")
def test_the_other_sets(kept, tmp_path):
    prepare_fakes(tmp_path)
    for name in ("stanford_dogs", "cars196", "i_naturalist2017"):
        assert_same(name, kept, tmp_path)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_the_methods_of_event_files_are_those_of_clu():
    from clu.metric_writers import MetricWriter

    from aftrans_jax.training.events import EventFile

    for name in ("write_scalars", "write_images", "write_hparams"):
        ours, theirs = (
            list(inspect.signature(getattr(kind, name)).parameters)
            for kind in (EventFile, MetricWriter)
        )
        assert ours == theirs
