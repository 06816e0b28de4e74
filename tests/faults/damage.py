"""A file of a working directory flipped, cut, emptied, removed, replaced; what is read then."""

import contextlib
import functools
import io
import random
import shutil
import tempfile
from pathlib import Path

from driver import main

KINDS = ("flip", "cut", "empty", "remove", "replace")
SMALL = ("config.json", "classes.json", "result.json", "metrics.jsonl", "checkpoints/scores.json")
VIT = {"model__name": "vit"}  # which compiles soonest
CHANGES = VIT | {"train__save_every": 4, "eval__every": 4, "train__steps": 6}


def run_in(workdir: Path, mode: str = "train") -> str:
    """Runs or resumes the tiny run; returns what it says."""
    from experiments import fresh, train, with_settings

    from aftrans_jax.run.evaluation import evaluate_run

    experiment = with_settings(fresh(num_devices=1, **VIT), **CHANGES)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if mode == "train":
            train(experiment, workdir)
        else:
            evaluate_run(experiment, workdir, name="test")
    return said.getvalue()


@functools.cache
def sound() -> Path:
    """Returns the directory of a run with checkpoints 4 and 6; made once."""
    workdir = Path(tempfile.mkdtemp()) / "sound"
    run_in(workdir)
    return workdir


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """Damages a file; a flip changes one bit, a replacement is of random bytes."""
    content = bytearray(path.read_bytes())
    if kind == "flip" and content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[chance.randrange(len(content) + 1) :]
    elif kind == "empty":
        content.clear()
    elif kind == "replace":
        content = bytearray(chance.randbytes(len(content)))
    path.unlink() if kind == "remove" else path.write_bytes(content)


def run_one(kind: str, seed: int) -> str | None:
    """Damages one file, evaluates and resumes; the newest or the one before must be right."""
    from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
    from aftrans_jax.training.checkpoint_reading import checksum, read_arrays

    chance = random.Random(seed)
    expected = {
        number: checksum(read_arrays(sound() / "checkpoints" / str(number))) for number in (4, 6)
    }
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        shutil.copytree(sound(), workdir)
        files = [path for path in (workdir / "checkpoints" / "6").rglob("*") if path.is_file()]
        small = [workdir / name for name in SMALL]
        path = chance.choice(files if seed // len(KINDS) % 2 else small)
        damage(path, kind, chance)
        before = sorted(path for path in workdir.rglob("*"))
        run_in(workdir, "eval")
        added = set(workdir.rglob("*")) - set(before)
        if added != {workdir / "eval-test.json", workdir / "eval-test.predictions.csv"}:
            return f"{path}: an evaluation wrote {added}"
        try:
            run_in(workdir)  # trains the lost steps again, if any are
        except ValueError as error:
            # A flipped bit in a class's name cannot be told from another data set: as the message
            # says, the file may be brought back.
            if "or that file, back as they were at the training" not in str(error):
                raise
            shutil.copy(sound() / path.relative_to(workdir), path)
            run_in(workdir)
        if checkpoint_numbers(workdir / "checkpoints") not in ([4, 6], [6]):
            return f"{path}: checkpoints {checkpoint_numbers(workdir / 'checkpoints')}"
        if checksum(read_arrays(workdir / "checkpoints" / "6")) != expected[6]:
            return f"{path}: another state was restored"
        return None


if __name__ == "__main__":
    main("damage", KINDS, run_one)
