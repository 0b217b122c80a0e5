"""Needs become the fewest rules that fulfil them, each with the reason it is there; no lake is asked here.

The order: noise (dropped), needs of single resources, verbs nobody needs (dropped), secrets and the like (capped), verbs by
level, and last a rule without conditions for what is left: at the level that the widest need asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from auditlens.answers.questions import Logged
from auditlens.policy.apiserver.model import LEVELS, GroupResources, Level, Rule
from auditlens.policy.apiserver.served import HTTP_VERBS, RESOURCE_VERBS
from auditlens.policy.apiserver.shadow import covered
from auditlens.policy.apiserver.versions import Features
from auditlens.policy.requirements.requirement import FAILED_LOGINS, SENSITIVE, Requirement, meet, need_rule, sensitive
from auditlens.policy.simulation.noise import Noise

__all__ = ["Planned", "narrowed", "plan"]

_VERBS: Final = tuple(dict.fromkeys((*RESOURCE_VERBS, *HTTP_VERBS)))
_KNOWN: Final = ("system:authenticated", "system:unauthenticated")  # everyone but who failed to log in


@dataclass(frozen=True, slots=True)
class Planned:
    """A rule and why it is there. `kind` is noise, need, unneeded, cap or rest; `requirements` are the names that need it."""

    rule: Rule
    kind: str
    what: str
    requirements: tuple[str, ...] = ()
    received: bool = False  # the stage RequestReceived is needed
    lost: str = ""  # what is given up with it


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the needs of a verb come to."""

    level: int = 0
    received: bool = False
    requirements: tuple[str, ...] = ()

    def plus(self, need: Logged, requirement: str) -> _Wanted:
        received = self.received or "RequestReceived" in need.stages
        names = self.requirements if requirement in self.requirements else (*self.requirements, requirement)
        return _Wanted(max(self.level, LEVELS.index(need.level)), received, names)

    @property
    def key(self) -> tuple[int, bool]:
        return self.level, self.received


def narrowed(noise: Noise, needs: Iterable[Logged], release: Features) -> Noise | None:
    """What of some noise no need wants, whatever its requests come to; None if nothing. Needs of failures only do not count."""
    verbs = set(noise.rule.verbs or _VERBS)
    for need in needs:
        if not need.codes and meet(noise.rule, need_rule(need), release) is not None:
            verbs -= set(need.verbs or verbs)
    if not verbs:
        return None
    if not noise.rule.verbs:
        return noise if verbs == set(_VERBS) else None
    return replace(noise, rule=noise.rule.model_copy(update={"verbs": tuple(v for v in noise.rule.verbs if v in verbs)}))


def plan(requirements: Sequence[Requirement], noise: Sequence[Noise], release: Features) -> list[Planned]:
    """The rules for some requirements; `noise` is what may be dropped."""
    every = _Wanted()
    by_verb: dict[str, _Wanted] = {}
    scoped: list[tuple[Requirement, Logged]] = []
    for requirement in requirements:
        for need in requirement.needs:
            if need.resources:
                scoped.append((requirement, need))
            elif need.verbs:
                for verb in need.verbs:
                    by_verb[verb] = by_verb.get(verb, _Wanted()).plus(need, requirement.name)
            else:
                every = every.plus(need, requirement.name)
    merged = {v: _merge(every, by_verb.get(v, _Wanted())) for v in dict.fromkeys((*_VERBS, *by_verb))}
    wanted = {v: w for v, w in merged.items() if w.level}
    rest = every if every.level else min(wanted.values(), key=lambda w: w.key, default=_Wanted(1, False, (FAILED_LOGINS.name,)))
    out = [Planned(n.rule, "noise", n.what, lost=n.lost) for n in noise]
    out += _scoped(scoped, wanted, release)
    if unneeded := tuple(v for v in _VERBS if v not in wanted):
        rule = Rule(level="None", user_groups=_KNOWN, verbs=unneeded)
        lost = f"everything else that is done with {', '.join(unneeded)}"
        out.append(Planned(rule, "unneeded", "verbs no question needs; failed logins belong to no group and go on", lost=lost))
    out += _caps(wanted, rest)
    groups: dict[tuple[int, bool], list[str]] = {}
    for verb, want in wanted.items():
        if want.key != rest.key:
            groups.setdefault(want.key, []).append(verb)
    for (level, received), verbs in sorted(groups.items(), reverse=True):
        names = tuple(dict.fromkeys(n for v in verbs for n in wanted[v].requirements))
        out.append(Planned(Rule(level=LEVELS[level], verbs=tuple(verbs)), "need", "", names, received))
    left = tuple(dict.fromkeys((*rest.requirements, *(n for w in wanted.values() if w.key == rest.key for n in w.requirements))))
    out.append(
        Planned(Rule(level=LEVELS[rest.level]), "rest", "everything else, also what nobody has thought of", left, rest.received)
    )
    return out


