"""Ingest: what came into the lake, what was refused and why, and a way in for log files right here."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import streamlit as st
from parts import scope, show, store

from auditlens import AuditlensError, import_files
from auditlens.lake.care import info

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
CLUSTER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
TABS = ("Imports", "Rejects", "Tables", "Upload")


def imports(now: scope.Scope) -> None:
    """Sums, then every import with its accounting."""
    frame = store.figure("imports")
    sums = {
        c: int(frame[c].sum() or 0)
        for c in ("bytes", "lines", "records", "rows", "duplicates", "rejects", "continuations", "blanks")
    }
    cells = st.columns(6)
    for cell, (label, value, help) in zip(cells, (
        ("Sources", show.number(frame.height), "Files and streams that were imported"),
        ("Read", show.size(sums["bytes"]), "Decompressed"),
        ("Records", show.number(sums["records"]), "Entries, events and list items found in the lines"),
        ("Rows", show.number(sums["rows"]), "Rows of the primary tables: audit and klog"),
        ("Duplicates", show.number(sums["duplicates"]), "Records the lake held already; kept once"),
        ("Rejects", show.number(sums["rejects"]), "Records that could not be read; their text is kept"),
    ), strict=True):  # fmt: skip
        cell.metric(label, value, help=help)
    whole = sums["records"] == sums["rows"] + sums["duplicates"] + sums["rejects"]
    st.caption(
        f"{':material/check_circle:' if whole else ':material/error:'} {sums['records']:,} records = {sums['rows']:,} rows + {sums['duplicates']:,} duplicates + "
        f"{sums['rejects']:,} rejects" + ("" if whole else ": these do not add up")
    )
    picked = show.table(
        frame, now, "imports", columns=("source", "cluster", "imported_at", "bytes", "lines", "records", "rows", "derived", "duplicates", "rejects", "first_time", "last_time", "error"),
        about="Every import, newest first",
    )  # fmt: skip
    if picked:
        with st.container(border=True):
            st.text(f"{picked['source']}".translate({}))
            fields = pl.DataFrame([{"field": k, "value": "" if v is None else str(v)} for k, v in picked.items()])
            st.dataframe(show.clean(fields), hide_index=True, height=300, key="import-fields", alt="The import's fields")


def rejects(now: scope.Scope) -> None:
    """What could not be read: grouped by reason, then each with its raw text."""
    frame = store.figure("rejects")
    if not frame.height:
        show.nothing("Nothing was rejected.", "Every record of every import became a row or was there already.")
        return
    st.caption("By reason")
    groups = frame.group_by("reason").agg(
        pl.len().alias("records"),
        pl.col("source").n_unique().alias("sources"),
        pl.col("source").first().alias("first_source"),
        pl.col("line").first().alias("first_line"),
    )
    show.table(groups.sort("records", descending=True), now, "reject-groups", select=False, about="Rejects by reason")
    st.caption("Each record; select one to read its text")
    picked = show.table(
        frame, now, "rejects", columns=("reason", "source", "line", "byte_offset", "text"), about="Rejected records"
    )
    if picked:
        st.code(show.pretty(picked["text"]), language=None, wrap_lines=True)
    with st.container(horizontal=True):
        show.exports(frame, "rejects", "export-rejects")


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


def main() -> None:
    """Draw the page."""
    now = scope.bar("Ingest", "What came in, what could not be read, and the way in")
    empty = not (store.exists() and any(f.rows for f in store.lake().snapshot().files("imports")))
    if empty:
        show.nothing("This lake is empty.", "Upload a log below, or run: auditlens import FILE… with the same lake.")
        upload(now)
        return
    tab = st.segmented_control(
        "Ingest", TABS, key="tab", bind="query-params", default=TABS[0], required=True, label_visibility="collapsed"
    )
    with show.guard("this list"):
        {"Imports": imports, "Rejects": rejects, "Tables": tables, "Upload": upload}[str(tab)](now)


main()
