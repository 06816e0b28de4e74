"""Checkpoints under the accidents that happen to them, and runs that are cut and resumed."""

import json
import re
import shutil
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from experiments import fresh, train

from aftrans_jax.json_files import write_json
from aftrans_jax.run.evaluation import evaluate_run
from aftrans_jax.run.signals import Stopped, StopRequest
from aftrans_jax.training import checkpoint_reading
from aftrans_jax.training.checkpoint_reading import checksum, flat_arrays
from aftrans_jax.training.checkpoint_writing import check_path, check_room, writing
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.workdir.record import read_result


def tree(value, width=300):
    """Noise, since zeros would be compressed to a few bytes."""
    noise = np.random.default_rng(int(value)).normal(size=(width, 3))
    return {
        "kernel": jnp.asarray(noise, jnp.float32),
        "step": jnp.array(int(value), jnp.int32),
    }


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def written(directory, *scores, sound=()):
    """Checkpoints 1, 2, ... with the values 1, 2, ...; a score of None was not evaluated."""
    checkpoints = Checkpoints(directory, best_by="accuracy")
    for number, score in enumerate(scores, start=1):
        checkpoints.save(number, tree(number), sound=number in sound)
        if score is not None:
            checkpoints.scores.note(number, {"accuracy": score})
    checkpoints.close()
    return directory


def restored(directory, template=None, *, set_aside=True, said=None):
    say = (lambda line: None) if said is None else said.append
    checkpoints = Checkpoints(directory, best_by="accuracy", say=say)
    found = checkpoints.restore_latest(
        tree(0) if template is None else template, set_aside=set_aside
    )
    checkpoints.close()
    return found and found.state


