"""Builds the native core into the package where cargo is; without it the wheel is pure Python, and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "auditlens/_core.so"
_BUILT = ("libauditlens_core.so", "libauditlens_core.dylib")


class CoreHook(BuildHookInterface):  # type: ignore[type-arg]  # of hatchling's own configuration
    """One wheel per platform, for every Python: the core knows nothing of Python."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the library and put it where the package looks for it, also for an editable install."""
        if not self._built():
            return
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def _built(self) -> bool:
        root, rustup = Path(self.root), Path.home() / ".cargo" / "bin"
        cargo = shutil.which("cargo") or shutil.which("cargo", path=str(rustup))
        target = root / LIBRARY
        if cargo is None or os.environ.get("AUDITLENS_CORE") == "0":
            self.app.display_info("the native core is not built: no cargo, or AUDITLENS_CORE=0")
            return False
        out = root / "core" / "target"
        command = [cargo, "build", "--quiet", "--release", "--locked", "--manifest-path", str(root / "core" / "Cargo.toml")]
        done = subprocess.run([*command, "--target-dir", str(out)], capture_output=True, text=True, check=False)
        made = next((path for name in _BUILT if (path := out / "release" / name).exists()), None)
        if done.returncode or made is None:
            self.app.display_warning(f"the native core is not built, imports will be slower:\n{done.stderr[-2000:]}")
            return False
        # Beside the old one and in its place: a process may have that one loaded.
        shutil.copy(made, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)
        return True
