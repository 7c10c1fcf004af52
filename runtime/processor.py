"""What the processor can do, as far as it decides which precision is fast."""

import pathlib
import platform

CPUINFO = pathlib.Path("/proc/cpuinfo")
# Instructions that multiply in bfloat16; without them it is emulated in float32.
BFLOAT16_FEATURES = ("amx_bf16", "avx512_bf16")


def features(cpuinfo: pathlib.Path = CPUINFO) -> frozenset[str] | None:
    """Returns the names of the first processor's features, as Linux spells them.

    None where the system does not tell: on Windows and macOS, and on other architectures.
    """
    flags = _value("flags", cpuinfo)
    return None if flags is None else frozenset(flags.split())


def name(cpuinfo: pathlib.Path = CPUINFO) -> str:
    """Returns the name of the processor, or of its architecture where the system does not tell."""
    return _value("model name", cpuinfo) or platform.machine()


def _value(wanted: str, cpuinfo: pathlib.Path) -> str | None:
    if not cpuinfo.exists():
        return None
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return None


def precision_hint(precision: str, features: frozenset[str] | None) -> str | None:
    """Returns a line about the precision that trains faster here, or None if there is no news."""
    if features is None:
        return None
    found = [name.upper() for name in BFLOAT16_FEATURES if name in features]
    if precision == "float32" and found:
        return (
            f"hint: this processor has {found[0]}: --precision=bfloat16 trains about 1.5 times "
            "as fast, or more, to the same accuracy (docs/results/speed.md)"
        )
    if precision == "bfloat16" and not found:
        return (
            "this processor has neither AMX_BF16 nor AVX512_BF16: "
            "--precision=bfloat16 will not be faster than float32"
        )
    return None
