"""lint() finds what kube-apiserver refuses in a policy, and what it takes without a word and that is wrong all the same.

The checks are in families, one file each: refusals AP1xx, fields AP2xx, reach AP3xx, names AP4xx, bodies AP5xx,
losses AP60x, noise AP65x, releases AP7xx.

A finding of severity info is not told where the policy says why it is so, in a comment of its own line:

    # auditlens: AP652 leases stay in, the question `top` counts them

Errors and warnings cannot be waved through.
"""

from __future__ import annotations

import re

from auditlens.policy.apiserver.loader import draft
from auditlens.policy.apiserver.versions import DEFAULT_VERSION
from auditlens.policy.lint import bodies, fields, losses, names, noise, reach, refusals, releases
from auditlens.policy.lint.output import as_json, as_sarif, as_text
from auditlens.policy.lint.registry import Check, Finding, Severity, checks, run

__all__ = ["FAMILIES", "Check", "Finding", "Severity", "as_json", "as_sarif", "as_text", "checks", "lint"]

_ACCEPTED = re.compile(r"^[ \t]*# auditlens: (AP[0-9]{3}) \S", re.MULTILINE)
FAMILIES = (refusals, fields, reach, names, bodies, losses, noise, releases)


def lint(text: str, kubernetes_version: str = DEFAULT_VERSION, file: str | None = None) -> list[Finding]:
    """Check a policy for one Kubernetes release; the findings come in the order of the text, [] is a clean policy.

    Never raises for a text, however broken; raises UsageError for a version that is none.
    """
    accepted = set(_ACCEPTED.findall(text))
    return [f for f in run(draft(text, kubernetes_version, file)) if f.severity != "info" or f.id not in accepted]
