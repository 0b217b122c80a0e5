"""AP1xx: what kube-apiserver refuses to start with, in its own words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from auditlens.policy.lint.registry import Context, Hit, check

_STOPS = "kube-apiserver does not start with this file: it ends with 'loading audit policy file: …'."

# id, title, the loader's code, what to do
_REFUSALS: Final = (
    ("AP101", "not readable as YAML or JSON", "syntax", "Mend the syntax; mind indentation and quotes."),
    (
        "AP102",
        "value of the wrong type",
        "type",
        "Give the type the field wants: lists for lists, and quotes around strings that YAML reads as something "
        "else (yes, no, on, off, y, n, numbers).",
    ),
    (
        "AP103",
        "apiVersion or kind unknown",
        ("api-version", "kind"),
        "Start the file with `apiVersion: audit.k8s.io/v1` and `kind: Policy`.",
    ),
    (
        "AP104",
        "apiVersion this release no longer reads",
        "api-version-removed",
        "Write `apiVersion: audit.k8s.io/v1`; the rest may stay (`auditlens policy convert` does it).",
    ),
    ("AP105", "no rules", "no-rules", "Add a rule; to log nothing, one with `level: None`."),
    (
        "AP106",
        "rule without level",
        "level-missing",
        "Add `level:` None, Metadata, Request or RequestResponse.",
    ),
    (
        "AP107",
        "unknown level",
        "level-unknown",
        "Use None, Metadata, Request or RequestResponse, spelled just so.",
    ),
    (
        "AP108",
        "unknown stage",
        "stage",
        "Use RequestReceived, ResponseStarted, ResponseComplete or Panic, spelled just so.",
    ),
    (
        "AP109",
        "malformed non-resource URL",
        "url",
        "Start it with / and use * only as its last character (or alone).",
    ),
    (
        "AP110",
        "malformed API group",
        "group",
        "Write the group without version, in lower case: rbac.authorization.k8s.io. `*` is allowed from 1.36.",
    ),
    (
        "AP111",
        "resourceNames without resources",
        "names",
        "List the resources whose names these are.",
    ),
    (
        "AP112",
        "resources and URLs in one rule",
        "mixed",
        "Split it: one rule for resources or namespaces, one for nonResourceURLs.",
    ),
)


def _register(identity: str, title: str, codes: tuple[str, ...], fix: str) -> None:
    @check(identity, title, "error", _STOPS)
    def refusal(context: Context) -> Iterator[Hit]:
        for problem in context.draft.problems:
            if problem.code in codes:
                yield Hit(problem.path or problem.position, problem.message, fix)


for _identity, _title, _code, _fix in _REFUSALS:
    _register(_identity, _title, (_code,) if isinstance(_code, str) else _code, _fix)
