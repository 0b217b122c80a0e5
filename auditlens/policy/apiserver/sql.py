"""A policy becomes one DuckDB expression that decides about every row of a table as evaluate() does about one request.

The text of a policy is untrusted: it gets into the SQL through `quoted` only, the names of columns through
`identifier` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from auditlens.policy.apiserver.evaluator import stages_of
from auditlens.policy.apiserver.model import GroupResources, Policy, Rule
from auditlens.policy.apiserver.versions import Features, features
from auditlens.quoting import quoted

__all__ = ["COLUMNS", "identifier", "rule_sql", "to_sql"]

COLUMNS: Final = (
    "username",
    "user_groups",
    "verb",
    "namespace",
    "api_group",
    "resource",
    "subresource",
    "name",
    "path",
    "is_resource_request",
    "user_known",
)


def to_sql(policy: Policy, columns: Mapping[str, str] | None = None, kubernetes_version: str | None = None) -> str:
    """Compile a policy into an expression of type
    STRUCT(rule INTEGER, level VARCHAR, omit_stages VARCHAR[], omit_managed_fields BOOLEAN).

    `rule` counts from 0 and is null where none matches (level None). The columns are those of COLUMNS: user_groups is
    VARCHAR[], is_resource_request and user_known are BOOLEAN, the rest VARCHAR; null reads as empty or false.
    `columns` gives other names for some of them. user_known false is an unauthenticated request.
    """
    cases = [f"when {index} then {_struct(policy, rule, index)}" for index, rule in enumerate(policy.rules)]
    none = _struct(policy, None, None)
    if not cases:
        return none
    body = "\n".join(cases)
    return f"case {rule_sql(policy, columns, kubernetes_version)}\n{body}\nelse {none}\nend"


def rule_sql(policy: Policy, columns: Mapping[str, str] | None = None, kubernetes_version: str | None = None) -> str:
    """Compile a policy into the INTEGER number of the deciding rule alone, null where none matches.

    Group by it and join the levels to it where many rows are to be counted.
    """
    writer = _Writer(columns or {}, features(kubernetes_version or policy.kubernetes_version))
    cases = "\n".join(f"when {writer.rule(rule)} then {index}" for index, rule in enumerate(policy.rules))
    return f"(case\n{cases}\nend)::integer" if cases else "null::integer"


def identifier(name: str) -> str:
    """Write any text as a quoted SQL name; raises ValueError for one no name can hold (empty, NUL)."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a column")
    return '"' + name.replace('"', '""') + '"'


def _literals(values: Iterable[str]) -> str:
    return ", ".join(quoted(value) for value in dict.fromkeys(values))


def _struct(policy: Policy, rule: Rule | None, index: int | None) -> str:
    number = "null::integer" if index is None else f"{index}::integer"
    level = "None" if rule is None else rule.level
    omit = policy.omit_managed_fields
    if rule is not None and rule.omit_managed_fields is not None:
        omit = rule.omit_managed_fields
    stages = f"[{_literals(stages_of(policy, rule))}]::varchar[]"
    fields = f"'rule': {number}, 'level': {quoted(level)}, 'omit_stages': {stages}"
    return f"{{{fields}, 'omit_managed_fields': {str(omit).lower()}}}"


class _Writer:
    def __init__(self, columns: Mapping[str, str], release: Features) -> None:
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise ValueError(f"a policy has no column {', '.join(sorted(unknown))}; it has {', '.join(COLUMNS)}")
        self._release = release
        names = {column: identifier(columns.get(column, column)) for column in COLUMNS}
        self._text = {column: f"coalesce({name}, '')" for column, name in names.items()}
        self._groups = names["user_groups"]
        self._is_resource = f"coalesce({names['is_resource_request']}, false)"
        self._known = f"coalesce({names['user_known']}, false)"
        subresource, resource = self._text["subresource"], self._text["resource"]
        self._combined = f"case when {subresource} = '' then {resource} else {resource} || '/' || {subresource} end"

    def rule(self, rule: Rule) -> str:
        """The conjunction of a rule's conditions; each is true or false, never null."""
        conditions = []
        if rule.users:
            conditions.append(self._of_user(self._in("username", rule.users)))
        if rule.user_groups:
            wanted = f"[{_literals(rule.user_groups)}]"
            conditions.append(self._of_user(f"coalesce(list_has_any({self._groups}, {wanted}), false)"))
        if rule.verbs:
            conditions.append(self._in("verb", rule.verbs))
        if rule.takes == "resource":
            conditions.append(self._is_resource)
            if rule.namespaces:
                conditions.append(self._in("namespace", rule.namespaces))
            if rule.resources:
                conditions.append(_any(self._entry(entry) for entry in rule.resources))
        elif rule.takes == "non-resource":
            conditions.append(f"not {self._is_resource}")
            conditions.append(_any(self._path(spec) for spec in dict.fromkeys(rule.non_resource_urls)))
        return " and ".join(conditions) or "true"

    def _of_user(self, condition: str) -> str:
        if self._release.nil_user_fails:
            return f"({self._known} and {condition})"
        return f"(not {self._known} or {condition})"

    def _in(self, column: str, values: Iterable[str]) -> str:
        return f"{self._text[column]} in ({_literals(values)})"

    def _entry(self, entry: GroupResources) -> str:
        conditions = []
        if not (entry.group == "*" and self._release.group_wildcard):
            conditions.append(f"{self._text['api_group']} = {quoted(entry.group)}")
        if entry.resources:
            if entry.resource_names and self._release.resource_names:
                conditions.append(self._in("name", entry.resource_names))
            conditions.append(self._resources(entry.resources))
        return f"({' and '.join(conditions) or 'true'})"

    def _resources(self, wanted: tuple[str, ...]) -> str:
        if not self._release.subresources:
            return self._in("resource", wanted)
        ways = [f"{self._combined} in ({_literals(wanted)})"]
        if self._release.resource_wildcards:
            if "*" in wanted:
                return "true"
            subresources = [res[2:] for res in wanted if res.startswith("*/") and len(res) > 2]
            if subresources:
                ways.append(self._in("subresource", subresources))
            resources = [res[:-2] for res in wanted if res.endswith("/*")]
            if resources:
                ways.append(self._in("resource", resources))
        return _any(ways)

    def _path(self, spec: str) -> str:
        path = self._text["path"]
        if spec == "*":
            return "true"
        if spec.endswith("*"):
            return f"starts_with({path}, {quoted(spec.rstrip('*'))})"
        return f"{path} = {quoted(spec)}"


def _any(conditions: Iterable[str]) -> str:
    return f"({' or '.join(conditions)})"
