"""Policies written anew: convert() brings an old apiVersion to v1 and touches nothing else, dump() writes a policy.

The types of v1alpha1, v1beta1 and v1 have the same fields (staging/src/k8s.io/apiserver/pkg/apis/audit/*/types.go),
so the apiVersion is all that differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from auditlens.policy.apiserver.document import scalar
from auditlens.policy.apiserver.loader import draft, load
from auditlens.policy.apiserver.model import GroupResources, Policy, Rule
from auditlens.policy.apiserver.versions import DEFAULT_VERSION

__all__ = ["convert", "dump"]

_OLD: Final = ("audit.k8s.io/v1alpha1", "audit.k8s.io/v1beta1")
_NEW: Final = "audit.k8s.io/v1"
_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*")


def convert(text: str, file: str | None = None) -> str:
    """Return the policy text with apiVersion audit.k8s.io/v1, comments and layout as they were.

    A text that is v1 already comes back as it is. Raises PolicyError if what comes out would still be refused.
    """
    read = draft(text, file=file)
    node = read.root.get("apiVersion") if read.root is not None else None
    converted = text
    if node is not None and node.text in _OLD:
        start = text.index(node.text, node.start)
        converted = text[:start] + _NEW + text[start + len(node.text) :]
    load(converted, DEFAULT_VERSION, file)
    return converted


def dump(policy: Policy, comments: Mapping[int | None, str] | None = None) -> str:
    """Write a policy as YAML that loads to an equal one.

    `comments` go above the rules of these numbers, the one under None to the head of the file. They may be any text:
    no line of them gets out of its comment.
    """
    notes = comments or {}
    lines = [*_comment(notes.get(None, ""), ""), f"apiVersion: {_text(policy.api_version)}"]
    lines.append(f"kind: {_text(policy.kind)}")
    if policy.metadata:
        lines.append(f"metadata: {json.dumps(dict(policy.metadata), ensure_ascii=False)}")
    if policy.omit_stages:
        lines.append(f"omitStages: {_list(policy.omit_stages)}")
    if policy.omit_managed_fields:
        lines.append("omitManagedFields: true")
    lines.append("rules:" if policy.rules else "rules: []")
    for index, rule in enumerate(policy.rules):
        lines += _comment(notes.get(index, ""), "  ")
        lines += _rule(rule)
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    yield f"  - level: {_text(rule.level)}"
    for name, values in (
        ("users", rule.users),
        ("userGroups", rule.user_groups),
        ("verbs", rule.verbs),
        ("namespaces", rule.namespaces),
        ("nonResourceURLs", rule.non_resource_urls),
    ):
        if values:
            yield f"    {name}: {_list(values)}"
    if rule.resources:
        yield "    resources:"
        for entry in rule.resources:
            yield from _entry(entry)
    if rule.omit_stages:
        yield f"    omitStages: {_list(rule.omit_stages)}"
    if rule.omit_managed_fields is not None:
        yield f"    omitManagedFields: {str(rule.omit_managed_fields).lower()}"


def _entry(entry: GroupResources) -> Iterator[str]:
    yield f"      - group: {_text(entry.group)}"
    if entry.resources:
        yield f"        resources: {_list(entry.resources)}"
    if entry.resource_names:
        yield f"        resourceNames: {_list(entry.resource_names)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines():
        shown = "".join(c if c.isprintable() else " " for c in line).rstrip()
        yield f"{indent}# {shown}".rstrip()


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"


def _text(value: str) -> str:
    """Write a string so that it is read as that string: plain where YAML has no other idea of it, else quoted."""
    if _PLAIN.fullmatch(value) and scalar(value)[0] == "string":
        return value
    quoted = json.dumps(value)
    # JSON writes what lies beyond 16 bits as two halves, which YAML takes for two characters.
    return re.sub(
        r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})",
        lambda m: f"\\U{0x10000 + ((int(m[1], 16) - 0xD800) << 10) + int(m[2], 16) - 0xDC00:08x}",
        quoted,
    )
