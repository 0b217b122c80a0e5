"""evaluate() says what kube-apiserver would log about a request, explain() why, from one reading of the rules.

Source: staging/src/k8s.io/apiserver/pkg/audit/policy/checker.go (EvaluatePolicyRule, ruleMatches,
ruleMatchesResource, pathMatches), whose older forms are in versions.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from auditlens.policy.apiserver.model import STAGES, GroupResources, Level, Policy, Rule, Stage
from auditlens.policy.apiserver.versions import Features, features

__all__ = ["Decision", "Request", "evaluate", "failed_conditions", "request_of", "stages_of"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the server writes about a request. `rule` counts from 0; None if no rule matched and nothing is logged.

    `omit_stages` is the union of the policy's and the rule's, in the order the stages happen.
    """

    level: Level
    omit_stages: tuple[Stage, ...]
    omit_managed_fields: bool
    rule: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """What a policy can see of a request; `user` None is one that failed authentication (or has not been asked).

    API version, labels, the impersonated user, source address and user agent are out of a policy's sight.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    verb: str = ""
    resource_request: bool = False
    namespace: str = ""
    api_group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        """The resource as rules name it: "pods" or "pods/log"."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def request_of(attributes: Mapping[str, Any]) -> Request:
    """Read attributes: user (None if unauthenticated), groups, verb, resourceRequest, namespace, apiGroup,
    resource, subresource, name, path. A missing or null one is empty; others are ignored.
    """
    user = attributes.get("user")
    return Request(
        user=None if user is None else str(user),
        groups=tuple(attributes.get("groups") or ()),
        verb=attributes.get("verb") or "",
        resource_request=bool(attributes.get("resourceRequest")),
        namespace=attributes.get("namespace") or "",
        api_group=attributes.get("apiGroup") or "",
        resource=attributes.get("resource") or "",
        subresource=attributes.get("subresource") or "",
        name=attributes.get("name") or "",
        path=attributes.get("path") or "",
    )


def evaluate(policy: Policy, attributes: Mapping[str, Any] | Request, kubernetes_version: str | None = None) -> Decision:
    """Return what the policy decides about a request: the first matching rule's level, else None (nothing logged).

    The attributes are those of `request_of`; the version is the policy's own unless another is named.
    """
    request = attributes if isinstance(attributes, Request) else request_of(attributes)
    release = features(kubernetes_version or policy.kubernetes_version)
    for index, rule in enumerate(policy.rules):
        if next(failed_conditions(rule, request, release), None) is None:
            omit = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
            return Decision(rule.level, stages_of(policy, rule), omit, index)
    return Decision("None", stages_of(policy), policy.omit_managed_fields, None)


def stages_of(policy: Policy, rule: Rule | None = None) -> tuple[Stage, ...]:
    """Return the stages not written for a rule (or where none matches), in the order they happen."""
    named = {*policy.omit_stages, *(rule.omit_stages if rule else ())}
    return tuple(stage for stage in STAGES if stage in named)


def failed_conditions(rule: Rule, request: Request, release: Features) -> Iterator[str]:
    """Yield the fields of a rule that keep it from matching a request, in the server's order; none if it matches."""
    known_user = request.user is not None or release.nil_user_fails
    if rule.users and known_user and request.user not in rule.users:
        yield "users"
    if rule.user_groups and known_user and (request.user is None or not set(rule.user_groups) & set(request.groups)):
        yield "userGroups"
    if rule.verbs and request.verb not in rule.verbs:
        yield "verbs"
    if rule.namespaces and not (request.resource_request and request.namespace in rule.namespaces):
        yield "namespaces"
    if rule.resources and not (
        request.resource_request and any(_entry_matches(entry, request, release) for entry in rule.resources)
    ):
        yield "resources"
    if rule.takes == "non-resource" and (
        request.resource_request or not any(_path_matches(request.path, spec) for spec in rule.non_resource_urls)
    ):
        yield "nonResourceURLs"


def _entry_matches(entry: GroupResources, request: Request, release: Features) -> bool:
    if entry.group != request.api_group and not (entry.group == "*" and release.group_wildcard):
        return False
    if not entry.resources:
        return True
    if entry.resource_names and release.resource_names and request.name not in entry.resource_names:
        return False
    return any(_resource_matches(wanted, request, release) for wanted in entry.resources)


def _resource_matches(wanted: str, request: Request, release: Features) -> bool:
    """Match one entry of a rule's `resources`: pods, pods/log, pods/* (pods too), */log, * (subresources too)."""
    if not release.subresources:
        return wanted == request.resource
    if wanted == request.combined:
        return True
    if not release.resource_wildcards:
        return False
    if wanted == "*":
        return True
    if request.subresource and wanted.startswith("*/") and wanted[2:] == request.subresource:
        return True
    return wanted.endswith("/*") and wanted[:-2] == request.resource


def _path_matches(path: str, spec: str) -> bool:
    return spec in ("*", path) or (spec.endswith("*") and path.startswith(spec.rstrip("*")))
