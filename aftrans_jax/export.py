"""Writes a trained model for other programs: `python -m aftrans_jax.export --workdir=runs/cub`.

--format=npz        the trunk, as an official npz, which other ViT code reads (the default)
--format=aftrans    all of the model in one file, which predict, explain and `aft.load` read
--format=stablehlo  a program for CPU, CUDA and TPU, which needs jax alone (jax.export)
--format=onnx       a program for onnxruntime and the like, of the global logits
"""

import argparse
from pathlib import Path

from aftrans_jax.command import check_suffix, nonempty_path, one_line_errors, say
from aftrans_jax.files import make_folder
from aftrans_jax.model.heads import HEADS
from aftrans_jax.paths import check_file, expand

_NAMES = {"npz": "trunk.npz", "aftrans": "aftrans.npz"}
_PROGRAMS = ("stablehlo", "onnx")


def main() -> None:
    """Writes the file, and beside a program a JSON file that describes its inputs and outputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workdir",
        type=nonempty_path,
        required=True,
        help="of a run, or a file of --format=aftrans",
    )
    parser.add_argument("--format", choices=(*_NAMES, *_PROGRAMS), default="npz")
    parser.add_argument(
        "--out", type=nonempty_path, help="default: a name by the format, in the workdir"
    )
    parser.add_argument(
        "--logits",
        choices=HEADS,
        help="of a program; default: eval.logits of the run, of ONNX global",
    )
    parser.add_argument(
        "--region", action="store_true", help="a StableHLO program gives box and relevance, too"
    )
    args = parser.parse_args()
    if args.format not in _PROGRAMS and (args.logits or args.region):
        parser.error(f"--logits and --region are for programs: --format={' or '.join(_PROGRAMS)}")
    if args.out:
        suffix = ".npz" if args.format in _NAMES else f".{args.format}"
        check_suffix(parser, "out", args.out, (suffix,))
    with one_line_errors():
        _write(args)


def _write(args: argparse.Namespace) -> None:
    # Not needed for --help.
    from aftrans_jax.inference.programs import write_program
    from aftrans_jax.inference.trained_model import load_trained, save_trained
    from aftrans_jax.weights.npz import save_npz
    from aftrans_jax.weights.origins import Origin, as_text

    workdir = Path(expand(args.workdir))
    folder = workdir.parent if workdir.is_file() else workdir
    name = _NAMES.get(args.format, f"aftrans.{args.format}")
    path = Path(expand(args.out)) if args.out else folder / name
    if path.exists() and workdir.exists() and path.samefile(workdir):
        raise ValueError(f"--out={path}: expected another file than --workdir")
    check_file(path, f"--out={path}")
    trained = load_trained(workdir)
    make_folder(path.parent)
    replaced = path.exists()
    if args.format == "npz":
        settings = trained.settings
        mean, std = (tuple(settings[key]) for key in ("data.mean", "data.std"))
        reason = f"exported from {workdir.name}"
        size = settings["data.image_size"]
        origin = Origin(settings["model.gelu"], mean, std, reason, size)
        save_npz(path, trained.params["vit"], as_text(origin).encode())
    elif args.format == "aftrans":
        save_trained(path, trained)
    else:
        logits = args.logits or ("global" if args.format == "onnx" else trained.head)
        write_program(path, trained, args.format, logits, with_region=args.region)
    if replaced:
        say(f"note: the earlier {path} is replaced")
    print(path)


if __name__ == "__main__":
    main()