def numbers(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "checkpoints"


def largest_file(folder):
    """The one that holds the arrays."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_byte(folder):
    path = largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.5, 0.9, 0.1, 0.2, 0.3), [2, 4, 5]),
        ((0.1, None, 0.9, None, None, None), [3, 5, 6]),
        ((None, None, None), [2, 3]),
        ((0.1, 0.2, 0.3), [2, 3]),
        ((0.5, float("nan"), 0.1, 0.2), [1, 3, 4]),
    ],
)
def test_the_best_and_the_last_two_are_kept(directory, scores, kept):
    assert numbers(written(directory, *scores)) == kept
    same(restored(directory), tree(len(scores)))


def test_nothing_to_restore_is_none(directory):
    assert restored(directory) is None


@pytest.mark.parametrize("name", ["a [b", "b] []", "*?", "{a}:~#%20 b", "é\n", "'\"$!"])
def test_paths_of_odd_names_are_written_and_read_again(tmp_path, name):
    check_path(tmp_path / name, "--workdir=x")
    same(restored(written(tmp_path / name / "checkpoints", None)), tree(1))


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("a [1]", "'[1]'"),
        ("[!a]", "'[!a]'"),
        ("**", "'**'"),
        ("a\\b", r"'\\'"),
        ("\udcff", r"'\udcff'"),
    ],
)
def test_paths_below_which_nothing_could_be_read_again_are_refused(tmp_path, name, sign):
    folder = tmp_path / name / "run"
    (tmp_path / "link").symlink_to(folder)
    for given in (folder, tmp_path / "link"):
        with pytest.raises(ValueError, match=rf"a path with {re.escape(sign)}: choose another -"):
            check_path(given, f"--workdir={given}")
    with pytest.raises((ValueError, OSError)):  # else orbax has learnt it, and this can go
        restored(written(folder / "checkpoints", None))


def test_a_run_whose_model_could_not_be_saved_is_not_called_finished(tmp_path, monkeypatch):
    """Orbax writes in the background, and raises what went wrong there to whoever waits for it."""
    save, waited = ocp.CheckpointManager.save, ocp.CheckpointManager.wait_until_finished
    lost = []

    def lose(manager, number, **arguments):
        save(manager, number, **arguments)
        waited(manager)
        shutil.rmtree(manager.directory / str(number))
        lost.append(number)

    def wait(manager):
        if lost:
            raise ValueError("OUT_OF_RANGE: File too large")
        waited(manager)

    with monkeypatch.context() as patched:
        patched.setattr(ocp.CheckpointManager, "save", lose)
        patched.setattr(ocp.CheckpointManager, "wait_until_finished", wait)
        with pytest.raises(OSError, match=r"no checkpoint can be written .* run the same command"):
            train(fresh(), tmp_path / "run")
    assert lost == [6]
    assert not (tmp_path / "run" / "result.json").exists()
    assert train(fresh(), tmp_path / "run")["step"] == 6
    assert numbers(tmp_path / "run" / "checkpoints") == [6]


def break_empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def break_torn(folder):
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[:7])


BREAKS = {"empty folder": break_empty, "flipped byte": flip_a_byte, "torn file": break_torn}


def everything(directory):
    """Every file below a directory with its content and time."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_damaged_newest_falls_back_and_is_set_aside(directory, kind):
    written(directory, 0.1, 0.2, 0.3)
    BREAKS[kind](directory / "3")
    said = []
    same(restored(directory, said=said), tree(2))
    assert said[0].startswith("checkpoint 3 is damaged (")
    assert said[0].endswith("): using 2")
    assert said[1] == f"checkpoint 3 was moved to {directory.parent / 'broken_checkpoints'}"
    assert numbers(directory) == [2]
    assert numbers(directory.parent / "broken_checkpoints") == [3]
    again = []
    same(restored(directory, said=again), tree(2))
    assert again == []
    checkpoints = Checkpoints(directory, best_by="accuracy")
    checkpoints.save(3, tree(33))  # its number is free again
    assert checkpoints.scores.of(3) is None  # and the score was of the one before
    checkpoints.close()
    same(restored(directory), tree(33))


@pytest.mark.parametrize("kind", BREAKS)
def test_a_reader_says_what_is_damaged_and_changes_nothing(directory, kind):
    written(directory, 0.1, 0.2, 0.3)
    BREAKS[kind](directory / "3")
    before, said = everything(directory), []
    same(restored(directory, set_aside=False, said=said), tree(2))
    (line,) = said
    assert line.startswith("checkpoint 3 is damaged (")
    assert everything(directory) == before
    assert [path.name for path in directory.parent.iterdir()] == ["checkpoints"]


def test_what_cannot_be_read_is_not_taken_for_damaged(directory, monkeypatch):
    written(directory, 0.1, 0.2)
    unreadable = largest_file(directory / "2")

    def refuse(path, *arguments, **options):
        if str(path) == str(unreadable):
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *arguments, **options)

    flip_a_byte(directory / "2")  # so that orbax fails
    monkeypatch.setattr(checkpoint_reading, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match="Permission denied"):
        restored(directory)
    assert numbers(directory) == [1, 2]


def test_one_that_vanishes_while_it_is_read_is_passed_over_for_the_newer(directory, monkeypatch):
    written(directory, 0.1, 0.2)
    decode, said = checkpoint_reading._decode, []

    def deleted_meanwhile(folder):
        if folder.name == "2":  # a training has written 3 and deleted 2
            shutil.copytree(directory / "1", directory / "3")
            shutil.rmtree(directory / "2")
            raise ValueError("NOT_FOUND")
        return decode(folder)

    monkeypatch.setattr(checkpoint_reading, "_decode", deleted_meanwhile)
    same(restored(directory, set_aside=False, said=said), tree(1))
    assert said == []
    assert numbers(directory) == [1, 3]


def test_every_process_reads_what_the_first_one_has_chosen(directory, monkeypatch):
    written(directory, 0.1, 0.2)
    monkeypatch.setattr(checkpoint_reading, "jax", SimpleNamespace(process_index=lambda: 1))
    for chosen, expected in ((1, tree(1)), (-1, None)):
        told = SimpleNamespace(broadcast_one_to_all=lambda _, chosen=chosen: np.int32(chosen))
        monkeypatch.setattr(checkpoint_reading, "multihost_utils", told)
        same(restored(directory, set_aside=False), expected)
    monkeypatch.setattr(told, "broadcast_one_to_all", lambda _: np.int32(3))
    with pytest.raises(
        ValueError, match=r"checkpoint 3 .*not for this one: .*same --workdir, on a"
    ):
        restored(directory, set_aside=False)


