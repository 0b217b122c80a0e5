"""The words a person has for an object become the one address it has in the log; what does not exist there is said.

`pod/web-1`, `pod web-1`, `deploy/web-*`, `deployments.apps/web`, `widgets.v1.example.com/w1`, `gz/g1` by the short name that a
CRD of the log declares, a kind alone, or a uid: everything that asks about objects reads them here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.engine import pattern
from auditlens.errors import UsageError
from auditlens.quoting import listed, quoted

if TYPE_CHECKING:
    import duckdb

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# Every CRD the log shows, whole or in a list; of one that was recorded without its body the name alone, which is PLURAL.GROUP.
_CRDS = """
with told as (
    select name as crd, response_kind, case when response_kind like 'CustomResourceDefinition%' then response_object else request_object end as body
    from audit
    where resource = 'customresourcedefinitions' and coalesce(subresource, '') in ('', 'status') and stage <> 'RequestReceived'
        and verb <> 'deletecollection' and code < 300
),
crds as (
    select crd, body(body)::json as spec from told where response_kind is distinct from 'CustomResourceDefinitionList'
    union all
    select null, unnest(cast(body(body)::json -> '$.items' as json[])) from told where response_kind = 'CustomResourceDefinitionList'
)
select distinct
    coalesce(spec ->> '$.spec.names.plural', split_part(crd, '.', 1)) as plural,
    coalesce(spec ->> '$.spec.group', substr(crd, strpos(crd, '.') + 1)) as api_group,
    [lower(spec ->> '$.spec.names.kind'), spec ->> '$.spec.names.plural', spec ->> '$.spec.names.singular', split_part(crd, '.', 1)]
        || coalesce(try_cast(spec -> '$.spec.names.shortNames' as varchar[]), []) as words
