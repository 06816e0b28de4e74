"""Makes an npz of a ViT's weights: `python -m aftrans_jax.convert SOURCE --out=x.npz`.

SOURCE is what `pretrained` takes: a safetensors file or PyTorch state dict of timm's, Meta's or
Hugging Face's plain ViTs, a folder of Hugging Face, an npz, an official name, or one of the hub,
such as hf:timm/vit_base_patch16_224.augreg_in21k. Arrays get the official names in float32; GELU
and pixel values are recorded in the file, so that `pretrained=x.npz` needs no flags. No pickle is
run.
"""

import argparse
from pathlib import Path

from aftrans_jax.command import check_suffix, nonempty_path, one_line_errors, say
from aftrans_jax.files import make_folder
from aftrans_jax.paths import check_file, expand


def main() -> None:
    """Writes the file; says what was changed, and prints its path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--out", type=nonempty_path, required=True, help="the npz to write")
    parser.add_argument(
        "--patch_size",
        type=int,
        help="px; resamples the patch embedding's kernel as FlexiViT does, for as many patches",
    )
    parser.add_argument(
        "--heads", type=int, help="of the attention, where a state dict does not tell their number"
    )
    args = parser.parse_args()
    check_suffix(parser, "out", args.out, (".npz",))
    if args.patch_size is not None and not 1 <= args.patch_size <= 64:
        parser.error(f"--patch_size={args.patch_size}: expected 1 to 64 px")
    if args.heads is not None and not 1 <= args.heads <= 64:
        parser.error(f"--heads={args.heads}: expected 1 to 64")
    with one_line_errors():
        _write(expand(args.source), Path(expand(args.out)), args.patch_size, args.heads)


def _write(source: str, out: Path, patch_size: int | None, heads: int | None) -> None:
    # Not needed for --help.
    import jax

    from aftrans_jax.experiment.weights_checks import check_whole, variant_doubts
    from aftrans_jax.weights.arrays import to_float32
    from aftrans_jax.weights.fitting import resize_kernel
    from aftrans_jax.weights.npz import save_arrays
    from aftrans_jax.weights.origins import as_text
    from aftrans_jax.weights.reading import open_weights

    jax.config.update("jax_platforms", "cpu")  # only for shapes: a training keeps its device
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise ValueError(f"--out={out}: expected another file than SOURCE")
    check_file(out, f"--out={out}")
    make_folder(out.parent)
    with open_weights(source, heads=heads) as weights:
        check_whole(weights.arrays)
        arrays = to_float32(weights.arrays)
        trained = weights.origin
        for note in weights.notes:
            say(note)
        if weights.whole is not None:
            say("only the trunk of the whole model is written")
        kernel = arrays["embedding/kernel"]
        if patch_size not in (None, kernel.shape[0]):
            arrays["embedding/kernel"] = resize_kernel(kernel, patch_size)
            say(f"kernel of patches resampled from {kernel.shape[0]} to {patch_size} px")
            trained = trained._replace(size=None)  # as many patches, but of another size
    for note in variant_doubts(arrays):
        say(f"note: {note}")
    say(f"gelu {trained.gelu}, mean {trained.mean}, std {trained.std} ({trained.reason})")
    replaced = out.exists()
    save_arrays(out, arrays, as_text(trained).encode())
    if replaced:
        say(f"note: the earlier {out} is replaced")
    print(out)


if __name__ == "__main__":
    main()