def test_a_process_that_reads_waits_for_no_other(directory, monkeypatch):
    """The others wait for what the first one finds."""
    written(directory, None)

    def meet(name):
        raise AssertionError(f"waits for other processes: {name}")

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("jax.experimental.multihost_utils.sync_global_devices", meet)
    assert checkpoint_reading.read_arrays(directory / "1").keys() == flat_arrays(tree(1)).keys()


def test_reading_an_absent_directory_creates_nothing(directory):
    assert restored(directory, set_aside=False) is None
    assert list(directory.parent.iterdir()) == []


def test_another_checksum_is_noticed(directory):
    written(directory, 0.1, 0.2)
    path = directory / "2" / "meta" / "metadata"
    crc, meta, said = str(checksum(flat_arrays(tree(2)))), path.read_text(), []
    assert crc in meta
    path.write_text(meta.replace(crc, "12345"))
    same(restored(directory, said=said), tree(1))
    assert "checksum does not match" in said[0]


def test_the_checksum_covers_names_types_and_shapes():
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.ones(3, np.float32)}
    others = (
        {"a": arrays["a"], "c": arrays["b"]},
        {"a": arrays["a"].view(np.int32), "b": arrays["b"]},
        {"a": arrays["a"].reshape(3, 2), "b": arrays["b"]},
    )
    sums = {checksum(arrays), *map(checksum, others)}
    assert len(sums) == 4
    assert checksum(dict(reversed(arrays.items()))) == checksum(arrays)


def test_none_usable_names_the_remedy_and_moves_nothing(directory):
    written(directory, 0.1, 0.2)
    for number in (1, 2):
        break_empty(directory / str(number))
    with pytest.raises(ValueError, match=r"no checkpoint in .* intact.*Choose another --workdir"):
        restored(directory)
    assert numbers(directory) == [1, 2]


def test_a_damaged_file_of_scores_is_said_and_costs_the_scores_alone(directory):
    written(directory, 0.9, 0.2, 0.3)
    path = directory / "scores.json"
    path.write_text(path.read_text().replace("0.2", "9.2"))  # believed, it would be the best
    said = []
    same(restored(directory, said=said), tree(3))
    assert len(said) == 1
    assert str(path) in said[0]
    checkpoints = Checkpoints(directory, best_by="accuracy")
    assert checkpoints.restore_best(tree(0)) is None
    checkpoints.save(4, tree(4))
    checkpoints.scores.note(4, {"accuracy": 0.1})
    checkpoints.close()
    again = Checkpoints(directory, best_by="accuracy", say=pytest.fail)
    same(again.restore_best(tree(0)).state, tree(4))


@pytest.mark.parametrize(
    "known", [[], {"t": {}}, {"4": None}, {"4": {"scores": 3}}, {"-4": {"scores": {}}}]
)
def test_scores_of_another_form_are_said_and_left(directory, known):
    written(directory, 0.9, 0.2)
    path = directory / "scores.json"
    path.write_text(json.dumps({"checkpoints": known}))
    said = []
    same(restored(directory, said=said), tree(2))
    assert len(said) == 1
    assert "has another form" in said[0]


def test_the_best_is_restored_with_its_scores(directory):
    written(directory, 0.2, 0.7, 0.1, 0.3)
    checkpoints = Checkpoints(directory, best_by="accuracy")
    state, step, scores = checkpoints.restore_best(tree(0))
    same(state, tree(2))
    assert (step, scores) == (2, {"accuracy": 0.7})


def test_a_damaged_best_one_is_named_or_set_aside_for_the_best_of_the_others(directory):
    written(directory, 0.2, 0.7, 0.1, 0.3)
    break_empty(directory / "2")
    checkpoints = Checkpoints(directory, best_by="accuracy", say=(said := []).append)
    with pytest.raises(ValueError, match=r"the best checkpoint, 2, is damaged.*delete \S+/2: then"):
        checkpoints.restore_best(tree(0))
    assert numbers(directory) == [2, 3, 4]
    state, _, scores = checkpoints.restore_best(tree(0), set_aside=True)
    same(state, tree(4))
    assert scores == {"accuracy": 0.3}
    assert numbers(directory) == [3, 4]
    assert said[0].startswith("checkpoint 2 is damaged")
    assert said[0].endswith("using 4")


