"""Prediction from global logits, and proof that nothing else is computed.

Pixels are on the device already; logits stay there. Random weights and pixels.
"""

import re
from functools import partial

import jax

from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.precision import PRECISIONS
from benchmarks.harness.figures import Figure, Result, take_turns
from benchmarks.harness.memory import executable_bytes, utilisation
from benchmarks.models.cases import CASES, flops
from benchmarks.models.training import random_batch, random_params
from benchmarks.settings import Settings


def check_no_loop(program: str) -> None:
    """Checks that neither selection nor labelling is in a program: both are loops.

    Raises:
      ValueError: there is a loop.
    """
    loops = re.findall(r".*\bwhile\(.*", program)
    if loops:
        raise ValueError(
            f"the program of the prediction holds {loops[0].strip()[:120]!r}: expected no loop, as "
            "global logits need no region. Look for what asks for it in AFTrans.global_logits"
        )


def measure(settings: Settings) -> Result:
    """Returns time, speed, memory and utilisation of predicting one batch."""
    details = settings.resolved()
    dtype = PRECISIONS[settings.precision]().dtype
    model = CASES["aftrans"].make(settings.config(), dtype)
    images = random_batch(settings.image_size, settings.batch)["image"]
    params = jax.device_put({"params": random_params(model, settings.image_size)})
    predict = jax.jit(partial(model.apply, method="global_logits"))
    compiled = predict.lower(params, images).compile()
    check_no_loop(compiled.as_text() or "")
    timing = take_turns({"predict": partial(compiled, params, images)}, settings)["predict"]
    figures = {
        "time": timing,
        "speed": timing.rate(settings.batch, "images/s"),
        "memory": Figure(executable_bytes(compiled), "bytes"),
    }
    work = partial(flops, VARIANTS[settings.variant], settings.image_size, settings.stride)
    for kind, every_token in (("utilisation", False), ("model FLOP utilisation", True)):
        needed = work(every_token=every_token)
        figures[f"work of the {kind}"] = Figure(round(needed / 1e9, 2), "GFLOP an image")
        share = utilisation(settings.batch * needed, timing.median, details["dtype"])
        if share is not None:
            figures[kind] = Figure(round(share, 4), "share of peak")
    return Result(figures, details)
