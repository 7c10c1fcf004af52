"""The processor: its name, its cores, and the features that decide what is fast."""

import os
import pathlib
import platform

CPUINFO = pathlib.Path("/proc/cpuinfo")
# Instructions that multiply in bfloat16.
BFLOAT16_FEATURES = ("amx_bf16", "avx512_bf16")
# With these, oneDNN emulates bfloat16 in float32; without them TensorFlow does, value by value.
EMULATION_FEATURES = ("avx512f", "avx_ne_convert")


def features(cpuinfo: pathlib.Path = CPUINFO) -> frozenset[str] | None:
    """Returns the names of the first processor's features, as Linux spells them.

    None where the system does not report them: on Windows, on macOS, and on architectures other
    than x86.
    """
    flags = _value("flags", cpuinfo)
    return None if flags is None else frozenset(flags.split())


def name(cpuinfo: pathlib.Path = CPUINFO) -> str:
    """Returns the processor's name, or its architecture if the system does not report a name."""
    return _value("model name", cpuinfo) or platform.machine()


def cores() -> int:
    """Returns how many cores this process may use."""
    # macOS has no per-process affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _value(wanted: str, cpuinfo: pathlib.Path) -> str | None:
    if not cpuinfo.exists():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return None


def use_onednn() -> None:
    """Makes TensorFlow use oneDNN, which trains 1.6 to 2 times as fast in float32.

    On Linux, TensorFlow leaves it off if the processor has AVX2 but neither AVX512_VNNI (or
    a successor) nor AVX_VNNI, as in most made before 2021. The environment variable
    TF_ENABLE_ONEDNN_OPTS, which TensorFlow reads on import, is left alone if the user has set it.
    """
    if "avx2" in (features() or ()):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def emulates_bfloat16(features: frozenset[str] | None) -> bool:
    """Whether the processor is known to have no bfloat16 instructions."""
    return features is not None and features.isdisjoint(BFLOAT16_FEATURES)
