"""What a figure was measured on."""

import platform
from importlib.metadata import version
from pathlib import Path


def described() -> str:
    """Processor, Python and the libraries that count."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow", "scipy", "scikit-learn"))
    return (
        f"{len(names)} x {names[0] if names else platform.processor()}, Python {platform.python_version()}, {libraries}"
    )
