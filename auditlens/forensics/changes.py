"""Two versions of an object become the fields that differ, each by a path that keeps naming the same thing.

Items of a list are named by their merge key where they have one (`containers[name=web].image`), else by their place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Fields that change with every write, or tell only about writing itself.
NOISE = (
    "metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.creationTimestamp", "metadata.uid",
    "metadata.selfLink", "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration", "status.observedGeneration",
    "apiVersion", "kind",
)  # fmt: skip
_NOISE_ENDS = (".lastHeartbeatTime", ".lastProbeTime", ".lastUpdateTime", ".lastTransitionTime", ".observedGeneration")
# Keys by which the API's lists are merged (x-kubernetes-patch-merge-key, x-kubernetes-list-map-keys), most telling first.
_KEYS = ("name", "type", "uid", "containerPort", "port", "key", "ip", "mountPath", "devicePath", "topologyKey")
_LONG = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One field: `old` None where it was not there, `new` None where it is gone (`added`, `removed` tell that from null)."""

    path: str
    old: Any
    new: Any
    op: str  # added, removed, changed

    def words(self) -> str:
        """`spec.replicas 3 → 100`."""
        if self.op == "added":
            return f"{self.path} + {_short(self.new)}"
        if self.op == "removed":
            return f"{self.path} - {_short(self.old)}"
        return f"{self.path} {_short(self.old)} → {_short(self.new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def flatten(value: Any, *, noise: bool = False) -> dict[str, Any]:
    """Every leaf of an object by its path; empty objects and lists are leaves."""
    out: dict[str, Any] = {}
    _flatten(value, "", out)
    return out if noise else {p: v for p, v in out.items() if not is_noise(p)}


@lru_cache(1 << 16)  # the bodies of a kind share their paths: half the time of `who-deleted` over 28,966 deletions
def is_noise(path: str) -> bool:
    """Whether a path is hidden by default."""
    return path.endswith(_NOISE_ENDS) or any(path == n or path.startswith((n + ".", n + "[")) for n in NOISE)


def _flatten(value: Any, path: str, out: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            _flatten(below, f"{path}.{key}" if path else key, out)
    elif isinstance(value, list) and value:
        key = _key(value)
        for i, below in enumerate(value):
            _flatten(below, f"{path}[{key}={below[key]}]" if key else f"{path}[{i}]", out)
    else:
        out[path] = value


def _key(items: list[Any]) -> str | None:
    """The key that tells the items of a list apart, if there is one."""
    if not all(isinstance(i, dict) for i in items):
        return None
    for key in _KEYS:
        values = [i.get(key) for i in items]
        if all(isinstance(v, (str, int)) for v in values) and len(set(values)) == len(values):
            return key
    return None


def changes(old: Any, new: Any, *, noise: bool = False) -> list[Change]:
    """The fields that differ, in the order of their paths."""
    was, is_ = flatten(old or {}, noise=noise), flatten(new or {}, noise=noise)
    was.pop("", None)
    is_.pop("", None)
    out = []
    for path in sorted(was.keys() | is_.keys()):
        if path not in was:
            out.append(Change(path, None, is_[path], "added"))
        elif path not in is_:
            out.append(Change(path, was[path], None, "removed"))
        elif was[path] != is_[path] or type(was[path]) is not type(is_[path]):
            out.append(Change(path, was[path], is_[path], "changed"))
    return out


def words(found: list[Change], *, most: int = 6) -> str:
    """A line for a person; what is in spec, data and labels before what is in status."""
    ranked = sorted(found, key=lambda c: (c.path.startswith("status"), c.path))
    text = "; ".join(c.words() for c in ranked[:most])
    return text + (f"; and {len(found) - most} more" if len(found) > most else "")
