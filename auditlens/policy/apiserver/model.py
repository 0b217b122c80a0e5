"""A policy as kube-apiserver holds it in memory, immutable, with the place of each part in its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.alias_generators import to_camel

from auditlens.policy.apiserver.errors import Path, Position, Problem
from auditlens.policy.apiserver.versions import DEFAULT_VERSION

__all__ = ["LEVELS", "STAGES", "GroupResources", "Level", "Policy", "Rule", "Stage"]

Level = Literal["None", "Metadata", "Request", "RequestResponse"]
Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]
LEVELS: Final[tuple[Level, ...]] = ("None", "Metadata", "Request", "RequestResponse")
STAGES: Final[tuple[Stage, ...]] = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel)


class GroupResources(_Part):
    """Resources of one API group; an empty `resources` is the whole group, with its subresources."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Rule(_Part):
    """One rule; an empty tuple is a condition not made.

    With namespaces or resources it takes resource requests only; with non_resource_urls the other requests only;
    with none of them both.
    """

    level: Level
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = Field(default=(), alias="nonResourceURLs")
    omit_stages: tuple[Stage, ...] = ()
    omit_managed_fields: bool | None = None

    @property
    def takes(self) -> Literal["any", "resource", "non-resource"]:
        """The requests a rule can be about (pkg/audit/policy/checker.go ruleMatches)."""
        if self.resources or self.namespaces:
            return "resource"
        return "non-resource" if self.non_resource_urls else "any"


class Policy(_Part):
    """A policy for one kube-apiserver release; rules are numbered from 0, as in Kubernetes' messages.

    `warnings` are what the server logs and then ignores. Made by `load`, or in Python by its fields, or by
    `Policy.model_validate` of a decoded document.
    """

    api_version: str = "audit.k8s.io/v1"
    kind: str = "Policy"
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    omit_stages: tuple[Stage, ...] = ()
    omit_managed_fields: bool = False
    rules: tuple[Rule, ...] = ()
    kubernetes_version: str = Field(default=DEFAULT_VERSION, exclude=True)
    file: str | None = Field(default=None, exclude=True)
    warnings: tuple[Problem, ...] = Field(default=(), exclude=True)

    _positions: Mapping[Path, Position] = PrivateAttr(default_factory=dict)
    _ignored: Mapping[int, tuple[str, ...]] = PrivateAttr(default_factory=dict)

    def position(self, *path: str | int) -> Position:
        """The place of a field in the text it was loaded from, e.g. position("rules", 3, "verbs").

        Of a field that is not there, the place of what should hold it; of a policy made in Python, 1:1.
        """
        while path and path not in self._positions:
            path = path[:-1]
        return self._positions.get(path, Position(1, 1))

    def ignored(self, rule: int) -> tuple[str, ...]:
        """What of a rule's text the server does not follow, in words: unknown fields, first values of those given twice."""
        return self._ignored.get(rule, ())

    @property
    def server_warning(self) -> str | None:
        """The line kube-apiserver (1.26+) writes to its log for this policy, None if it has nothing to say.

        Source: staging/src/k8s.io/apiserver/pkg/audit/policy/reader.go LoadPolicyFromBytes.
        """
        if not self.warnings:
            return None
        strict = ", ".join(warning.message for warning in self.warnings)
        return f"Audit policy contains errors, falling back to lenient decoding: strict decoding error: {strict}"
