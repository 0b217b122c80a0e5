"""load() takes the policies that kube-apiserver starts with and refuses the others in its words.

Source: staging/src/k8s.io/apiserver/pkg/audit/policy/reader.go LoadPolicyFromBytes, behind it apimachinery
pkg/runtime/serializer/json (Decode, Interpret) and pkg/runtime/error.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from auditlens.policy.apiserver import jsontext, yamltext
from auditlens.policy.apiserver.decode import Decoded, Unknown, decode, dotted
from auditlens.policy.apiserver.document import Duplicate, Node, SyntaxFault
from auditlens.policy.apiserver.errors import PolicyError, Position, Problem
from auditlens.policy.apiserver.identity import identify
from auditlens.policy.apiserver.model import GroupResources, Policy, Rule
from auditlens.policy.apiserver.quoting import go_quote
from auditlens.policy.apiserver.validate import aggregate, validate
from auditlens.policy.apiserver.versions import DEFAULT_VERSION, Features, features

__all__ = ["Draft", "draft", "load"]


@dataclass(slots=True)
class Draft:
    """A policy text read as far as it can be, refused or not.

    `refusal` is the server's message behind "loading audit policy file: ", None if it takes the policy; `policy` is
    what the text says even where it is refused (its levels and stages then may be any text).
    """

    features: Features
    file: str | None
    policy: Policy = field(default_factory=Policy)
    root: Node | None = None
    decoded: Decoded = field(default_factory=Decoded)
    duplicates: list[Duplicate] = field(default_factory=list)
    next_document: Position | None = None
    refusal: str | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def dropped(self) -> list[Unknown]:
        """The fields the server does not know, and known ones that this release came before."""
        return self.decoded.unknown

    def refuse(self, message: str, problems: list[Problem]) -> Draft:
        if self.refusal is None:
            self.refusal = message
        self.problems.extend(problems)
        return self


def load(text: str, kubernetes_version: str = DEFAULT_VERSION, file: str | None = None) -> Policy:
    """Load a policy as a kube-apiserver of that release would.

    Raises PolicyError with every complaint if the server would refuse to start, UsageError for a version that is none.

    >>> load("{apiVersion: audit.k8s.io/v1}")
    Traceback (most recent call last):
    auditlens.policy.apiserver.errors.PolicyError: <policy>:1:2: failed decoding: couldn't get version/kind; ...
    """
    read = draft(text, kubernetes_version, file)
    if read.refusal is not None:
        raise PolicyError(read.refusal, tuple(read.problems), file)
    return read.policy


def draft(text: str, kubernetes_version: str = DEFAULT_VERSION, file: str | None = None) -> Draft:
    """Read a policy text without raising; what the server would refuse is in the draft."""
    out = Draft(features(kubernetes_version), file)
    try:
        out.root = _parse(text, out)
    except SyntaxFault as fault:
        message = fault.message
        if jsontext.is_json(text):
            message = f"couldn't get version/kind; json parse error: {message}"
        problem = Problem(f"failed decoding: {message}", "syntax", fault.position)
        return out.refuse(problem.message, [problem])
    package = identify(out.root, out.features)
    if isinstance(package, Problem):
        out.refuse(package.message, [package])
    out.decoded = decode(out.root, "v1" if isinstance(package, Problem) else package)
    _drop_newer_fields(out)
    if out.decoded.faults:
        first = out.decoded.faults[0]
        faults = [_failed(fault) for fault in out.decoded.faults]
        out.refuse(f"failed decoding: {first.message}", faults)
    out.policy = _policy(out, kubernetes_version)
    problems = validate(out.policy, out.decoded, out.features)
    if problems:
        out.refuse(aggregate(problems), problems)
    if not out.policy.rules and out.features.validates_all:
        message = "loaded illegal policy with 0 rules"
        out.refuse(message, [Problem(message, "no-rules", out.decoded.place(("rules",)), ("rules",))])
    return out


def _parse(text: str, out: Draft) -> Node:
    if jsontext.is_json(text):
        return jsontext.read(text)
    document = yamltext.read(text.removeprefix("\ufeff"))
    out.duplicates = document.duplicates
    out.next_document = document.next_document
    for node in document.root.walk():
        if node.bad:
            raise SyntaxFault(node.bad, node.position)
    return document.root


def _failed(problem: Problem) -> Problem:
    return Problem(f"failed decoding: {problem.message}", problem.code, problem.position, problem.path)


def _drop_newer_fields(out: Draft) -> None:
    """Forget the fields that came after this release: it ignores them like any unknown one."""
    value = out.decoded.value
    rules = value.get("rules") or []

    def drop(holder: dict[str, Any], key: str, *path: str | int) -> None:
        if key in holder:
            del holder[key]
            where = (*path, key)
            out.decoded.unknown.append(Unknown(where, out.decoded.place(where), Node("null", Position(1, 1))))

    if not out.features.policy_omit_stages:
        drop(value, "omitStages")
    if not out.features.managed_fields:
        drop(value, "omitManagedFields")
    for index, rule in enumerate(rules):
        if not out.features.rule_omit_stages:
            drop(rule, "omitStages", "rules", index)
        if not out.features.managed_fields:
            drop(rule, "omitManagedFields", "rules", index)
        for place, entry in enumerate(rule.get("resources") or []):
            if not out.features.resource_names:
                drop(entry, "resourceNames", "rules", index, "resources", place)


def _policy(out: Draft, kubernetes_version: str) -> Policy:
    value = out.decoded.value
    policy = Policy.model_construct(
        api_version=value.get("apiVersion") or "",
        kind=value.get("kind") or "Policy",
        metadata=value.get("metadata") or {},
        omit_stages=tuple(value.get("omitStages") or ()),
        omit_managed_fields=bool(value.get("omitManagedFields")),
        rules=tuple(_rule(rule) for rule in value.get("rules") or ()),
        kubernetes_version=kubernetes_version,
        file=out.file,
        warnings=tuple(_warnings(out)) if out.features.strict_warnings else (),
    )
    policy._positions = out.decoded.positions
    policy._ignored = _ignored(out, len(policy.rules))
    return policy


def _rule(value: dict[str, Any]) -> Rule:
    return Rule.model_construct(
        level=value.get("level") or "",
        users=tuple(value.get("users") or ()),
        user_groups=tuple(value.get("userGroups") or ()),
        verbs=tuple(value.get("verbs") or ()),
        resources=tuple(
            GroupResources.model_construct(
                group=entry.get("group") or "",
                resources=tuple(entry.get("resources") or ()),
                resource_names=tuple(entry.get("resourceNames") or ()),
            )
            for entry in value.get("resources") or ()
        ),
        namespaces=tuple(value.get("namespaces") or ()),
        non_resource_urls=tuple(value.get("nonResourceURLs") or ()),
        omit_stages=tuple(value.get("omitStages") or ()),
        omit_managed_fields=value.get("omitManagedFields"),
    )


def _ignored(out: Draft, rules: int) -> dict[int, tuple[str, ...]]:
    """What each rule says in vain: fields the server drops, and values that a later one of the same field replaces."""
    told: dict[int, list[str]] = {}
    for unknown in out.dropped:
        match unknown.path:
            case ("rules", int(index), *inner) if inner:
                name = dotted(tuple(inner))
                told.setdefault(index, []).append(f"{name} as given first" if unknown.repeated else name)
    starts = [out.decoded.place(("rules", index)) for index in range(rules)]
    for duplicate in out.duplicates:
        inside = sum(start <= duplicate.first for start in starts)
        if inside:
            told.setdefault(inside - 1, []).append(f"{duplicate.key} of line {duplicate.first.line}, given again")
    return {index: tuple(texts) for index, texts in told.items()}


def _warnings(out: Draft) -> list[Problem]:
    warnings = []
    if out.duplicates:
        lines = "".join(f"\n  line {d.line}: key {go_quote(d.key)} already set in map" for d in out.duplicates)
        place = out.duplicates[0].position
        warnings.append(Problem(f"yaml: unmarshal errors:{lines}", "duplicate", place))
    for unknown in out.dropped:
        word, code = ("duplicate", "duplicate") if unknown.repeated else ("unknown", "unknown-field")
        message = f"{word} field {go_quote(dotted(unknown.path))}"
        warnings.append(Problem(message, code, unknown.position, unknown.path))
    return warnings
