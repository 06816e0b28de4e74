"""Damaged npz files: equal arrays or one named error, never a crash, a hang or gigabytes.

python tests/faults/npz.py --count=1000 --out=FILE.json
"""

import io
import os
import re
import resource
import signal
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
from driver import main
from npz_file import read_npz

SECONDS = 20
HEADROOM = 2**28  # bytes that a child may take beyond what it is born with; the file has 4 kB

# Each returns the damaged file; what is `rewritten` has sound checksums, so other arrays are right.
REWRITTEN = ("edited header", "edited shape", "random member")


def sound() -> tuple[bytes, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    arrays = {
        "embedding/kernel": rng.normal(size=(4, 4, 3, 6)).astype(np.float32),
        "a/half": rng.normal(size=(5, 3)).astype(np.float16),
        "a/bfloat16": rng.normal(size=(6, 7)).astype(ml_dtypes.bfloat16),
        "double": rng.normal(size=9),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with zipfile.ZipFile(buffer, "a") as file:  # one member that is not compressed
        member = io.BytesIO()
        np.save(member, np.ones(7, np.float32))
        file.writestr("stored.npy", member.getvalue(), zipfile.ZIP_STORED)
    arrays["stored"] = np.ones(7, np.float32)
    return buffer.getvalue(), {name: array.astype(np.float32) for name, array in arrays.items()}


DATA, ARRAYS = sound()


def flipped(rng: np.random.Generator, number: int, *, start: int = 0) -> bytes:
    data = bytearray(DATA)
    for bit in rng.integers(8 * start, 8 * len(data), number):
        data[bit // 8] ^= 1 << (bit % 8)
    return bytes(data)


def rewritten(rng: np.random.Generator, kind: str) -> bytes:
    """The same zip with one member's content changed and its checksum made again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(DATA)) as old, zipfile.ZipFile(buffer, "w", 8) as new:
        chosen = rng.integers(len(old.namelist()))
        for number, name in enumerate(old.namelist()):
            content = bytearray(old.read(name))
            if number == chosen and kind == "edited header":
                for at in rng.integers(0, 128, rng.integers(1, 4)):
                    content[at] = rng.integers(32, 127) if at > 10 else rng.integers(256)
            elif number == chosen and kind == "edited shape":
                size = rng.choice([0, 1, -1, 10**9, 10**13, 2**63, 10**30])
                content = bytearray(re.sub(rb"\(\d+", f"({size}".encode(), bytes(content), count=1))
                content[8:10] = (len(content) - 10 - (len(content) % 7)).to_bytes(2, "little")
            elif number == chosen:
                content = bytearray(rng.bytes(rng.integers(0, 4000)))
            new.writestr(name, bytes(content))
    return buffer.getvalue()


def damaged(kind: str, rng: np.random.Generator) -> bytes:
    if kind in REWRITTEN:
        return rewritten(rng, kind)
    if kind == "truncated":
        return DATA[: rng.integers(len(DATA))]
    if kind == "inserted":
        at = rng.integers(len(DATA))
        return DATA[:at] + rng.bytes(rng.integers(1, 50)) + DATA[at:]
    if kind == "directory":  # where sizes, offsets, compression and flags are
        return flipped(rng, rng.integers(1, 4), start=DATA.index(b"PK\x01\x02"))
    return flipped(rng, {"bit": 1, "bits": 8}[kind])


def outcome(path: Path, *, other_arrays: bool) -> str:
    """The error in how a file is read, "" for none."""
    try:
        found = read_npz(path)
    except ValueError as error:
        text = str(error)
        named = text.startswith(f"pretrained={str(path)!r}: ") and "\n" not in text
        greedy = "allocate" in text or "MemoryError" in text
        return "" if named and not greedy else f"not one named error: {text[:300]}"
    except BaseException:
        return traceback.format_exc(limit=-2)
    same = found.keys() == ARRAYS.keys() and all(
        np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS
    )
    return "" if same or other_arrays else "other arrays without an error"


def run_one(kind: str, seed: int) -> str | None:
    """Reads one damaged file in a child process with little memory and time."""
    with tempfile.TemporaryDirectory() as folder:
        path, answer = Path(folder, "x.npz"), Path(folder, "answer")
        path.write_bytes(damaged(kind, np.random.default_rng(seed)))
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + HEADROOM
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            answer.write_text(outcome(path, other_arrays=kind in REWRITTEN))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            return f"it died: exit status {status}"
        return answer.read_text() or None


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "os.fork")  # JAX is imported, and not used
    kinds = ("bit", "bits", "directory", "truncated", "inserted", *REWRITTEN)
    main("npz", kinds, run_one)
