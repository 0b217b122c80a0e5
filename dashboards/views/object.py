"""Object: one object's lives, every change with who made it, its state at a moment, differences, family, and why."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import altair as alt
import polars as pl
import streamlit as st
from parts import answers, causes, charts, evidence, lineage, palette, scope, show, store
from parts.show import literal

import auditlens
from auditlens import engine, kinds
from auditlens.answers.address import Address, address
from auditlens.errors import UsageError
from auditlens.lake import Lake
from auditlens.output import plain, yaml_text

TABS = ("Changes", "State", "Diff", "Fields", "Family", "Why")
_FOUND = 200
_TICK = dt.timedelta(microseconds=1)
_FOLLOWED = 2000  # requests of one object that are followed unasked


def search(now: scope.Scope) -> tuple[str, str, str, str] | None:
    """The object asked for as (group, resource, namespace, name), from the URL or the search box."""
    seen = store.figure("objects", cluster=now.cluster)
    wanted, namespace = st.query_params.get("object", ""), st.query_params.get("namespace", "")
    left, right = st.columns([0.34, 0.66], vertical_alignment="bottom")
    with left:
        words = st.text_input(
            "Search the objects of the log", key="find", type="search", live="300ms", placeholder="name, namespace or kind: shop frontend",
            help="Every word must be in the kind, namespace or name",
        )  # fmt: skip
    found = matching(seen, words) if words else seen.sort("changes", "requests", descending=True)
    found = found.head(_FOUND)
    options = [key_of(r) for r in found.iter_rows(named=True)]
    current = f"{wanted} {namespace}".strip() if wanted else None
    if current and current not in options:
        options.insert(0, current)
    with right:
        known = {key_of(r): r for r in found.iter_rows(named=True)}
        st.session_state["pick"] = current
        st.selectbox(
            f"Objects ({seen.height:,} seen)", options, key="pick", index=None, on_change=_picked, placeholder="choose an object",
            format_func=lambda o: plain(o) + (f"   ·   {known[o]['changes']:,} changes, {known[o]['requests']:,} requests" if o in known else ""),
        )  # fmt: skip
    if not wanted or "/" not in wanted:
        if words and not found.height:
            show.nothing("Nothing the log has seen fits.", "Objects nobody asked for are not in an audit log.")
        elif not wanted:
            start(found, now)
        return None
    return _read(seen, wanted, namespace)


def _read(seen: pl.DataFrame, wanted: str, namespace: str) -> tuple[str, str, str, str]:
    """The object that a page's address names: as the log spells it, or as kubectl takes it, deploy/web or a short name."""
    kind, _, name = wanted.partition("/")
    resource, _, group = kind.partition(".")
    hit = _hit(seen, group, resource, namespace, name)
    if hit is None:
        with suppress(UsageError):
            of = store.call("address", _meant, wanted)
            resource, group = of.resource or resource, of.group or group
        hit = _hit(seen, group, resource, namespace, name)
    return (hit["api_group"] or "" if hit else group), resource, namespace, name


