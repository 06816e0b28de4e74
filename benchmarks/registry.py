"""Every benchmark: its claim, its figures, and the devices that it runs on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

ANY = ("cpu", "gpu", "tpu")
Better = Literal["lower", "higher"]


class Goal(NamedTuple):
    """The goal for one figure of a benchmark, on some devices.

    must: bound that it has to keep, None for none.
    goal: bound that is aimed at, None for the same.
    """

    figure: str
    unit: str
    better: Better
    must: float | None
    goal: float | None = None
    devices: tuple[str, ...] = ANY

    def verdict(self, value: float) -> str:
        """Returns which of the bounds a value keeps, and the bounds, as text."""
        sign = 1 if self.better == "lower" else -1
        for name, bound in (("goal", self.goal), ("must", self.must)):
            if bound is not None and sign * value <= sign * bound:
                return f"{name} met: {self.bounds()}"
        return f"missed: {self.bounds()}"

    def bounds(self) -> str:
        """Returns the bounds in words."""
        at = "<=" if self.better == "lower" else ">="
        bounds = (("must", self.must), ("goal", self.goal))
        return ", ".join(f"{name} {at} {bound:g}" for name, bound in bounds if bound is not None)

    def __str__(self) -> str:
        where = "" if self.devices == ANY else f" on {', '.join(self.devices)}"
        return f"{self.figure} [{self.unit}]: {self.bounds()}{where}"


class Benchmark(NamedTuple):
    """A benchmark and its claim; P1 to P14 are the goals that the project set itself.

    function: "package.module:name"; takes Settings, returns a Result.
    devices: JAX's backends that it runs on; "ahead" compiles for a device that is not on this
      machine, and only runs when named.
    reads: settings that it depends on; no others are recorded.
    defaults: its own defaults of settings.
    """

    name: str
    claim: str
    function: str
    reads: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    devices: tuple[str, ...] = ANY
    defaults: Mapping[str, Any] = MappingProxyType({})


GPU = ("gpu",)
MODEL = ("variant", "image_size", "local_size", "stride", "precision", "attention")
TIMED = ("num_calls", "num_warm_up")
SHARE = "share of peak"
RATIO = "ratio"
BENCHMARKS = (
    Benchmark(
        "cudnn",
        "cuDNN's attention equals XLA's in float32, gradients included",
        "benchmarks.claims.cudnn:measure",
        (),
        (Goal("largest error", "relative", "lower", 2e-2),),
        GPU,
    ),
    Benchmark(
        "step",
        "P1-P3: AFTrans's step beside two plain ViT steps and the path that stores all maps",
        "benchmarks.claims.step:measure",
        (*MODEL, "batch", *TIMED, "only"),
        (
            Goal("aftrans / two plain steps", RATIO, "lower", 1.06, 0.99),
            Goal("naive / aftrans, time", RATIO, "higher", 2.0, 2.5, GPU),
            Goal("aftrans / naive, memory", RATIO, "lower", 0.35, 0.30, GPU),
            Goal("aftrans, model FLOP utilisation", SHARE, "higher", 0.35, 0.5, GPU),
        ),
    ),
    Benchmark(
        "side_path",
        "P4: what class rows, gate, selection, labelling and crop add to the step",
        "benchmarks.claims.side_path:measure",
        (*MODEL, "batch", *TIMED),
        (
            Goal("added, share of the step", RATIO, "lower", None, 0.02),
            Goal("added / (0.8 ms + 20 us an image)", RATIO, "lower", 1, devices=GPU),
        ),
    ),
    Benchmark(
        "predict",
        "P6: images per second from global logits, with no region looked for",
        "benchmarks.claims.predict:measure",
        (*MODEL, "batch", *TIMED),
        (Goal("speed", "images/s", "higher", 1250, 1450, GPU),),
    ),
    Benchmark(
        "predict_photos",
        "P13: 1,000 photos predicted beside their reader alone, in memory that does not grow",
        "benchmarks.claims.predict_photos:measure",
        ("num_calls",),
        (
            Goal("predict / reader", RATIO, "higher", 0.8),
            Goal("memory, 4 passes / 2", RATIO, "lower", 1.1),
        ),
        ("cpu",),
        MappingProxyType({"num_calls": 5}),
    ),
    Benchmark(
        "torch_peer",
        "P5: our step beside PyTorch's: eager as TransFG, and two compiled plain passes",
        "benchmarks.claims.torch_peer:measure",
        (*MODEL, "batch", *TIMED, "threads"),
        (
            Goal("ours / eager, speed", RATIO, "higher", 2.5, 4, GPU),
            Goal("ours / compiled, speed", RATIO, "higher", 0.95, 1.1, GPU),
        ),
        ("cpu", "gpu"),
    ),
    Benchmark(
        "labelling",
        "P7: the components that scipy finds, in few iterations",
        "benchmarks.claims.labelling:measure",
        TIMED,
        (
            Goal("iterations", "count", "lower", 8),
            Goal("slowest labelling", "ms", "lower", 0.5, devices=GPU),
            Goal("largest components, ours / scipy per mask", RATIO, "lower", None, 1, ("cpu",)),
        ),
        defaults=MappingProxyType({"num_calls": 100, "num_warm_up": 3}),
    ),
    Benchmark(
        "largest_batch",
        "P2: how many more images a step takes than with all maps stored",
        "benchmarks.claims.step:measure_largest_batch",
        (*MODEL, "batch"),
        (Goal("aftrans / naive, largest batch", RATIO, "higher", 2.5, 3),),
        GPU,
        MappingProxyType({"batch": 12}),
    ),
    Benchmark(
        "options",
        "ways to run the step that could be settings: what each costs or saves",
        "benchmarks.claims.options:measure",
        (*MODEL, "batch", *TIMED, "only"),
    ),
    Benchmark(
        "loader",
        "P9: JPEG to training crop beside tf.data and PIL, and whether it hides behind the step",
        "benchmarks.claims.loader:measure",
        ("photos", "num_calls"),
        (
            Goal("ours, 448 px, 1 thread", "images/s", "higher", 350),
            Goal("ours / tf.data, 448 px, 1 thread", RATIO, "higher", None, 1),
        ),
        ("cpu",),
        MappingProxyType({"num_calls": 5}),
    ),
    Benchmark(
        "large_photos",
        "P9: a 12-megapixel JPEG to 448 px, decoded at a reduced scale instead of whole",
        "benchmarks.claims.large_photos:measure",
        ("photos", *TIMED),
        (
            Goal("smooth, whole / as loaded", RATIO, "higher", 4, 6),
            Goal("grain, whole / as loaded", RATIO, "higher", 4, 6),
        ),
        ("cpu",),
        MappingProxyType({"num_calls": 9, "num_warm_up": 1}),
    ),
    Benchmark(
        "scaling",
        "P10: devices exchange the gradients once a step, and nothing within a loop",
        "benchmarks.claims.scaling:measure",
        ("batch", *TIMED),
        (Goal("setups without one exchange", "count", "lower", 0),),
        ("cpu",),
        MappingProxyType({"num_calls": 10, "num_warm_up": 2}),
    ),
    Benchmark(
        "demo_profile",
        "P11: where the demo's time goes, compilation included, checkpoints and report not",
        "benchmarks.claims.demo_profile:measure",
        (),
        (Goal("the demo, by its parts", "s", "lower", 240, 120),),
        ("cpu",),
    ),
    Benchmark(
        "start",
        "P14: seconds to the first line and to the first step, cold and compiled before",
        "benchmarks.claims.start:measure",
        ("variant", "image_size", "local_size", "stride", "batch", "num_calls"),
        (
            Goal("first line", "s", "lower", 3, 2),
            Goal("first step, cold", "s", "lower", 40, 25),
            Goal("first step, compiled before", "s", "lower", 12, 8),
        ),
        ("cpu",),
        MappingProxyType({"num_calls": 3, "stride": 16, "local_size": 224}),
    ),
    Benchmark(
        "localization",
        "where an untrained gate looks on real photos, beside a centred box of the same area",
        "benchmarks.claims.localization:measure",
        ("photos", "pretrained", "image_size", "stride"),
        defaults=MappingProxyType({"image_size": 448}),
    ),
    Benchmark(
        "ahead",
        "memory, traffic and compilation of the step for a device that is not here",
        "benchmarks.claims.ahead:measure",
        ("target",),
        devices=("ahead",),
    ),
    Benchmark(
        "large",
        "what each of many devices that are not here holds and exchanges in a step of ViT-L and -H",
        "benchmarks.claims.large:measure",
        ("target", "only"),
        devices=("ahead",),
    ),
)
REGISTRY: Mapping[str, Benchmark] = MappingProxyType({entry.name: entry for entry in BENCHMARKS})
