"""How XLA compiles in tests: as quickly as it can, since what runs takes milliseconds.

That is without optimisation, and by the emitters that write LLVM at once: those of fusions, which
go through MLIR, take almost three times as long.
"""

XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def on_devices(number: int) -> str:
    """The flags, with this number of fake devices."""
    return f"{XLA_FLAGS} --xla_force_host_platform_device_count={number}"
