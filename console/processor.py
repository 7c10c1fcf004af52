"""The processor: its name, its cores, and the features that decide what is fast."""

import os
import pathlib
import platform

from console.progress import note

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


def note_precision(precision: str, network: str) -> None:
    """Writes the hint about the precision, if there is one for this processor and network."""
    hint = precision_hint(precision, network, features())
    if hint:
        note(hint)


def precision_hint(precision: str, network: str, features: frozenset[str] | None) -> str | None:
    """Returns a hint if another precision would be better here, or None."""
    if features is None:
        return None
    found = [name.upper() for name in BFLOAT16_FEATURES if name in features]
    # The multiplications of the MLP are too small for it to pay.
    if precision == "float32" and found and network != "mlp":
        return (
            f"hint: this processor has {found[0]}: --precision=bfloat16 trains about 1.5 times as "
            "fast, to the same accuracy (docs/results/speed.md)"
        )
    if precision == "bfloat16" and emulates_bfloat16(features):
        is_emulated_by_onednn = not features.isdisjoint(EMULATION_FEATURES)
        outcome = "will not be faster" if is_emulated_by_onednn else "takes ten times as long"
        return (
            "hint: this processor has neither AMX_BF16 nor AVX512_BF16: --precision=bfloat16 "
            f"{outcome}; add --precision=float32, which is as accurate"
        )
    return None