def _hit(seen: pl.DataFrame, group: str, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
    for row in seen.filter(resource=resource, name=name).iter_rows(named=True):
        if (row["namespace"] or "") == namespace and group in ("", row["api_group"]):
            return row
    return None


def _meant(lake: Lake, words: str) -> Address:
    return engine.with_snapshot(lake, lambda con: address(con, words))


def _plurals(word: str) -> tuple[str, ...]:
    """The resources that a word of the search means as a built-in kind: po is pods."""
    with suppress(UsageError):
        of = address(None, word)
        return of.resources if of.known else ()
    return ()


def matching(seen: pl.DataFrame, words: str) -> pl.DataFrame:
    """Objects that hold every word, those whose name begins with the first of them first."""
    text = pl.concat_str("resource", "namespace", "name", separator=" ", ignore_nulls=True).str.to_lowercase()
    wanted = words.lower().replace("/", " ").split()
    for word in wanted:
        also = pl.col("resource").is_in(_plurals(word))
        seen = seen.filter(text.str.contains(word, literal=True) | also)
    first = pl.col("name").str.to_lowercase().str.starts_with(wanted[-1]) if wanted else pl.lit(False)
    return seen.sort([first, "changes", "requests"], descending=True)


def key_of(row: dict[str, Any]) -> str:
    """The object as one word of the URL, and its namespace."""
    where = show.address(row)
    return f"{where['object']} {where['namespace']}".strip()


def _picked() -> None:
    picked = st.session_state.get("pick")
    if picked:
        target, _, namespace = picked.partition(" ")
        st.query_params["object"] = target
        for name in ("event", "at"):  # of the object before
            st.query_params.pop(name, None)
        if namespace:
            st.query_params["namespace"] = namespace
        else:
            st.query_params.pop("namespace", None)


def start(found: pl.DataFrame, now: scope.Scope) -> None:
    """The objects to begin with: those that changed most."""
    st.subheader("Most changed", anchor=False)
    picked = show.table(
        found.head(100), now, "found", columns=("resource", "namespace", "name", "changes", "requests", "first_time", "last_time", "api_group"),
        about="Objects of the log, most changed first",
    )  # fmt: skip
    if picked:
        _open(picked)
    else:
        st.caption(":material/ads_click: Click a row to open the object.")


def _open(row: dict[str, Any]) -> None:
    st.switch_page("views/object.py", query_params={**scope.words(), **{k: v for k, v in show.address(row).items() if v}})


def lives(group: str, resource: str, namespace: str, name: str, now: scope.Scope) -> pl.DataFrame:
    """The head: what the log knows of the object, and its requests in time."""
    where = {"api_group": group, "resource": resource, "namespace": namespace or None, "name": name}
    frame = store.figure("touches", **where, **now.params)
    kind = f"{resource}.{group}" if group else resource
    st.markdown(f"#### {literal(name)}")
    st.caption(f"{literal(kind)}" + (f" in namespace {literal(namespace)}" if namespace else ", cluster-wide"))
    if not frame.height:
        show.nothing("The log holds no request for this object" + (" in this time range." if now.since or now.until else "."),
                     "Widen the time range, or check the spelling; names are compared exactly.")  # fmt: skip
        return frame
    told = store.figure("touched", **where, **now.params).row(0, named=True)
    cells, whole = st.columns([1, 1, 1, 2.4, 2.4]), "range" if now.since or now.until else "log"
    cells[0].metric(
        "Changes", show.number(told["changes"]), help="Writes that succeeded, those of its status too; a dry run changes nothing"
    )
    cells[1].metric("Failed", show.number(told["failed"]), help="Requests for it that were answered 400 and above")
    cells[2].metric("Uids", show.number(told["uids"]), help="Different uids under this name: its lives, as far as the log tells")
    cells[3].metric("Created", _brief(told["created"], now) if told["created"] else f"before the {whole}")
    cells[4].metric("Deletion asked", _brief(told["deletion"], now) if told["deletion"] else f"never in the {whole}")
    if scope.peek("tab") != "Why":  # which has a picture of its own, and both do not fit a screen
        requests_chart(frame, told["touches"], now)
    return frame.with_columns(pl.lit(told["touches"]).alias("touches"))


def _brief(when: dt.datetime, now: scope.Scope) -> str:
    return now.text(when)[5:]


def requests_chart(frame: pl.DataFrame, total: int, now: scope.Scope) -> None:
    """Requests by user in time: the shape is the verb, the colour the outcome."""
    shown = frame.with_columns(
        pl.when(pl.col("verb").is_in(["get", "list", "watch"]))
        .then(pl.lit("read"))
        .otherwise(pl.col("verb").str.replace("collection", ""))
        .alias("did"),
        pl.col("username").fill_null("nobody"),
    )
    top = shown["username"].value_counts(sort=True)["username"].head(9).to_list()
    shown = shown.with_columns(
        pl.when(pl.col("username").is_in(top)).then(pl.col("username")).otherwise(pl.lit("others")).alias("user")
    )
    low, high = frame["time"].min(), frame["time"].max()
    assert isinstance(low, dt.datetime) and isinstance(high, dt.datetime)
    margin = max((high - low) / 50, dt.timedelta(milliseconds=5))
    made = charts.plain_columns(
        charts.wall(shown.select("time", "user", "did", "verb", "subresource", "code", "class", "client", "audit_id"), now, "time"),
        "user", "client", "audit_id", "subresource",
    )  # fmt: skip
    names, shapes = palette.verbs()
    chart = (
        alt.Chart(made)
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            charts.axis(low - margin, high + margin, now, grid=True),
            alt.Y("user:N", title=None, axis=alt.Axis(labelLimit=330), sort=[*map(plain, top), "others"]),
            charts.colour(legend=True),
            alt.Shape("did:N", scale=alt.Scale(domain=[*names[:4], "read"], range=[*shapes[:4], "triangle-down"]),
                      legend=charts.shapes()),
            tooltip=[alt.Tooltip("time_text:N", title="time"), "user:N", "verb:N", "subresource:N", "code:Q", "client:N", "audit_id:N"],
        )
        .add_params(alt.selection_point(name="pick", fields=["audit_id"], on="click", clear="dblclick"))
    )  # fmt: skip
    event = charts.draw(
        chart,
        "object-chart",
        "Requests on this object in time, by user",
        24 * made["user"].n_unique(),
        around=charts.LEGEND + 26,
        on_select="rerun",
        selection_mode=["pick"],
    )
    picked = (event["selection"].get("pick") or [{}])[0].get("audit_id")
    if picked:
        with st.container(border=True):
            evidence.event(picked, now, key="object-pick")
    else:
        latest = f" The latest {frame.height:,} of {total:,} requests." if total > frame.height else ""
        st.caption(
            f":material/ads_click: Click a mark to see its event. Marks are shaped by verb and coloured by outcome.{latest}"
        )