from crds
order by all
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Which objects are meant: `group` None is any, `resources` empty is every kind, `name` and `namespace` may hold globs.

    `names` are exact and narrow it further; None is any. With a `uid` only the life that has it is meant. `known` is false for
    a kind that is not built in and that nothing in the log tells of.
    """

    group: str | None = None
    resources: tuple[str, ...] = ()
    name: str | None = None
    namespace: str | None = None
    cluster: str | None = None
    names: tuple[str, ...] | None = None
    uid: str | None = None
    known: bool = True

    def __str__(self) -> str:
        kind = "/".join(self.resources) + (f".{self.group}" if self.group else "")
        return (kind or "objects") + (f"/{self.name}" if self.name else "") + (f" in {self.namespace}" if self.namespace else "")

    @property
    def resource(self) -> str | None:
        """The plural resource name; the first guess for a kind that nothing tells of."""
        return self.resources[0] if self.resources else None

    def where(self, t: str = "t") -> tuple[str, dict[str, Any]]:
        """A condition on `audit_objects`, and its parameters."""
        parts, params = ["true"], {}
        if self.resources:
            parts.append(f"{t}.resource in ({listed(self.resources)})")
        if self.group is not None and self.resources:
            parts.append(f"{t}.api_group = {quoted(self.group)}")
        if self.names is not None:
            parts.append(f"{t}.name in ({listed(self.names)})")
        for column in ("name", "namespace", "cluster"):
            value = pattern(getattr(self, column))
            if value is None:
                continue
            params[f"t_{column}"] = value
            parts.append(f"{t}.{column} = $t_{column}" if not value.startswith("\x01") else f"fits({t}.{column}, $t_{column})")
        return " and ".join(parts), params


def split(text: str) -> tuple[str, str | None]:
    """The kind and the name in `KIND/NAME`, `KIND NAME` or `KIND`; the name is None where there is none.

    Raises:
        UsageError: there is no kind in it, or more than one name.
    """
    word, slash, name = text.strip().partition("/")
    if not slash:
        word, _, name = text.strip().partition(" ")
        name = name.strip()
    try:
        kinds.parse_object(f"{word}/{name}" if slash or name else f"{word}/x")
    except ValueError as e:
        raise UsageError(str(e)) from e
    return word, name or None


def address(
    con: duckdb.DuckDBPyConnection | None, text: str | None, *, namespace: str | None = None, cluster: str | None = None
) -> Address:
    """The address that a person's words mean in this log; without one (`con` None) only built-in kinds are known.

    Raises:
        UsageError: the words are no kind and name, or fit several kinds of the log; it names the nearest, or those that fit.
    """
    if not text:
        return Address(namespace=namespace, cluster=cluster)
    if con is not None and _UID.fullmatch(text.strip()):
        return _of_uid(con, text.strip().lower(), namespace, cluster)
    word, name = split(text)
    meant = kinds.parse_object(f"{word}/x")
    resources, group, known = meant.resources, meant.api_group, True
    if con is None:
        known = meant.known
    elif not meant.known:
        resources, group, known = _custom(con, word, resources, group)
    elif group is not None and "." not in word:
        group = _served(con, resources, group)
    return Address(group, resources, name, namespace, cluster, known=known)


def _custom(
    con: duckdb.DuckDBPyConnection, word: str, guesses: tuple[str, ...], group: str | None
) -> tuple[tuple[str, ...], str | None, bool]:
    """A custom kind as the CRDs of the log name it, else the guess that the log has."""
    named = word.partition(".")[0].lower()
    declared = [(plural, of) for plural, of, words in con.execute(_CRDS).fetchall() if plural and named in words]
    found = _narrowed(declared, group)
    if not found:
        seen = con.execute(
            f"select distinct resource, api_group from audit_objects where resource in ({listed(guesses)}) order by all"
        ).fetchall()
        found = _narrowed(seen, group)
    if len({plural for plural, _ in found}) > 1:
        raise UsageError(f"{word} is several kinds in this log: {', '.join(f'{p}.{g}' for p, g in found)}; name one of them")
    if not found:
        return guesses, group, False
    return (found[0][0],), found[0][1] if len(found) == 1 else None, True


def _narrowed(found: list[tuple[str, str | None]], group: str | None) -> list[tuple[str, str | None]]:
    """Those of a group; as for kubectl the start of its name will do if none is named just so."""
    if group is None:
        return sorted(set(found), key=str)
    return sorted({f for f in found if f[1] == group} or {f for f in found if (f[1] or "").startswith(group)}, key=str)


def _served(con: duckdb.DuckDBPyConnection, resources: tuple[str, ...], group: str) -> str | None:
    """The newest group of a kind; any group where the log has the kind under another one only (a CRD, an old server)."""
    of = f"select 1 from audit_objects where resource in ({listed(resources)})"
    if con.execute(f"{of} and api_group = {quoted(group)} limit 1").fetchall():
        return group
    return None if con.execute(f"{of} limit 1").fetchall() else group


def _of_uid(con: duckdb.DuckDBPyConnection, uid: str, namespace: str | None, cluster: str | None) -> Address:
    rows = con.execute(
        "select distinct api_group, resource, name, namespace from audit_objects where uid = $uid and name is not null "
        "and via <> 'owner' and fits(namespace, $namespace) and fits(cluster, $cluster) order by all",
        {"uid": uid, "namespace": pattern(namespace), "cluster": pattern(cluster)},
    ).fetchall()
    if not rows:
        raise UsageError(f"no object of the log has the uid {uid}; those of objects stand in responses, at RequestResponse")
    if len({r[1:] for r in rows}) > 1:
        several = ", ".join(f"{resource} {where or ''}/{name}" for _, resource, name, where in rows[:3])
        raise UsageError(f"the log gives the uid {uid} to several objects: {several}; name one")
    groups = {r[0] for r in rows}
    return Address(groups.pop() if len(groups) == 1 else None, (rows[0][1],), rows[0][2], rows[0][3], cluster, uid=uid)
