"""One search over everything a log names: objects, users, requests, addresses, credentials, and the questions that can be asked.

What is searched follows from the words: an audit id is looked for where it looks like one, an address where it is one. Exact hits come
first, then what begins with the words, then what holds them; each with the latest line that says so.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from auditlens.answers import limits
from auditlens.answers.address import Address, address
from auditlens.answers.answer import Answer
from auditlens.answers.questions import questions
from auditlens.answers.window import Window
from auditlens.engine import query
from auditlens.errors import UsageError
from auditlens.output import plain
from auditlens.quoting import listed

if TYPE_CHECKING:
    import duckdb
    import polars as pl

SHOW = ("what", "value", "match", "namespace", "requests", "first_time", "last_time", "audit_id", "evidence")
LONGEST = 1024  # characters of a search: no name in a cluster is longer
_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*", re.IGNORECASE)
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CREDENTIAL = re.compile(r"(JTI|X509SHA256)=.+|[0-9a-f]{32,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# How well a value fits, best first. A word of a search is text: no part of it acts as a pattern.
_MATCH = "case when lower({0}) = $word then 'exact' when starts_with(lower({0}), $word) then 'begins' else 'holds' end"
_KINDS = ("object", "user", "request", "address", "credential", "question")  # in this order where they fit as well
_COUNTED = "count(*) filter (where is_final(stage, verb, subresource, decided_by)) as requests"
_SEEN = (
    "min(stage_time) as first_time, max(stage_time) as last_time, max(event_at(stage_time, audit_id, source, line, item)) as e"
)

_USERS = f"""
select 'user' as what, actor as value, {_MATCH.format("actor")} as match, actor as username, {_COUNTED}, {_SEEN}, cluster
from stages_in($cluster, $since, $until) where {{fits}}(lower(actor), $word) group by all
"""
# people whom an identity provider names otherwise, in full
_IDENTITIES = f"""
select 'user' as what, actor as value, 'identity' as match, actor as username, {_COUNTED}, {_SEEN}, cluster
from stages_in($cluster, $since, $until)
where by_user(username, impersonated_username, user_extra, impersonated_extra, $exactly) group by all
"""
_REQUESTS = f"""
select 'request' as what, audit_id as value, {_MATCH.format("audit_id")} as match, actor as username,
    any_value(api_group) as api_group, any_value(resource) as resource, any_value(namespace) as namespace,
    any_value(coalesce(name, object_name)) as name, {_COUNTED}, {_SEEN}, cluster
from stages_in($cluster, $since, $until) where starts_with(audit_id, $word) group by all
"""
_ADDRESSES = f"""
select 'address' as what, $exactly as value, 'exact' as match, {_COUNTED}, {_SEEN}, cluster
from stages_in($cluster, $since, $until) where list_contains(source_ips, $exactly) group by all
"""
_USED = "user_extra['authentication.kubernetes.io/credential-id'][1]"
_ISSUED = "annotations['authentication.kubernetes.io/issued-credential-id']"
_CREDENTIALS = f"""
select 'credential' as what, case when {_USED} in ({{ids}}) then {_USED} else {_ISSUED} end as value, 'exact' as match,
    any_value(actor) as username, {_COUNTED}, {_SEEN}, cluster
from stages_in($cluster, $since, $until) where {_USED} in ({{ids}}) or (subresource = 'token' and {_ISSUED} in ({{ids}})) group by all
"""
_OBJECTS = """
select 'object' as what, resource || coalesce('.' || nullif(api_group, ''), '') || '/' || name as value, {match} as match,
    api_group, resource, case when resource <> 'namespaces' then namespace end as namespace, name, count(*) as requests, min(time) as first_time, max(time) as last_time,
    max(event_at(time, audit_id, source, line, item)) as e, cluster
from audit_objects as t
where via <> 'owner' and name is not null and resource is not null
    and in_window(cluster, time, $cluster, $since, $until) and ({where})
