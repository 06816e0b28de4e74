"""Prediction from global logits: images per second, and proof that nothing else is computed.

    python -m benchmarks.predict --batch=48,128 --output=benchmarks/results/NAME.json

Pixels are on the device already; logits stay there. Random weights and pixels.
"""

import argparse
import re
from functools import partial
from typing import Any

import jax

from aftrans_jax.config import Config
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.precision import PRECISIONS
from benchmarks.cases import CASES, flops, random_batch, random_params
from benchmarks.settings import add_settings, batch_sizes, save, settings
from benchmarks.timing import executable_bytes, take_turns, utilisation


def check_no_loop(program: str) -> None:
    """Checks that neither selection nor labelling is in a program: both are loops.

    Raises:
      ValueError: there is a loop.
    """
    loops = re.findall(r".*\bwhile\(.*", program)
    if loops:
        raise ValueError(
            f"the program of the prediction holds {loops[0].strip()[:120]!r}: expected no loop, as "
            "global logits need no region. Look for what asks for it in AFTrans.predict"
        )


def measure(config: Config, batch: int, *, num_calls: int, num_warm_up: int) -> dict[str, Any]:
    """Returns time, throughput, memory and utilisation of predicting one batch."""
    dtype = PRECISIONS[config.train.precision]().dtype
    model = CASES["aftrans"].make(config, dtype)
    images = random_batch(config.data.image_size, batch)["image"]
    params = jax.device_put({"params": random_params(model, images.shape[1])})
    predict = jax.jit(partial(model.apply, method="predict"))
    compiled = predict.lower(params, images).compile()
    check_no_loop(compiled.as_text() or "")
    call = partial(compiled, params, images)
    timing = take_turns({"predict": call}, num_calls=num_calls, num_warm_up=num_warm_up)["predict"]
    size, stride = config.data.image_size, config.model.stride
    work = [
        batch * flops(VARIANTS[config.model.variant], size, stride, every_token=every_token)
        for every_token in (False, True)
    ]
    return {
        **timing._asdict(),
        "images_per_second": round(1000 * batch / timing.median_ms, 2),
        "executable_bytes": executable_bytes(compiled),
        "gflop_per_image": round(work[0] / batch / 1e9, 2),
        "utilisation": utilisation(work[0], timing.median_ms, dtype.name),
        "model_flop_utilisation": utilisation(work[1], timing.median_ms, dtype.name),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_settings(parser, batch="48,128")
    args = parser.parse_args()
    config, content = settings(args)
    print("batch         ms   images/s")
    results = {}
    for batch in batch_sizes(args):
        results[batch] = measure(config, batch, num_calls=args.steps, num_warm_up=args.warmup)
        timing = results[batch]
        print(f"{batch:5} {timing['median_ms']:10.2f} {timing['images_per_second']:10.2f}")
        save(args.output, {"settings": content, "results": results})


if __name__ == "__main__":
    main()
