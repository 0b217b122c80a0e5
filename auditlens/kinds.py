"""Any word an operator has for a kind of object finds the resource the API files it under.

The facts are in kinds.tsv beside this module: built-in kinds only. Custom kinds are guessed at,
and said to be unknown.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

Maturity = Literal["alpha", "beta", "GA"]

_VERSION = re.compile(r"v[0-9]+(?:(alpha|beta)[0-9]+)?")
_KIND_WORD = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*\.?")


@dataclass(frozen=True, slots=True)
class Kind:
    """A built-in kind as one API group serves it.

    `group` is "" for the core group. `versions` are all versions known to have been served, the most
    stable and newest first; `maturity` is that of the first. A kind that moved between groups
    (Deployment: extensions, then apps) is one Kind in each.
    """

    kind: str
    resource: str
    singular: str
    short_names: tuple[str, ...]
    group: str
    versions: tuple[str, ...]
    namespaced: bool
    maturity: Maturity


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """Where in an audit log to look for an object: objectRef's apiGroup, resource and name.

    `api_group` is None if any group will do. The object is under one of `resources`; there is more than
    one only if the kind is not `known` and its plural is a guess. `name` may hold a glob.
    """

    api_group: str | None
    resources: tuple[str, ...]
    name: str
    known: bool


def maturity(version: str) -> Maturity | None:
    """Return how mature an API version says it is, None if the text is not an API version.

    v1alpha1 is alpha, v2beta2 is beta, v1 is GA (docs/reference/using-api, "API versioning").
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    return "alpha" if match[1] == "alpha" else "beta" if match[1] == "beta" else "GA"


def find(word: str) -> list[Kind]:
    """Return the built-in kinds a word means, those of the newest release first; [] if none.

    The word is a kind, plural, singular or short name in any case, alone or as kubectl qualifies it:
    `deployments.apps`, `deploy.v1.apps`, `pods.v1.` (the dot at the end is the core group). As for
    kubectl, the start of a group will do if no group is named just so: `ing.networking`.
    """
    name, version, group = _split(word)
    kinds = [k for k in _by_word().get(name, []) if version is None or version in k.versions]
    if group is None:
        return kinds
    exact = [k for k in kinds if k.group == group]
    return exact or [k for k in kinds if group and k.group.startswith(group)]


def resource_of(group: str, kind: str) -> str | None:
    """Return the resource of a kind as objects spell it: ("apps", "Deployment") is deployments.

    None if the pair is not a built-in one.
    """
    return _by_group_and_kind().get((group, kind))


def kind_of(group: str, resource: str) -> str | None:
    """Return the kind that objects of a resource have: ("apps", "deployments") is Deployment.

    None if the pair is not a built-in one.
    """
    return next((k.kind for k in every() if (k.group, k.resource) == (group, resource)), None)


def suggest(word: str) -> list[str]:
    """Return up to three built-in kinds spelled much like the word, the nearest first."""
    names = {name: k.singular for k in every() for name in (k.singular, k.resource)}
    near = difflib.get_close_matches(_split(word)[0], names, n=6)
    return _unique(names[name] for name in near)[:3]


def parse_object(text: str) -> ObjectAddress:
    """Read `pod/web-1`, `deploy/web-*`, `deployments.apps/web` or `widgets.example.com/w1`.

    A word that is no built-in kind may be a custom one. It is looked for under the word itself in lower
    case and under its plural by the common rules of English (policy: policies, mesh: meshes,
    widget: widgets), which is how custom resources are mostly named.

    Raises ValueError, naming the nearest kinds, if the text is not one kind and one name.
    """
    word, slash, name = text.partition("/")
    if not slash:
        raise _malformed(text, "there is no '/' in it")
    if "/" in name:
        raise _malformed(text, "there is more than one '/' in it, and a namespace or subresource is no part of it")
    if not name or name != "".join(name.split()):
        raise _malformed(text, "the name is empty or has a space in it")
    if not _KIND_WORD.fullmatch(word.lower()):
        raise _malformed(text, f"{word!r} cannot be a kind" if word else "the kind is empty")

    kinds = find(word)
    if kinds:
        groups = {k.group for k in kinds}
        api_group = groups.pop() if len(groups) == 1 else None
        return ObjectAddress(api_group, tuple(_unique(k.resource for k in kinds)), name, known=True)
    custom, _, group = _split(word)
    return ObjectAddress(group, (custom, _plural(custom)), name, known=False)


def _malformed(text: str, why: str) -> ValueError:
    message = f"{text!r} is not kind/name: {why}. Write it like pod/web-1 or deployments.apps/web"
    first_word = re.split(r"[^A-Za-z0-9.-]+", text.strip("/ \t"), maxsplit=1)[0]
    near = suggest(first_word)
    return ValueError(f"{message} (nearest kinds: {', '.join(near)})" if near else message)


def _split(word: str) -> tuple[str, str | None, str | None]:
    """Split `resource[.version][.group]` into its lower-cased parts, None for a part not given.

    kubectl asks the server whether the middle part is a version (k8s.io/apimachinery/pkg/runtime/schema
    ParseResourceArg); here it is one if it looks like one.
    """
    name, _, rest = word.lower().partition(".")
    head, dot, tail = rest.partition(".")
    if maturity(head):
        return name, head, tail if dot else None
    return name, None, rest or None


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


@cache
def every() -> tuple[Kind, ...]:
    lines = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader((line for line in lines if not line.startswith("#")), dialect="excel-tab")
    return tuple(_kind(row) for row in rows)


def _kind(row: dict[str, str]) -> Kind:
    return Kind(
        kind=row["kind"],
        resource=row["resource"],
        singular=row["singular"],
        short_names=tuple(row["short_names"].split(",")) if row["short_names"] else (),
        group=row["group"],
        versions=tuple(row["versions"].split(",")),
        namespaced=row["namespaced"] == "true",
        maturity=cast(Maturity, row["maturity"]),
    )


@cache
def _by_word() -> dict[str, list[Kind]]:
    index: dict[str, list[Kind]] = {}
    for kind in every():
        for word in _unique([kind.kind.lower(), kind.resource, kind.singular, *kind.short_names]):
            index.setdefault(word, []).append(kind)
    return index


@cache
def _by_group_and_kind() -> dict[tuple[str, str], str]:
    return {(kind.group, kind.kind): kind.resource for kind in every()}
