"""Makes the archive that deploy/audit.yaml names: `python deploy/krew.py` writes dist/kubectl-audit-vVERSION.zip, tells its SHA-256.

The same files give the same bytes on every machine: nothing is compressed, and no time or owner is in it.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = ("deploy/kubectl-audit", "LICENSE")  # krew wants the licence in the archive


def name() -> str:
    """The archive's file name."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return f"kubectl-audit-v{version}.zip"


def archive() -> bytes:
    """The archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as out:
        for member in map(ROOT.joinpath, MEMBERS):
            info = zipfile.ZipInfo(member.name)
            info.create_system = 3  # Unix: its mode is kept
            info.external_attr = (0o100755 if member.name == "kubectl-audit" else 0o100644) << 16
            out.writestr(info, member.read_bytes())
    return made.getvalue()


if __name__ == "__main__":
    target = ROOT / "dist" / name()
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(archive())
    print(f"{target}\nsha256: {hashlib.sha256(archive()).hexdigest()}")