def follow(frame: pl.DataFrame, target: str) -> bool:
    """Whether every request of the object is followed: at once while these are few, else when asked to."""
    total = int(frame["touches"][0])
    if total <= _FOLLOWED or st.session_state.get("follow") == target:
        return True
    show.nothing(f"{total:,} requests touched this object.", "Following what each of them changed takes a while.")
    st.button("Follow them all", icon=":material/route:", key="follow-all", on_click=_follow, args=(target,))
    return False


def _follow(target: str) -> None:
    st.session_state["follow"] = target


def changes(target: str, namespace: str, now: scope.Scope) -> None:
    """The history with what each request changed."""
    reads = st.toggle("Show reads too", key="reads", bind="query-params")
    got = store.call(
        "history", auditlens.history, target, namespace=namespace or None, reads=reads, limit=answers.LIMIT, **now.params
    )
    picked = answers.draw(got, "history", now, nothing="No request for this object in this time range.")
    if not picked:
        return
    causes.link(target, namespace, causes.of_request(picked["audit_id"], target, namespace, now))
    if picked.get("changed") not in (None, "created", "deleted"):
        got = store.call(
            "diff", auditlens.diff, target, namespace=namespace or None, cluster=now.cluster, audit_id=picked["audit_id"]
        )
        show.table(
            got.frame, now, "history-diff", columns=("path", "op", "old", "new"), select=False, about="What the request changed"
        )
        field = show.table(got.frame, now, "history-diff", columns=("path", "op", "old", "new"), about="What the request changed")
        show.notes(got.notes)
        if field:
            causes.link(target, namespace, causes.of_field(field | {"time": picked["time"]}), "Why this field?")


def moments(frame: pl.DataFrame, now: scope.Scope) -> list[dt.datetime]:
    """The times at which the object was written."""
    wrote = pl.col("verb").is_in(["create", "update", "patch", "delete"]) & (pl.col("code") < 400)
    writes = frame.filter(wrote & ~pl.col("dry_run").fill_null(False))
    return writes["time"].unique().sort().to_list() or frame["time"].unique().sort().to_list()


def state(target: str, namespace: str, frame: pl.DataFrame, now: scope.Scope) -> None:
    """The object as it was after a chosen change."""
    times = moments(frame, now)
    _, middle, right = st.columns([0.06, 0.7, 0.24], vertical_alignment="bottom", gap="large")
    managed = right.toggle(
        "managedFields", key="managed", bind="query-params", help="Who manages which field, as the apiserver keeps it"
    )
    with middle:  # inset, for the labels at the ends stand out
        at = times[0]
        if len(times) > 1:
            at = st.select_slider(
                f"As it was after one of {len(times)} changes",
                times,
                value=times[-1],
                format_func=lambda t: now.text(t, precise=True),
                key="state-at",
            )
    got = store.call("state", auditlens.state, target, at=at + _TICK, namespace=namespace or None, cluster=now.cluster)
    show.notes(got.notes)
    for row, told in zip(got.frame.iter_rows(named=True), got.tree or (), strict=False):
        evidence_of = literal(f"{row['source']}:{row['line']}")
        st.caption(f"Known {literal(row['fidelity'])} · {now.text(row['time'], precise=True)} · evidence {evidence_of}")
        if row["note"]:
            show.notes([row["note"]])
        body = told.get("object")
        if body is None:
            show.nothing("Only that it was there is known; its body is not in the log.")
            continue
        if not managed and isinstance(body.get("metadata"), dict):
            body = body | {"metadata": {k: v for k, v in body["metadata"].items() if k != "managedFields"}}
        st.code(show.pretty(yaml_text(body)), language="yaml", height=460, wrap_lines=True)