@pytest.mark.parametrize(
    ("precision", "sound", "kept", "sentence"),
    [
        (
            "float16",
            (1, 2),
            [2, 4, 5],
            r".*rate .* needs another --workdir; .*here.* 2, .* rm -r \S+/4 \S+/5$",
        ),
        (
            "float16",
            (1, 2, 3, 4, 5),
            [4, 5],
            r".*float32 or bfloat16 goes on here, .* 5, before .*range$",
        ),
        (
            "float16",
            (1, 2, 5),  # the loss is back, perhaps not for long
            [2, 4, 5],
            r".*float32 or bfloat16 goes on here, .* 5, before .*range$",
        ),
        ("bfloat16", (1, 2), [2, 4, 5], r"(?!.*bfloat16).*precision=float32 goes on here"),
        (
            "float32",  # here the same steps would diverge again
            (1, 2),
            [2, 4, 5],
            r"(?!.*(precision|rm -r))Start again in another .*rate.*batch 2 here is from before",
        ),
        (
            "float16",
            (),
            [4, 5],
            r"There is no checkpoint from before .*: start again in another .*precision=float32$",
        ),
        ("float32", (), [4, 5], r"(?!.*precision)There is no checkpoint from .*warmup_steps$"),
    ],
)
def test_one_from_before_the_loss_left_its_range_is_kept(
    directory, precision, sound, kept, sentence
):
    written(directory, *[None] * 5, sound=sound)
    assert numbers(directory) == kept
    checkpoints = Checkpoints(directory, best_by="accuracy", precision=precision)
    assert re.match(sentence, checkpoints.recovery_advice())


def test_what_a_killed_writer_left_is_removed_by_the_training_alone(directory):
    written(directory, 0.1)
    (directory / "2.orbax-checkpoint-tmp-7" / "state").mkdir(parents=True)
    checkpoints = Checkpoints(directory, best_by="accuracy")
    same(checkpoints.restore_latest(tree(0)).state, tree(1))
    assert (directory / "2.orbax-checkpoint-tmp-7").exists()
    checkpoints.remove_unfinished()
    assert {path.name for path in directory.iterdir()} == {"1", "scores.json"}


@pytest.mark.parametrize(
    "template",
    [
        tree(0, width=301),
        {"other": jnp.zeros((300, 3)), "step": jnp.array(0)},
        {**tree(0), "more": jnp.zeros(2)},
        {"kernel": tree(0)["kernel"]},
    ],
    ids=["shape", "name", "more", "fewer"],
)
def test_the_checkpoint_of_another_model_is_refused(directory, template):
    written(directory, 0.1)
    with pytest.raises(ValueError, match="another model or head"):
        restored(directory, template)


@pytest.mark.parametrize(("megabytes", "fits"), [(1.19, False), (1.21, True)])
def test_a_disk_needs_a_fifth_more_than_the_state(tmp_path, monkeypatch, megabytes, fits):
    """A million bytes, in a folder that is made later."""
    asked = []
    free = SimpleNamespace(free=int(megabytes * 1e6))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or free)
    state = {"a": np.zeros(200_000, np.float32), "b": np.zeros(25_000)}
    if fits:
        check_room(tmp_path / "run" / "checkpoints", state)
    else:
        with pytest.raises(OSError, match=r"1\.2 MB are free, it needs 1\.2 MB\. Check its disk"):
            check_room(tmp_path / "run" / "checkpoints", state)
    assert asked == [tmp_path]


def test_a_long_error_of_the_disk_is_not_cut_within_a_path(tmp_path):
    """As TensorStore says it where a file may not grow: the cause comes last."""
    place = "/runs/" + "d" * 150
    said = (
        f'OUT_OF_RANGE: Error writing "opt_state.2/0" in OCDBT database at local file "{place}/": '
        f'Failed writing: "{place}/d/f2": Failed to write 1796052 bytes to file 8: File too large '
        "[os_error_code='27'] [source locations='x.cc:1']\nmore"
    )
    cause = f'"{place}/d/f2": Failed to write 1796052 bytes to file 8: File too large'
    with pytest.raises(OSError, match=rf": {re.escape(cause)}\. Check its disk"), writing(tmp_path):
        raise ValueError(said)


