"""A recommended policy is written as YAML that explains itself: shares measured, who needs a rule, what is given up."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from auditlens.policy.apiserver.model import Policy
from auditlens.policy.apiserver.rewrite import dump
from auditlens.policy.lint import lint
from auditlens.policy.requirements.requirement import Requirement
from auditlens.policy.requirements.synthesis import Planned
from auditlens.policy.simulation.request_counts import RequestCounts
from auditlens.policy.simulation.volume import Volume, judge

__all__ = ["size", "write"]

_WIDTH: Final = 110
_CONTENT: Final = {
    "Metadata": "who did it, when, and how it ended",
    "Request": "who did it, and what was sent",
    "RequestResponse": "who did it, what was sent and what was answered",
}


def size(count: float) -> str:
    """Bytes for people: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def write(
    policy: Policy,
    planned: Sequence[Planned],
    requirements: Sequence[Requirement],
    traffic: RequestCounts,
    now: Volume,
    predicted: Volume,
    given_up: Sequence[str],
) -> str:
    """The policy as commented YAML; it lints clean."""
    head = [f"Keeps answerable: {', '.join(w.name for w in requirements) or 'nothing in particular'}; failed logins in any case."]
    if undeclared := [w.name for w in requirements if not w.declared]:
        head.append(f"Of {', '.join(undeclared)} nobody has written down what is needed: Metadata for everything was taken.")
    if traffic.events:
        day = traffic.per_day
        share = f"{100 * predicted.bytes / max(now.bytes, 1):.0f} % of the log measured"
        head.append(
            f"Predicted: {size(predicted.bytes * day)} and {round(predicted.events * day):,} events a day, {share} "
            f"({size(now.bytes)} in {traffic.seconds / 3600:.2f} hours from {traffic.first} on)."
        )
        if predicted.estimated:
            rough = f"{100 * predicted.estimated / max(predicted.bytes, 1):.1f} %"
            head.append(f"{rough} of it is estimated: the log's own level was too low, or a stage left out.")
    else:
        head.append("Volumes are unmeasured: there was no traffic to look at.")
    head.append(f"Given up: {'; '.join(given_up) or 'nothing'}.")
    shares = _shares(traffic, policy, now)
    notes: dict[int | None, str] = {None: _wrapped(head)}
    for index, one in enumerate(planned):
        what = one.what or _CONTENT[one.rule.level]
        lines = [f"{what[:1].upper()}{what[1:]}."]
        if one.requirements:
            lines.append(f"Needed by {_some(one.requirements)}.")
        lines.append(shares[index])
        notes[index] = _wrapped([" ".join(lines)])
    text = dump(policy, notes)
    if accepted := _accepted(text, policy, requirements):
        notes[None] += "\n" + accepted
        text = dump(policy, notes)
    return text


def _some(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _wrapped(paragraphs: Sequence[str]) -> str:
    return "\n".join(line for text in paragraphs for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False))


def _shares(traffic: RequestCounts, policy: Policy, now: Volume) -> list[str]:
    """Per rule, the measured share of the log its requests make up, and of what will be written."""
    if not traffic.events:
        return ["Unmeasured."] * len(policy.rules)
    rows = traffic.con.execute(
        "select rule, sum(events_now), sum(bytes_now), sum(bytes_then), sum(sum(bytes_then)) over () "
        f"from {judge(traffic, policy)} group by rule"
    ).fetchall()
    found = {row[0]: row[1:] for row in rows}
    out = []
    for index, rule in enumerate(policy.rules):
        events, before, after, whole = found.get(index, (0, 0, 0, 1))
        share = f"{100 * events / max(now.events, 1):.1f} % of events and {100 * before / max(now.bytes, 1):.1f} % of bytes"
        written = "" if rule.level == "None" else f", {100 * after / max(whole, 1):.1f} % of the bytes that will be written"
        out.append(f"Measured: {share} of the log now{written}.")
    return out


def _accepted(text: str, policy: Policy, requirements: Sequence[Requirement]) -> str:
    """Comments that tell lint why noise stays in: a question needs it, or there was none."""
    unconditional = [w.name for w in requirements if any(not n.resources for n in w.needs)]
    reason = f"not dropped: {_some(unconditional, 3)} may need it" if unconditional else "not dropped: none was measured"
    found = dict.fromkeys(f.id for f in lint(text, policy.kubernetes_version) if f.severity == "info")
    return "\n".join(f"auditlens: {identity} {reason}" for identity in found)