group by all
"""


def find(con: duckdb.DuckDBPyConnection, words: str, when: Window, cluster: str | None, limit: int) -> Answer:
    """What the words may mean in this log.

    Raises:
        UsageError: there is no word, or it is longer than a name can be.
    """
    text = words.strip()
    if not text:
        raise UsageError("nothing to find; name an object, a user, an audit id, an address, a credential or a question")
    if len(text) > LONGEST:
        raise UsageError(f"{len(text):,} characters to find; no name is longer than {LONGEST:,}")
    of = _object(con, text, cluster)
    params = {"cluster": cluster, "since": when.since, "until": when.until}
    frame = _ranked([] if of else [_asked(text)])
    for sql, more in _searches(text, of):
        frame = _ranked([frame, query(con, sql, params | more)])
        if frame.filter(what="request", match="exact").height:
            break  # nothing else is called like an audit id
    if of is None and not _certain(text) and not frame.filter(what="user", match="exact").height:
        frame = _ranked([frame, query(con, _IDENTITIES, params | {"exactly": text})])
    answer = Answer(
        frame.head(limit), total=frame.height, show=SHOW, title=f"Where the log has {plain(text)}", params={"words": text}
    )
    answer.of = of or Address()
    if frame.height > limit:
        answer.limits.append(f"only the first {limit:,} of {frame.height:,} rows are shown; --limit shows more")
    if not frame.height:
        answer.limits.append("no object, user, audit id, address, credential or question is called so in the log, or holds it")
        near = [] if _certain(text) else limits.near(con, of or Address(name=text), user=None if of else text)
        answer.near = [n for n in near if "near names" in n or ", but " in n]
    return answer


def _object(con: duckdb.DuckDBPyConnection, text: str, cluster: str | None) -> Address | None:
    """The object that the words address, if they do: KIND/NAME, or a kind and a name; a uid and a name alone do not."""
    if not re.search(r"[/ ]", text):
        return None
    with suppress(UsageError):
        of = address(con, text, cluster=cluster)
        if of.name and (of.known or "/" in text):
            return of
    return None


def _searches(text: str, of: Address | None) -> list[tuple[str, dict[str, Any]]]:
    """The statements that are worth their time for these words, and what they are asked with."""
    word = {"word": text.lower()}
    if of is not None:
        where, params = of.where()
        return [(_OBJECTS.format(match="'exact'", where=where), params)]
    found: list[tuple[str, dict[str, Any]]] = []
    if _ID.fullmatch(text):
        found.append((_REQUESTS, word))
    fits = "contains" if len(text) > 2 else "starts_with"  # nearly everything holds a letter
    match, where = _MATCH.format("t.name"), f"{fits}(lower(t.name), $word)"
    if _UID.fullmatch(text):
        match, where = f"case when t.uid = $word then 'uid' else {match} end", f"t.uid = $word or {where}"
        fits = "starts_with"
    found.append((_OBJECTS.format(match=match, where=where), word))
    found.append((_USERS.format(fits=fits), word))
    with suppress(ValueError):
        ipaddress.ip_address(text)
        found.append((_ADDRESSES, {"exactly": text}))
    if _CREDENTIAL.fullmatch(text):
        ids = listed((text, *(f"{kind}={text}" for kind in ("JTI", "X509SHA256") if "=" not in text)))
        found.append((_CREDENTIALS.format(ids=ids), {}))
    return found


def _asked(text: str) -> pl.DataFrame:
    """Questions whose name or title has every word, or one that begins with it."""
    import polars as pl

    wanted = text.lower().split()
    rows = [
        {"what": "question", "value": name, "match": "exact" if name == text.lower() else "begins" if name.startswith(wanted[0]) else "holds",
         "title": asked.title}
        for name, asked in questions().items() if all(re.search(rf"\b{re.escape(w)}", f"{name} {asked.title}".lower()) for w in wanted)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema={"what": pl.String, "value": pl.String, "match": pl.String, "title": pl.String})


def _certain(text: str) -> bool:
    """Whether the words are no name but an address, an id or a credential, with nothing near them."""
    return bool(re.fullmatch(r"[0-9a-f.:-]+|(JTI|X509SHA256)=.+", text, re.IGNORECASE))


def _ranked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """All that was found, the best fit first, then what the log has most of."""
    import polars as pl

    flat = [f.unnest("e").drop("its_time", "time", strict=False) if "e" in f.columns else f for f in frames]
    made = pl.concat([_empty(), *flat], how="diagonal_relaxed")
    best = pl.col("match").replace_strict({"exact": 0, "uid": 0, "identity": 1, "begins": 2}, default=3, return_dtype=pl.Int8)
    kind = pl.col("what").replace_strict({k: i for i, k in enumerate(_KINDS)}, return_dtype=pl.Int8)
    return made.sort(
        best, kind, "requests", "value", descending=[False, False, True, False], nulls_last=True, maintain_order=True
    )


def _empty() -> pl.DataFrame:
    """The columns of every answer, in their order."""
    import polars as pl

    text, number, time = pl.String(), pl.Int64(), pl.Datetime("us", "UTC")
    names = ("what", "value", "match", "title", "username", "api_group", "resource", "namespace", "name")
    columns = dict.fromkeys(names, text) | {"requests": number, "first_time": time, "last_time": time}
    return pl.DataFrame(schema=columns | {"audit_id": text, "source": text, "line": number, "item": number, "cluster": text})
