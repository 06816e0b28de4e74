"""Our training step beside PyTorch's: eager with all maps stored, and compiled without any.

    python -m benchmarks.torch_peer --batch=12 --output=benchmarks/results/NAME.json
    python -m benchmarks.torch_peer --variant=ti16 --image-size=112 --batch=2 --steps=3 \
        --precision=float32 --threads=2 --output=x.json

The interpreter needs JAX and PyTorch; PyTorch is no requirement of this project. On Linux alone.

Each side has a process of its own, on the same cores. On a CPU the sides take turns; on a GPU each
has the card to itself, one after another. JAX chooses the device and the type, PyTorch follows.
"eager" stores all maps and multiplies them as TransFG does; "compiled" is two plain ViT passes.
Memory is the allocator's peak on a GPU; on a CPU, by how much a step makes its process grow, and
what stays from step to step. Libraries and compilers do not count.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax

from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.reporting import write_json
from benchmarks.cases import BOTH, CASES, NUM_CLASSES, Step, case_flops, flops
from benchmarks.processes import Side, Worker
from benchmarks.record import circumstances
from benchmarks.settings import add_settings, batch_sizes, settings
from benchmarks.timing import device_bytes, take_turns

PEERS = ("eager", "compiled")
BUSY = 0.7  # jobs that run elsewhere; at 4 on two cores, eager steps took 8 s instead of 0.13
DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # PyTorch's names by JAX's


def ours(args: argparse.Namespace, batch: int) -> Side:
    """Returns AFTrans's own step, as `benchmarks.step` times it.

    Choice: it starts first and says which device and type the others take.
    """
    config, record = settings(args)  # starts the backend
    began = time.perf_counter()
    step = Step(CASES["aftrans"], config, batch)
    state, _ = jax.block_until_ready(step())
    pixels = 3 * batch * config.data.image_size**2
    state_bytes = pixels + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    del state  # the next step takes it over
    known = {
        "preparation_s": round(time.perf_counter() - began, 1),
        "gflop_per_image": round(3 * case_flops(CASES["aftrans"], config) / 1e9, 2),
        "executable_bytes": step.executable_bytes,
        "settings": record | {"backend": jax.default_backend()},
        **circumstances(),
    }
    peak_bytes = partial(device_bytes, "peak_bytes_in_use")
    return Side(lambda: jax.block_until_ready(step()), peak_bytes, state_bytes, known)


def theirs(args: argparse.Namespace, batch: int, *, name: str, record: Mapping[str, Any]) -> Side:
    """Returns a step of PyTorch's, on the device and in the type of `record`.

    Choice: TF32 products where JAX has them as well, on a GPU in float32.
    """
    import torch

    from benchmarks import torch_model, torch_step

    device = DEVICES[record["backend"]]
    torch.set_num_threads(args.threads)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(
                f"error: PyTorch {torch.__version__} finds no CUDA device where JAX computes on "
                "one: expected both on the same. Install a CUDA build of PyTorch"
            )
        torch.set_float32_matmul_precision("high")
    variant = VARIANTS[args.variant]
    image, local = (record[branch] for branch in BOTH)
    sizes = torch_model.Sizes(variant, NUM_CLASSES, image, local, args.stride)
    began = time.perf_counter()
    step = torch_step.Step(name, sizes, batch, dtype=record["dtype"], device=device)
    needed = 3 * sum(flops(variant, side, args.stride) for side in (image, local))
    if name == "eager":
        needed += torch_step.chain_flops(sizes)
    known = {
        "preparation_s": round(time.perf_counter() - began, 1),
        "gflop_per_image": round(needed / 1e9, 2),
        "note": step.note,
    }
    if device == "cpu":
        return Side(step, lambda: None, step.state_bytes(), known)
    torch.cuda.reset_peak_memory_stats()
    return Side(step, torch.cuda.max_memory_allocated, step.state_bytes(), known)


def run_together(
    workers: Mapping[str, Worker], args: argparse.Namespace, batch: int
) -> dict[str, dict[str, Any]]:
    """Returns time, throughput and memory of sides that take turns, and ends them.

    Choice: a side that did not fit is reported without a time.
    """
    results = {name: dict(worker.known) for name, worker in workers.items()}
    fit = {name: worker for name, worker in workers.items() if not worker.known["out_of_memory"]}
    timings = take_turns(fit, num_calls=args.steps, num_warm_up=args.warmup)
    for name, timing in timings.items():
        results[name] |= {
            **timing._asdict(),
            "images_per_second": round(1000 * batch / timing.median_ms, 3),
            "peak_bytes": workers[name].finish(),
        }
    return results


def measure(args: argparse.Namespace, batch: int) -> dict[str, dict[str, Any]]:
    """Returns the results of all sides at one batch size.

    Choice: turns need all sides in memory at once, which a GPU may not have.
    """
    workers = {"ours": Worker("ours", partial(ours, args, batch))}
    record = workers["ours"].known.get("settings")
    if record is None:
        raise SystemExit(f"error: our step does not fit the memory at batch {batch}: take less")
    results, alone = {}, record["backend"] != "cpu"
    for name in PEERS:
        if alone:
            results |= run_together(workers, args, batch)
            workers = {}
        workers[name] = Worker(name, partial(theirs, args, batch, name=name, record=record))
    return results | run_together(workers, args, batch)


def ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Returns P5 of PERFORMANCE as far as it was measured: ours over each of PyTorch's.

    Choice: images per second, so that more is better for us, and peak memory, where less is.
    """
    return {
        f"ours/{name}, {what}": round(results["ours"][key] / results[name][key], 4)
        for name in PEERS
        for what, key in (("images/s", "images_per_second"), ("memory", "peak_bytes"))
        if key in results[name]
    }


def rows(results: Mapping[str, Mapping[str, Any]], batch: int) -> Sequence[str]:
    lines = []
    for name, result in results.items():
        if result["out_of_memory"]:
            lines.append(f"{name:10} {batch:5}  out of memory")
            continue
        lines.append(
            f"{name:10} {batch:5} {result['median_ms']:10.2f} {result['images_per_second']:10.2f} "
            f"{result['peak_bytes'] / batch / 1e9:12.3f}  {result.get('note', '')}"
        )
    return lines + [f"    {pair} = {value}" for pair, value in ratios(results).items()]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_settings(parser, batch="12")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="CPU cores for each side")
    args = parser.parse_args()
    if not 1 <= args.threads <= cores:
        parser.error(f"--threads={args.threads}: expected 1 to {cores}, the cores that are free")
    if args.precision == "float16":
        parser.error("--precision=float16 scales the loss: expected bfloat16 or float32")
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch is not installed here: pip install torch, beside JAX, in a new venv")
    return args


def main() -> None:
    args = parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"note: a load of {load:.1f}: other jobs slow PyTorch's threads far more than XLA's")
    print(f"{'side':10} batch    ms/step   images/s     GB/image")
    found: dict[str, Any] = {"threads": args.threads, "load_average_before": load}
    found |= {"results": {}, "ratios": {}}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for batch in batch_sizes(args):
        results = measure(args, batch)
        print("\n".join(rows(results, batch)), flush=True)
        for key in ("settings", "device", "host", "load_average", "versions", "commit"):
            found[key] = results["ours"].pop(key)
        found["results"][batch], found["ratios"][batch] = results, ratios(results)
        write_json(args.output, found)


if __name__ == "__main__":
    main()
