"""The command makes an npz that needs no flags, and says what it did."""

import re
import sys

import numpy as np
import pytest
from npz_file import read_npz

from aftrans_jax import convert
from aftrans_jax.weights.reading import open_weights


@pytest.fixture
def folder(unpacked):
    return unpacked / "trunks"


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
    convert.main()


def test_the_file_is_the_source_with_its_origin(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "x.npz"
    run(monkeypatch, folder / "timm DINOv2, 4 registers", f"--out={out}")
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "LayerScale folded into out and Dense_1" in said.err
    assert "replaced" not in said.err
    run(monkeypatch, folder / "timm DINOv2, 4 registers", f"--out={out}")
    assert f"note: the earlier {out} is replaced\n" in capsys.readouterr().err
    assert "gelu exact, mean (0.4, 0.5, 0.6), std (0.2, 0.3, 0.25) (vit_small_patch14" in said.err
    with open_weights(str(folder / "timm DINOv2, 4 registers")) as source:
        expected = {name: np.asarray(x) for name, x in source.arrays.items()}
        with open_weights(str(out)) as found:
            assert found.origin == source.origin
            assert found.notes == ()
            assert found.arrays.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(found.arrays[name], np.float32(array), err_msg=name)


def test_patches_of_another_size_are_said(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "x.npz"
    run(monkeypatch, folder / "timm DeiT", f"--out={out}", "--patch_size=5")
    said = capsys.readouterr().err
    assert "kernel of patches resampled from 4 to 5 px" in said
    assert "note: no variant has patches of 5 px, width 8, " in said
    found = read_npz(out)
    assert found["embedding/kernel"].shape == (5, 5, 3, 8)
    with pytest.raises(SystemExit, match="--heads=2: its arrays have the official names"):
        run(monkeypatch, out, f"--out={tmp_path / 'same.npz'}", "--heads=2")
    run(monkeypatch, out, f"--out={tmp_path / 'same.npz'}", "--patch_size=5")
    assert "resampled" not in capsys.readouterr().err


def test_what_cannot_be_converted_is_one_line(folder, tmp_path, monkeypatch, capsys):
    def refused(*arguments):
        with pytest.raises(SystemExit) as caught:
            run(monkeypatch, *arguments)
        return f"{capsys.readouterr().err}{caught.value}"

    out = f"--out={tmp_path / 'x.npz'}"
    np.savez(tmp_path / "y.npz", a=np.ones(3))
    same = f"--out={tmp_path / 'y.npz'}"
    assert "expected a name that ends in .npz" in refused(tmp_path / "y.npz", "--out=x.pth")
    assert "expected another file than SOURCE" in refused(tmp_path / "y.npz", same)
    assert "has no embedding/kernel of patches" in refused(tmp_path / "y.npz", out)
    assert "expected 1 to 64 px" in refused(folder / "timm DeiT", out, "--patch_size=0")
    assert "hf:x' is no name of a model: expected hf:OWNER/MODEL" in refused("hf:x", out)
    whole = {"aftrans.json": np.frombuffer(b"{}", np.uint8), "vit/cls": np.ones((1, 1, 8))}
    np.savez(tmp_path / "aftrans.npz", **whole)
    command = "write the file again by python -m aftrans_jax.export --format=aftrans"
    assert command in refused(tmp_path / "aftrans.npz", out)
    assert not (tmp_path / "x.npz").exists()


def test_a_trunk_that_lacks_arrays_is_refused_with_their_names(folder, tmp_path, monkeypatch):
    run(monkeypatch, folder / "timm DINOv2, 4 registers", f"--out={tmp_path / 'whole.npz'}")
    whole, source = read_npz(tmp_path / "whole.npz"), tmp_path / "less.npz"
    attention = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    changed = {
        "missing: Transformer/encoder_norm/bias. Make": {"Transformer/encoder_norm/bias": None},
        f"missing: {attention}/out/bias. Make": {f"{attention}/out/bias": None},
        "of another shape: cls (1, 1, 3) instead of (1, 1, 8)": {
            "cls": np.ones((1, 1, 3), np.float32)
        },
        "not expected: gate. Make": {"gate": np.ones(3, np.float32)},
        "posembed_input/pos_embedding (5, 8) instead of": {
            "Transformer/posembed_input/pos_embedding": np.ones((5, 8), np.float32)
        },
        "": {"head/kernel": np.ones((8, 5), np.float32), "head/bias": np.ones(5, np.float32)},
    }
    for said, arrays in changed.items():
        merged = whole | arrays
        np.savez(source, **{name: x for name, x in merged.items() if x is not None})
        out = tmp_path / "x.npz"
        if said:
            with pytest.raises(SystemExit, match=re.escape(said)):
                run(monkeypatch, source, f"--out={out}")
        else:
            run(monkeypatch, source, f"--out={out}")
        assert out.exists() == (not said)