def test_a_full_disk_leaves_what_was_there(directory, monkeypatch):
    written(directory, 0.1)
    checkpoints = Checkpoints(directory, best_by="accuracy")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=6.2e6))
        state = tree(2) | {"large": jnp.zeros(1_500_000)}  # of 4 bytes each, and a fifth to spare
        message = r"no checkpoint can be written to [^:]*: 6\.2 MB are free, it needs 7\.2 MB\."
        with pytest.raises(OSError, match=rf"^{message} Check its disk .*before is intact$"):
            checkpoints.save(2, state)
    checkpoints.close()
    assert numbers(directory) == [1]
    same(restored(directory), tree(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(directory, bad):
    written(directory, 0.1)
    checkpoints = Checkpoints(directory, best_by="accuracy")
    state = tree(2)
    state["kernel"] = state["kernel"].at[7, 1].set(bad)
    with pytest.raises(
        FloatingPointError, match=r"before batch 2, which was not saved\. There is no checkpoint"
    ):
        checkpoints.save(2, state)
    checkpoints.close()
    assert numbers(directory) == [1]


def test_a_save_survives_the_reuse_of_its_buffers(directory):
    step = jax.jit(lambda t: jax.tree.map(lambda x: -5 * x, t), donate_argnums=0)
    checkpoints = Checkpoints(directory, best_by="accuracy")
    state = tree(1, width=200_000)
    checkpoints.save(1, state)
    for _ in range(3):
        state = step(state)  # the old buffers are donated
    jax.block_until_ready(state)
    checkpoints.close()
    same(restored(directory, tree(0, width=200_000)), tree(1, width=200_000))


def records(workdir, split="train"):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    timing = ("images_per_second",)
    return [
        {k: v for k, v in record.items() if k not in timing}
        for record in lines
        if record["split"] == split
    ]


def last_state(experiment, workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", best_by="global_accuracy")
    return checkpoints.restore_latest(experiment.state).state


def stop_at_3(request, number):
    """A stop without a signal."""
    if number == 3:
        request._requested = signal.SIGTERM
    return bool(request._requested)


def test_a_run_cut_in_two_is_the_uncut_run_bit_for_bit(tmp_path, monkeypatch, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = train(fresh(), whole)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(StopRequest, "__call__", stop_at_3)
        with pytest.raises(Stopped, match="SIGTERM: stopped and saved at step 3: the same command"):
            train(fresh(), cut)
    assert not (cut / "result.json").exists()
    again = train(fresh(), cut)
    assert "resuming" in capsys.readouterr().out

    one, two = (last_state(fresh(), workdir) for workdir in (whole, cut))
    assert int(one.step) == 6
    assert jax.tree.structure(one) == jax.tree.structure(two)
    same(one, two)  # parameters, momentum and counters
    assert any(np.any(leaf) for leaf in jax.tree.leaves(one.opt_state))
    assert records(cut) == records(whole)
    assert [record["step"] for record in records(cut)] == [1, 2, 3, 4, 5, 6]
    assert records(cut, "test") == records(whole, "test")
    scores = [key for key in result if key.endswith(("_accuracy", "_loss", "_mean"))]
    assert {key: again[key] for key in scores} == {key: result[key] for key in scores}
    assert json.loads((cut / "result.json").read_text())["num_test"] == 20

    # Nothing happens to a finished run.
    before = everything(cut)
    capsys.readouterr()
    result = read_result(cut)
    assert train(fresh(), cut) == result
    said = capsys.readouterr().out
    assert "already finished at step 6: nothing to train" in said
    assert f"global {result['global_accuracy']:.1%}" in said
    after = everything(cut)
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    assert changed <= {".lock"}


def test_eval_without_a_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoints holds no checkpoint: train first"):
        evaluate_run(fresh(), tmp_path, name="test")
    write_json(tmp_path / "result.json", {"step": 1, "config": {"train": {}}})
    with pytest.raises(FileNotFoundError, match=r"no checkpoint: bring .* result\.json away"):
        evaluate_run(fresh(), tmp_path, name="test")
