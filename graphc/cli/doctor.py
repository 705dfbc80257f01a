"""`graphc doctor`: what is installed, and what is missing for the rest."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from graphc.cli.console import say, say_json, say_table
from graphc.cli.options import Json
from graphc.cpu import cpu_count, cpu_name
from graphc.runtime.backend import backend_names, unavailable_reason

PACKAGES = ("graphc", "numpy", "onnx", "ml_dtypes", "llvmlite", "networkx")
EXTRAS = {
    "onnxruntime": "verify",
    "cuda-bindings": "gpu",
    "matplotlib": "plot",
    "Pillow": "image",
    "google-re2": "text",
    "scikit-learn": "train",
    "vega_datasets": "train",
}


def doctor(json: Json = False) -> None:
    """Show versions and available backends."""
    packages = {name: _version(name) for name in PACKAGES}
    extras = {name: _version(name) for name in EXTRAS}
    backends = {name: unavailable_reason(name) for name in backend_names()}
    system = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": cpu_name(),
        "cores": cpu_count(),
    }
    if json:
        say_json({**system, "packages": packages, "extras": extras, "backends": backends})
        return
    say_table(["machine", ""], [*system.items()])
    say()
    say_table(["package", "version"], [(n, v or "missing: pip install graphc") for n, v in packages.items()])
    say()
    rows = [(n, v or f"not installed: pip install 'graphc[{EXTRAS[n]}]'") for n, v in extras.items()]
    say_table(["optional package", "version"], rows)
    say()
    say_table(["backend", "state"], [(n, reason or "available") for n, reason in backends.items()])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
