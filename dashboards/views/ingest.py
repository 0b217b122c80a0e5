"""Ingest: what came into the lake, what was refused and why, and a way in for log files right here."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import streamlit as st
from parts import answers, charts, palette, scope, show, store

from auditlens import AuditlensError, import_files
from auditlens.lake.maintenance import info

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
CLUSTER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
TABS = ("Imports", "Streams", "Rejects", "Completeness", "Tables", "Upload")


def imports(now: scope.Scope) -> None:
    """Sums, then every import with its accounting."""
    sums = store.figure("import_sums").row(0, named=True)
    cells = st.columns(6)
    for cell, (label, value, help) in zip(cells, (
        ("Sources", show.number(sums["sources"]), "Files and pieces of streams that were imported"),
        ("Read", show.size(sums["bytes"]), "Decompressed"),
        ("Records", show.number(sums["records"]), "Entries, events and list items found in the lines"),
        ("Rows", show.number(sums["rows"]), "Rows of the primary tables: audit and klog"),
        ("Duplicates", show.number(sums["duplicates"]), "Records the lake held already; kept once"),
        ("Rejects", show.number(sums["rejects"]), "Records that could not be read; their text is kept"),
    ), strict=True):  # fmt: skip
        cell.metric(label, value, help=help)
    if sums["errors"]:
        st.warning(f"{sums['errors']:,} sources were not read to their end: see the column error.", icon=":material/warning:")
    whole = sums["records"] == sums["rows"] + sums["duplicates"] + sums["rejects"] + sums["dropped"]
    st.caption(
        f"{':material/check_circle:' if whole else ':material/error:'} {sums['records']:,} records = {sums['rows']:,} rows + {sums['duplicates']:,} duplicates + "
        f"{sums['rejects']:,} rejects"
        + (f" + {sums['dropped']:,} dropped by a policy" if sums["dropped"] else "")
        + ("" if whole else ": these do not add up")
    )
    picked = answers.table("imports", now, nothing="Nothing was imported.", about="Every import, newest first")
    if picked:
        with st.container(border=True):
            fields = pl.DataFrame([{"field": k, "value": "" if v is None else str(v)} for k, v in picked.items()])
            st.dataframe(show.clean(fields), hide_index=True, height=300, key="import-fields", alt="The import's fields")


def streams(now: scope.Scope) -> None:
    """Sinks and followed files: how fast they come, and how far behind they are."""
    got = store.ask("streams", limit=answers.LIMIT)
    frame = got.frame
    if not frame.height:
        show.nothing(
            "Nothing streams into this lake.",
            "auditlens serve takes the apiserver's webhook, auditlens import --follow reads a live file; their rates and lag are shown here.",
        )
        return
    newest = frame.row(0, named=True)
    cells = st.columns(4)
    cells[0].metric(
        "Streams", show.number(frame.height), help="Webhook sinks, and files that were imported in more than one piece"
    )
    cells[1].metric("Last commit", ago(newest["last_commit"]), help=f"{now.text(newest['last_commit'])}, of any stream")
    cells[2].metric(
        "Rate",
        f"{show.number(newest['per_second'])} / s",
        help="Records a second of the stream that committed last, over the minute before that",
    )
    cells[3].metric(
        "Lag", show.milliseconds(newest["lag_s"] * 1000 if newest["lag_s"] is not None else None),
        help="From the last event of that commit to when it could be read",
    )  # fmt: skip
    start = max(frame["first_commit"].min(), newest["last_commit"] - dt.timedelta(hours=1))  # type: ignore[type-var]
    end = newest["last_commit"] + dt.timedelta(seconds=1)
    seconds = max(1.0, charts.step(start, end, 90))
    named = frame["stream"].head(7).to_list()
    made = store.figure("lags", names=named, start=start, step=seconds)
    if made.height > 1:
        made = charts.plain_columns(charts.wall(made, now, "time"), "stream").with_columns(
            pl.col("lag_s").clip(lower_bound=0.001)
        )
        for cell, (field, title, scale) in zip(
            st.columns(2, gap="medium"),
            (("per_second", "records a second", "linear"), ("lag_s", "lag in seconds", "log")),
            strict=True,
        ):
            chart = alt.Chart(made).mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=16)).encode(
                charts.axis(start, end, now), alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type=scale, nice=True), axis=alt.Axis(tickCount=4)),
                alt.Color("stream:N", scale=alt.Scale(range=palette.series()), legend=alt.Legend(orient="top", title=None, labelLimit=220)),
                tooltip=[alt.Tooltip("time_text:N", title="from"), "stream:N", alt.Tooltip(f"{field}:Q", format=",.3~f", title=title)],
            )  # fmt: skip
            with cell:
                charts.draw(chart, f"stream-{field}", f"{title} by stream", 130, around=charts.LEGEND + 12)
    st.caption("Each stream; the rate is of its last minute, the lag from the last event of a commit to when it could be read")
    answers.draw(got, "streams", now, nothing="Nothing streams into this lake.")


def ago(when: dt.datetime) -> str:
    """How long ago something was."""
    return show.ago(dt.datetime.now(dt.UTC) - when)


def rejects(now: scope.Scope) -> None:
    """What could not be read: grouped by reason, then each with its raw text."""
    groups = store.figure("reject_reasons", cluster=now.cluster)
    if groups.height:
        st.caption("By reason")
        show.table(groups, now, "reject-groups", select=False, about="Rejects by reason")
        st.caption("Each record; select one to read its text")
    picked = answers.table(
        "rejects", now, nothing="Nothing was rejected.", hint="Every record of every import became a row or was there already."
    )
    if picked:
        st.code(show.pretty(picked["text"]), language=None, wrap_lines=True)


def completeness(now: scope.Scope) -> None:
    """What may be missing from the log, as `auditlens completeness` tells it."""
    if show.need_audit(now):
        answers.completeness(now)


def tables(now: scope.Scope) -> None:
    """What the lake holds, table by table."""
    frame = info(store.lake())
    config = {"bytes": st.column_config.NumberColumn("bytes", format="bytes")}
    show.table(frame, now, "tables", select=False, config=config, about="Tables of the lake")
    st.caption("Many small files make questions slow: auditlens lake compact merges them while everything goes on.")


def upload(now: scope.Scope) -> None:
    """Log files from the browser into the lake; what was there before stays once."""
    left, right = st.columns([0.65, 0.35], gap="medium")
    with left:
        files = st.file_uploader(
            "Log files: audit logs (JSON lines, lists, cloud exports, wrapped by CRI, docker, journal …) and apiserver logs; .gz, .zst and .bz2 too",
            accept_multiple_files=True, key="upload",
        )  # fmt: skip
    with right:
        cluster = st.text_input(
            "Cluster",
            key="upload-cluster",
            placeholder="as the logs say, else default",
            max_chars=63,
            help="Letters, digits, '.', '_' and '-'",
        ).strip()
        keep = st.toggle(
            "Keep secrets readable", key="upload-clear", help="Off: values of Secrets and tokens are replaced by keyed hashes"
        )
        go = st.button("Import", type="primary", icon=":material/move_to_inbox:", disabled=not files, width="stretch")
    if cluster and not re.fullmatch(CLUSTER, cluster):
        st.error(
            "A cluster name has letters, digits, '.', '_' and '-', at most 63 of them, and begins with a letter or digit.",
            icon=":material/error:",
        )
        return
    if go and files:
        st.session_state["_report"] = run(files, cluster or None, not keep)
    report = st.session_state.get("_report")
    if report is not None:
        told(report, now)


def run(files: list[Any], cluster: str | None, redact: bool) -> pl.DataFrame | str:
    """Import what was uploaded, with progress; the report, or what went wrong."""
    with tempfile.TemporaryDirectory(prefix="auditlens-upload-") as name:
        paths = []
        for n, file in enumerate(files):
            # a folder each, so that equal names stay apart; no part of the name can lead elsewhere
            target = Path(name) / f"{n:03}" / (_NAME.sub("_", Path(file.name).name).lstrip(".")[-120:] or "log")
            target.parent.mkdir()
            with target.open("wb") as out:
                while chunk := file.read(1 << 20):
                    out.write(chunk)
            paths.append(target)
        total, done = max(1, sum(p.stat().st_size for p in paths)), 0
        bar = st.progress(0.0, f"Importing {len(paths)} files …")

        def progress(read: int) -> None:
            nonlocal done
            done += read
            bar.progress(min(1.0, done / total), f"Importing: {show.size(done)} of {show.size(total)}")

        try:
            report = import_files(paths, store.lake(), cluster=cluster, redact=redact, progress=progress)
        except AuditlensError as e:
            return str(e).replace(name, "")
        finally:
            bar.empty()
    store.refresh()
    return pl.DataFrame([
        {"file": Path(s.source).name, "bytes": s.bytes, "lines": s.lines, "records": s.records, "rows": sum(s.rows.values()), "duplicates": s.duplicates, "rejects": s.rejects, "error": s.error}
        for s in report.sources
    ], infer_schema_length=None, schema_overrides={"error": pl.String})  # fmt: skip


def told(report: pl.DataFrame | str, now: scope.Scope) -> None:
    """What became of the upload."""
    if isinstance(report, str):
        st.error("The import stopped.", icon=":material/error:")
        st.code(show.pretty(report), language=None, wrap_lines=True)
        return
    st.success(
        f"{int(report['records'].sum()):,} records = {int(report['rows'].sum()):,} rows + {int(report['duplicates'].sum()):,} duplicates + {int(report['rejects'].sum()):,} rejects",
        icon=":material/check_circle:",
    )
    show.table(report, now, "upload-report", select=False, about="What became of each uploaded file")
    with st.container(horizontal=True):
        show.link("overview", "Overview", ":material/monitoring:")
        if int(report["rejects"].sum()):
            show.link("ingest", "See the rejects", ":material/report:", tab="Rejects")


def filled() -> bool:
    """Whether anything was ever imported."""
    return store.exists() and any(f.rows for f in store.lake().snapshot().files("imports"))


def main() -> None:
    """Draw the page."""
    now = scope.bar("Ingest", "What came in and how fast, what could not be read, and the way in")
    if not filled():
        head = st.empty()
        with head.container():
            show.nothing("This lake is empty.", "Upload a log below, or run: auditlens import FILE… with the same lake.")
        upload(now)
        if st.session_state.get("_report") is not None and filled():  # by what was uploaded just now
            head.empty()
        return
    tab = st.segmented_control(
        "Ingest", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
    )
    with show.guard("this list"):
        {
            "Imports": imports,
            "Streams": streams,
            "Rejects": rejects,
            "Completeness": completeness,
            "Tables": tables,
            "Upload": upload,
        }[str(tab)](now)


main()
