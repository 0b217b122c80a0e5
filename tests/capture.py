"""One run of a real cluster with its truth, so that what was answered can be checked in any clone.

`data/full.tar.xz` is the capture `full`: 39 scenarios on Kubernetes 1.36, every event at every stage. `truth.json` is what the clients
themselves asked and saw, `final-state.json` every object at the end. It is unpacked where the captures do not lie beside the clone.
"""

from __future__ import annotations

import atexit
import gzip
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"


@cache
def captures() -> Path:
    """The folder of captures: the shared one, else one with `full` alone."""
    if (SHARED / "captures").is_dir():
        return SHARED / "captures"
    folder = Path(tempfile.mkdtemp(prefix="auditlens-capture-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(HERE / "data" / "full.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    for name in ("audit.log", "final-state.json"):
        plain = folder / "full" / name
        with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb", compresslevel=1) as out:
            shutil.copyfileobj(source, out)
        plain.unlink()
    return folder
