"""What a kube-apiserver release can do with an audit policy, as far as releases differ (1.7 to 1.36)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from auditlens.errors import UsageError

__all__ = ["DEFAULT_VERSION", "FIRST_MINOR", "Features", "features"]

DEFAULT_VERSION = "1.36"
FIRST_MINOR = 7  # the release that brought audit policies

_VERSION = re.compile(r"v?1\.([0-9]{1,3})(?:[.+-].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Features:
    """The differences that decide loading or matching; each line names the release it came with."""

    minor: int

    @property
    def api_versions(self) -> tuple[str, ...]:
        """The apiVersions the server decodes, newest first (pkg/apis/audit/install; alpha and beta left in 1.24)."""
        served = []
        if self.minor >= 12:
            served.append("audit.k8s.io/v1")
        if 8 <= self.minor < 24:
            served.append("audit.k8s.io/v1beta1")
        if self.minor < 24:
            served.append("audit.k8s.io/v1alpha1")
        return tuple(served)

    @property
    def validates_all(self) -> bool:
        """1.8: before it only the level and the mix of URLs with resources were checked, and no rules were fine."""
        return self.minor >= 8

    @property
    def subresources(self) -> bool:
        """1.8: "pods/log" is its own resource. Before, "pods" took its subresources along and "pods/log" nothing."""
        return self.minor >= 8

    @property
    def resource_names(self) -> bool:
        return self.minor >= 8

    @property
    def rule_omit_stages(self) -> bool:
        return self.minor >= 8

    @property
    def policy_omit_stages(self) -> bool:
        return self.minor >= 9

    @property
    def nil_user_fails(self) -> bool:
        """1.9: an unauthenticated request never matches users or userGroups. Before, these conditions were skipped."""
        return self.minor >= 9

    @property
    def resource_wildcards(self) -> bool:
        return self.minor >= 10

    @property
    def managed_fields(self) -> bool:
        return self.minor >= 23

    @property
    def strict_warnings(self) -> bool:
        """1.26: unknown and duplicate fields are warned about. Before, they vanished in silence."""
        return self.minor >= 26

    @property
    def group_wildcard(self) -> bool:
        return self.minor >= 36


@lru_cache(maxsize=64)
def features(kubernetes_version: str) -> Features:
    """Read "1.36", "v1.29.3" or "1.30.1+k3s1"; releases after the newest known one count as that one.

    Raises UsageError for a text that is no such version or one from before audit policies (1.7).
    """
    match = _VERSION.fullmatch(kubernetes_version.strip())
    if match is None or int(match[1]) < FIRST_MINOR:
        raise UsageError(f"{kubernetes_version!r} is no Kubernetes version with audit policies: write it like {DEFAULT_VERSION}")
    return Features(int(match[1]))