def diffs(target: str, namespace: str, frame: pl.DataFrame, now: scope.Scope) -> None:
    """What differs between two of its moments, and who set each field."""
    times = moments(frame, now)
    left, right, more = st.columns([0.4, 0.4, 0.2], vertical_alignment="bottom")
    words = lambda i: f"{i + 1}. {now.text(times[i], precise=True)}"  # noqa: E731
    a = left.selectbox("From", range(len(times)), index=0, format_func=words, key="diff-from")
    b = right.selectbox("To", range(len(times)), index=len(times) - 1, format_func=words, key="diff-to")
    noise = more.toggle(
        "Noise too", key="diff-noise", help="Resource versions, managedFields and other fields that change with every write"
    )
    window = {"since": times[a] + _TICK, "until": times[b] + _TICK}
    got = store.call("diff", auditlens.diff, target, namespace=namespace or None, cluster=now.cluster, noise=noise, **window)
    picked = answers.draw(
        got, "diff", now, nothing="No field differs.", columns=("path", "op", "old", "new", "username", "time", "client")
    )
    if picked:
        causes.link(target, namespace, causes.of_field(picked))


def blame(target: str, namespace: str, now: scope.Scope) -> None:
    """Each field of the last state with who set it."""
    got = store.call("blame", auditlens.blame, target, namespace=namespace or None, cluster=now.cluster)
    hint = "Field blame needs request or response bodies of its writes."
    picked = answers.draw(got, "blame", now, nothing="No body of this object is in the log.", hint=hint)
    if picked:
        causes.link(target, namespace, causes.of_field(picked))


def family(group: str, resource: str, namespace: str, name: str, now: scope.Scope) -> None:
    """Who owned it and what it owned, and when."""
    kind = kinds.kind_of(group, resource)
    frame = store.figure("family", resource=resource, namespace=namespace or None, name=name, kind=kind, cluster=now.cluster)
    if not frame.height:
        show.nothing("The log names no owner and nothing it owns.", "Owners stand in response bodies of creates and changes.")
        return
    lineage.family(frame, now)
    picked = show.table(
        frame,
        now,
        "family",
        columns=("relation", "depth", "resource", "name", "first_time", "last_time", "requests"),
        about="Owner and owned objects",
    )
    if picked:
        of = store.call("address", _meant, str(picked["resource"]))  # owners are named by their kind
        qualified = picked | {"resource": of.resource, "api_group": of.group or picked["api_group"]}
        show.link("object", "Open the object", ":material/deployed_code:", **show.address(qualified))


def main() -> None:
    """Draw the page."""
    now = scope.bar("Object", "One object's whole story, and who wrote it")
    if not show.need_audit(now):
        return
    with show.guard("the object"):
        asked = search(now)
        if asked is None:
            return
        group, resource, namespace, name = asked
        frame = lives(group, resource, namespace, name, now)
        if not frame.height:
            return
        target = f"{resource}.{group}/{name}" if group else f"{resource}/{name}"
        tab = st.segmented_control(
            "About the object", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
        )
        if tab != "Family" and not follow(frame, f"{target} {namespace}"):
            return
        if tab == "Changes":
            changes(target, namespace, now)
        elif tab == "State":
            state(target, namespace, frame, now)
        elif tab == "Diff":
            diffs(target, namespace, frame, now)
        elif tab == "Fields":
            blame(target, namespace, now)
        elif tab == "Family":
            family(group, resource, namespace, name, now)
        else:
            causes.page(target, namespace, now)


main()
