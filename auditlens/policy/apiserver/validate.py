"""The complaints of kube-apiserver's own validation, in its words and order.

Source: staging/src/k8s.io/apiserver/pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditlens.policy.apiserver.decode import Decoded, dotted
from auditlens.policy.apiserver.errors import Path, Problem
from auditlens.policy.apiserver.model import LEVELS, STAGES, Policy, Rule
from auditlens.policy.apiserver.quoting import go_json, go_quote
from auditlens.policy.apiserver.versions import Features

__all__ = ["aggregate", "validate"]

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NOT_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)


def validate(policy: Policy, decoded: Decoded, features: Features) -> list[Problem]:
    """Return all complaints about a decoded policy (its levels and stages may be any text), [] if there are none."""
    return list(_Validator(policy, decoded, features).problems())


def aggregate(problems: list[Problem]) -> str:
    """Join complaints as the server does: each once, in brackets if there are several (field.ErrorList.ToAggregate)."""
    messages = list(dict.fromkeys(problem.message for problem in problems))
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"


class _Validator:
    def __init__(self, policy: Policy, decoded: Decoded, features: Features) -> None:
        self._policy = policy
        self._decoded = decoded
        self._features = features

    def problems(self) -> Iterator[Problem]:
        if self._features.policy_omit_stages:
            yield from self._stages(self._policy.omit_stages, ())
        for index, rule in enumerate(self._policy.rules):
            path: Path = ("rules", index)
            yield from self._level(rule, path)
            if self._features.validates_all:
                yield from self._urls(rule, path)
                yield from self._resources(rule, path)
                yield from self._stages(rule.omit_stages, path)
            if rule.non_resource_urls and (rule.resources or rule.namespaces):
                shown = go_json(rule.non_resource_urls)
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield self._invalid((*path, "nonResourceURLs"), shown, why, "mixed")

    def _invalid(self, path: Path, shown: str, why: str, code: str, named: str = "") -> Problem:
        message = f"{named or dotted(path)}: Invalid value: {shown}: {why}"
        return Problem(message, code, self._decoded.place(path), path)

    def _level(self, rule: Rule, path: Path) -> Iterator[Problem]:
        path = (*path, "level")
        if not rule.level:
            yield Problem(f"{dotted(path)}: Required value", "level-missing", self._decoded.place(path), path)
        elif rule.level not in LEVELS:
            supported = ", ".join(f'"{level}"' for level in LEVELS)
            message = f"{dotted(path)}: Unsupported value: {go_quote(rule.level)}: supported values: {supported}"
            yield Problem(message, "level-unknown", self._decoded.place(path), path)

    def _urls(self, rule: Rule, path: Path) -> Iterator[Problem]:
        for index, url in enumerate(rule.non_resource_urls):
            where = (*path, "nonResourceURLs", index)
            if url == "*":
                continue
            if not url.startswith("/"):
                why = "non-resource URL rules must begin with a '/' character"
                yield self._invalid(where, go_quote(url), why, "url")
            if "*" in url[:-1]:
                why = "non-resource URL wildcards '*' must be the final character of the rule"
                yield self._invalid(where, go_quote(url), why, "url")

    def _resources(self, rule: Rule, path: Path) -> Iterator[Problem]:
        named = f"{dotted(path)}.resources"  # the server leaves out which of them
        for index, entry in enumerate(rule.resources):
            where = (*path, "resources", index)
            wildcard = entry.group == "*" and self._features.group_wildcard
            if entry.group and not wildcard:
                faults = []
                if len(entry.group.encode()) > 253:
                    faults.append("must be no more than 253 characters")
                if not re.fullmatch(_SUBDOMAIN, entry.group):
                    faults.append(_NOT_SUBDOMAIN)
                if faults:
                    why = ",".join(faults)
                    yield self._invalid((*where, "group"), go_quote(entry.group), why, "group", f"{named}.group")
            if entry.resource_names and not entry.resources:
                shown = go_json(entry.resource_names)
                why = "using resourceNames requires at least one resource"
                yield self._invalid((*where, "resourceNames"), shown, why, "names", f"{named}.resourceNames")

    def _stages(self, stages: tuple[str, ...], path: Path) -> Iterator[Problem]:
        for index, stage in enumerate(stages):
            if stage not in STAGES:
                why = f"allowed stages are {','.join(STAGES)}"
                yield self._invalid((*path, "omitStages", index), go_quote(stage), why, "stage")
