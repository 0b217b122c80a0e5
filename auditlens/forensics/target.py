"""The words a person has for an object become the addresses it may have in the log; what does not exist there is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditlens import kinds
from auditlens.engine import pattern
from auditlens.errors import UsageError

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for: `group` None is any, `resources` empty is every kind, `name` and `namespace` may hold globs.

    `names` are exact and narrow it further; None is any.
    """

    group: str | None = None
    resources: tuple[str, ...] = ()
    name: str | None = None
    namespace: str | None = None
    cluster: str | None = None
    names: tuple[str, ...] | None = None

    def where(self, t: str = "t") -> tuple[str, dict[str, Any]]:
        """A condition on `audit_objects`, and its parameters."""
        parts, params = ["true"], {}
        if self.resources:
            parts.append(f"{t}.resource in ({', '.join(_quoted(r) for r in self.resources)})")
        if self.group is not None and self.resources:
            parts.append(f"{t}.api_group = {_quoted(self.group)}")
        if self.names is not None:
            parts.append(f"{t}.name in ({', '.join(_quoted(n) for n in self.names) or 'null'})")
        for column in ("name", "namespace", "cluster"):
            value = pattern(getattr(self, column))
            if value is None:
                continue
            params[f"t_{column}"] = value
            parts.append(f"{t}.{column} = $t_{column}" if not value.startswith("\x01") else f"fits({t}.{column}, $t_{column})")
        return " and ".join(parts), params


def target(
    con: duckdb.DuckDBPyConnection, text: str | None, *, namespace: str | None = None, cluster: str | None = None
) -> Target:
    """Read `pod/web-1`, `deploy/web-*`, `widgets.example.com/w1`, or a kind alone.

    Raises UsageError, naming the nearest kinds, if the text is no kind and no name.
    """
    if not text:
        return Target(namespace=namespace, cluster=cluster)
    word, slash, name = text.partition("/")
    try:
        address = kinds.parse_object(text if slash else f"{text}/x")
    except ValueError as e:
        raise UsageError(str(e)) from e
    resources, group = address.resources, address.api_group
    if not address.known:
        resources, group = _custom(con, word, resources, group)
    elif group is not None and "." not in word:
        group = _served(con, resources, group)
    return Target(group, resources, name if slash else None, namespace, cluster)


def _custom(
    con: duckdb.DuckDBPyConnection, word: str, resources: tuple[str, ...], group: str | None
) -> tuple[tuple[str, ...], str | None]:
    """A custom kind as the CRDs in the log name it; else the guesses, in whatever group has them."""
    found = con.execute(
        """
        select distinct spec ->> '$.names.plural', spec ->> '$.group'
        from (select coalesce(response_object, request_object) -> '$.spec' as spec from audit
              where resource = 'customresourcedefinitions' and verb in ('create', 'update', 'patch', 'get') and code < 300)
        where list_contains([lower(spec ->> '$.names.kind'), spec ->> '$.names.plural', spec ->> '$.names.singular']
            || coalesce(cast(spec -> '$.names.shortNames' as varchar[]), []), ?)
        order by all
        """,
        [word.partition(".")[0].lower()],
    ).fetchall()
    found = [f for f in found if f[0] and (group is None or (f[1] or "").startswith(group))]
    if found:
        return tuple(dict.fromkeys(f[0] for f in found)), found[0][1] if len(found) == 1 else group
    return resources, group


def _served(con: duckdb.DuckDBPyConnection, resources: tuple[str, ...], group: str) -> str | None:
    """The newest group of a kind; any group where the log has the kind under another one only (a CRD, an old server)."""
    of = f"select 1 from audit_objects where resource in ({', '.join(_quoted(r) for r in resources)})"
    if con.execute(f"{of} and api_group = {_quoted(group)} limit 1").fetchall():
        return group
    return None if con.execute(f"{of} limit 1").fetchall() else group


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