def _merge(one: _Wanted, other: _Wanted) -> _Wanted:
    names = tuple(dict.fromkeys((*one.requirements, *other.requirements)))
    return _Wanted(max(one.level, other.level), one.received or other.received, names)


def _scoped(scoped: Sequence[tuple[Requirement, Logged]], wanted: Mapping[str, _Wanted], release: Features) -> list[Planned]:
    """Rules for needs of single resources, where their verbs are not written at that level anyway; contained ones once."""
    found: dict[Rule, Planned] = {}
    for requirement, need in scoped:
        rule = need_rule(need)
        received = "RequestReceived" in need.stages
        low = tuple(
            v for v in need.verbs or _VERBS
            if wanted.get(v, _Wanted()).level < LEVELS.index(rule.level) or received > wanted.get(v, _Wanted()).received
        )  # fmt: skip
        if not low:
            continue
        received = received or any(wanted[v].received for v in low if v in wanted)
        entries: dict[Level, list[GroupResources]] = {}
        for group, texts in need.resources:
            for text in texts:
                entry = GroupResources(group=group, resources=(text,))
                secret = sensitive(Rule(level="Metadata", resources=(entry,)), release)
                entries.setdefault("Metadata" if secret else rule.level, []).append(entry)
        for level, each in entries.items():
            resources = tuple(
                GroupResources(group=g, resources=tuple(dict.fromkeys(t for e in each if e.group == g for t in e.resources)))
                for g in dict.fromkeys(e.group for e in each)
            )
            made = Rule(level=level, verbs=low if need.verbs else (), resources=resources)
            before = found.get(made, Planned(made, "need", need.why))
            names = tuple(dict.fromkeys((*before.requirements, requirement.name)))
            found[made] = replace(before, requirements=names, received=before.received or received)
    return _absorbed(sorted(found.values(), key=lambda p: -LEVELS.index(p.rule.level)), release)


def _absorbed(planned: list[Planned], release: Features) -> list[Planned]:
    """Without rules that another one, at their level or above, contains; it takes their requirements over."""
    kept = list(planned)
    for one in planned:
        for i, other in enumerate(kept):
            enough = LEVELS.index(other.rule.level) >= LEVELS.index(one.rule.level) and other.received >= one.received
            if other.rule != one.rule and enough and covered(one.rule, [other.rule], release):
                kept[i] = replace(other, requirements=tuple(dict.fromkeys((*other.requirements, *one.requirements))))
                kept = [p for p in kept if p.rule != one.rule]
                break
    return kept


def _caps(wanted: Mapping[str, _Wanted], rest: _Wanted) -> list[Planned]:
    """Secrets and the like at Metadata wherever the rules after these would write more."""
    what = "never the content of secrets, of configmaps, where credentials end up, and of tokens"
    lost = "content of secrets, configmaps and tokens; names in collections of them that were deleted"
    out: list[Planned] = []
    for received in (True, False):
        verbs = tuple(v for v, w in wanted.items() if w.level > 1 and w.received == received and w.key != rest.key)
        if verbs:
            out.append(Planned(SENSITIVE.model_copy(update={"verbs": verbs}), "cap", what, received=received, lost=lost))
    if rest.level > 1:
        out.append(Planned(SENSITIVE, "cap", what, received=rest.received, lost=lost))
    return out
