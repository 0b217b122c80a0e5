"""Log text on the screen is text: no markup, no links, no characters that reorder or hide others.

`literal` is for places where Streamlit reads Markdown (labels, captions); frames and code blocks go through `clean`.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from auditlens import AuditlensError
from auditlens.output import plain, write
from parts import palette, store
from parts import scope as scopes
from parts.scope import Scope

# What `plain` escapes, for a quick look at whole columns: frames without any of it are not touched.
_ACTS = "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u061c\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff\\ufff9-\\ufffb]"
MIME = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}
LONG = 400  # characters of a cell; the whole text is in the evidence and in exports
_TOO_MANY = 5000  # rows a table draws
_ROWS = 14  # of them seen without scrolling


def literal(text: object, most: int = 200) -> str:
    """Text as a Markdown code span that nothing in it can leave."""
    shown = plain(str(text))
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[:1] in ("`", " ", "") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def pretty(text: str | None) -> str:
    """JSON text laid out for reading, every acting character escaped."""
    if text is None:
        return ""
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return "\n".join(plain(line) for line in text.split("\n"))


def pretty_lines(text: str) -> str:
    """Text whose lines stay as they are numbered, every acting character escaped."""
    return "\n".join(plain(line) for line in text.split("\n"))


def clean(frame: pl.DataFrame, *, cut: int | None = LONG) -> pl.DataFrame:
    """The frame with texts that act made harmless, lists and maps as text, long cells cut."""
    columns = []
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_nested():
            column = pl.Series(name, [None if v is None else nested(v) for v in column.to_list()], pl.String)
        if column.dtype == pl.String:
            if column.str.contains(_ACTS).any():
                column = pl.Series(name, [None if v is None else plain(v) for v in column.to_list()], pl.String)
            if cut and (column.str.len_chars() > cut).any():
                keep = pl.col(name).str.len_chars() <= cut
                column = pl.DataFrame({name: column}).select(
                    pl.when(keep | pl.col(name).is_null())
                    .then(pl.col(name))
                    .otherwise(pl.col(name).str.head(cut) + "…")
                    .alias(name)
                )[name]
        columns.append(column)
    return pl.DataFrame(columns)


def nested(value: Any) -> str:
    """A list or a map in one line; what is deeper as JSON."""
    if isinstance(value, list) and value and all(isinstance(v, dict) and v.keys() == {"key", "value"} for v in value):
        value = {v["key"]: v["value"] for v in value}
    inner = value.values() if isinstance(value, dict) else value
    if any(isinstance(v, (list, dict)) for v in inner):
        return json.dumps(value, default=str, ensure_ascii=False)
    pairs = (f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else (str(v) for v in value if v is not None)
    return ", ".join(pairs)


def configuration(frame: pl.DataFrame, scope: Scope, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How columns are shown: as wide as what they hold, times in the scope's zone, numbers with separators."""
    known: dict[str, Any] = {}
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Datetime):
            known[name] = st.column_config.DatetimeColumn(
                name, format="YYYY-MM-DD HH:mm:ss.SSS", timezone=scope.zone, width=155, help=f"in {scope.zone}"
            )
        elif kind.is_integer():
            known[name] = st.column_config.NumberColumn(name, format="%d" if name in _IDS else "localized")
        elif kind.is_float():
            known[name] = st.column_config.NumberColumn(name, format="%.1f")
        else:
            known[name] = st.column_config.Column(name)
        known[name] |= (extra or {}).get(name, {})
        if known[name].get("width") is None:
            known[name]["width"] = _width(frame[name], known[name].get("label") or name)
    return known


def _width(column: pl.Series, label: str) -> int:
    """Pixels that hold the heading, what is seen first and most of the rest: a few long cells push nothing out of sight."""
    if column.dtype == pl.String:
        lengths = column.str.len_chars()
        longest = int(max(lengths.head(_ROWS).max() or 0, lengths.quantile(0.8) or 0))  # type: ignore[type-var]
    elif column.dtype.is_numeric():
        ends = (column.min(), column.max())
        longest = max((len(f"{v:,.1f}" if column.dtype.is_float() else f"{v:,}") for v in ends if v is not None), default=0)
    else:
        longest = 0
    return min(_WIDEST, _EDGES + round(_CHARACTER * max(longest, len(label))))


_CHARACTER, _EDGES = 5.6, 18  # pixels, measured on the tables' font
_WIDEST = 380  # a name of 64 characters fits; what is longer is prose, and scrolls
_IDS = ("code", "line", "item", "rule", "life")


def table(
    frame: pl.DataFrame, scope: Scope, key: str, *, columns: Sequence[str] = (), config: Mapping[str, Any] | None = None,
    height: int | None = None, select: bool = True, about: str = "",
) -> dict[str, Any] | None:  # fmt: skip
    """Draw a frame; the row that was clicked, with all its columns, or None. Outcomes have their colour."""
    shown = frame.head(_TOO_MANY)
    order = [c for c in columns if c in frame.columns and frame[c].null_count() < len(frame)] or frame.columns
    rows = min(len(shown), _ROWS)
    made, config = coloured(clean(shown.select(order)), shown, config)
    event = st.dataframe(
        made, key=key, hide_index=True, height=height or tall(rows), width="stretch",
        column_config=configuration(made, scope, config), on_select="rerun" if select else "ignore",
        selection_mode="single-cell", alt=about or None, placeholder="",
    )  # fmt: skip
    if len(frame) > _TOO_MANY:
        st.caption(f"The first {_TOO_MANY:,} of {len(frame):,} rows; the exports hold all of them.")
    cells = event["selection"]["cells"] if select else []  # a click anywhere in a row; a box for each would take its place
    return shown.row(cells[0][0], named=True) if cells and cells[0][0] < len(shown) else None


def coloured(
    made: pl.DataFrame, frame: pl.DataFrame, config: Mapping[str, Any] | None
) -> tuple[pl.DataFrame, Mapping[str, Any] | None]:
    """The outcomes of a frame as chips in the colours of their classes, where their codes tell these."""
    if "outcome" not in made.columns or "code" not in frame.columns:
        return made, config
    codes = dict(frame.group_by("outcome").agg(pl.col("code").max()).drop_nulls("outcome").iter_rows())
    colours = dict(zip(palette.WORDS, palette.colours(), strict=True)) | {"succeeded": palette.chip()}
    words = {plain(word): colours[palette.class_of(code)] for word, code in codes.items()}
    width = _width(made["outcome"], "outcome") + 22  # what a chip takes around its word
    chips = st.column_config.MultiselectColumn(
        "outcome", options=list(words), color=list(words.values()), width=width, disabled=True
    )
    lists = pl.when(pl.col("outcome").is_not_null()).then(pl.concat_list("outcome")).alias("outcome")
    return made.with_columns(lists), {**(config or {}), "outcome": chips}


def halves(key: str) -> tuple[DeltaGenerator, DeltaGenerator]:
    """Two columns side by side, one below the other where the window is too narrow for two tables."""
    left, right = st.container(key=f"halves-{key}").columns(2, gap="medium")
    return left, right


def told(rows: Sequence[Mapping[str, Any]], about: str, *, height: int | Literal["content"] = "content") -> None:
    """A still table whose cells wrap; its cells are Markdown of ours, texts of the log in it `literal`."""
    st.table(pl.DataFrame(rows, infer_schema_length=None), border="horizontal", hide_index=True, height=height, alt=about)


def tall(rows: int, most: int = _ROWS) -> int:
    """Pixels of a table that shows so many rows without a scroll bar."""
    return 34 + 31 * max(1, min(rows, most))


def exports(frame: pl.DataFrame, name: str, key: str) -> None:
    """Download buttons for CSV, JSON and Parquet, made when they are clicked."""
    for format, mime in MIME.items():
        st.download_button(
            format.upper() if format != "parquet" else "Parquet", _maker(frame, format), file_name=f"{name}.{format}", mime=mime,
            key=f"{key}-{format}", icon=":material/download:", on_click="ignore",
            help=f"All {len(frame):,} rows, every column",
        )  # fmt: skip


def _maker(frame: pl.DataFrame, format: str) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        write(frame, format, out)
        return out.getvalue()

    return make


@contextmanager
def guard(what: str = "this") -> Iterator[None]:
    """Errors of ours in words; what is not ours is the app's to tell, under an id."""
    try:
        yield
    except AuditlensError as e:
        st.error(f"Could not show {what}.", icon=":material/error:")
        st.code(pretty(str(e)), language=None, wrap_lines=True)


def nothing(text: str, hint: str = "") -> None:
    """An empty state: what is not there, and what to do about it."""
    with st.container(border=True):
        st.markdown(f":material/inbox: **{text}**")
        if hint:
            st.caption(hint)


def notes(texts: Sequence[str]) -> None:
    """What an answer cannot know, beside the answer; each note is text and nothing else."""
    for text in texts:
        st.caption(f":material/info: {words(text)}")


def words(text: str) -> str:
    """A sentence of ours that may quote the log, as Markdown without effect: what could act or link stands in code spans."""
    return " ".join(literal(w) if _MARKS.search(w.removesuffix(":")) else w for w in plain(text).split(" "))


_MARKS = re.compile(r"[\\`*_{}\[\]<>#$|~@&!:/=^]|www\.|^[-+>]|^\d+[.)]$")


def need_lake(scope: Scope) -> bool:
    """Whether there is anything to show; says how to begin when there is not."""
    if store.exists() and any(f.rows for f in store.lake().snapshot().files("imports")):
        return True
    nothing(
        "This lake is empty.",
        "Upload a log on the Ingest page, or run: auditlens import FILE… with the same lake. The page fills as soon as there is something.",
    )
    st.page_link("views/ingest.py", label="Go to Ingest", icon=":material/upload_file:")
    return False


def need_audit(scope: Scope) -> bool:
    """Whether the lake holds audit events inside the scope; says so when it does not."""
    if not need_lake(scope):
        return False
    files = store.lake().snapshot().files("audit", since=scope.since, until=scope.until)
    if any(f.rows for f in files if scope.cluster in (None, f.cluster)):
        return True
    if any(f.rows for f in store.lake().snapshot().files("audit")):
        nothing("The log holds nothing in this time range.", f"Shown is {scope.span()}; choose another range above.")
        whole(scope)
    else:
        nothing(
            "No audit events here yet.",
            "This lake holds other logs only. What is about requests, objects and users needs the apiserver's audit log; "
            "see Ingest for what was imported.",
        )
    return False


def whole(scope: Scope) -> None:
    """A button that takes the time range away, where there is one."""
    if scope.since or scope.until:
        st.button("Whole log", icon=":material/zoom_out_map:", on_click=scopes.set_window, args=(None, None), key="zoom-out")


def link(page: str, label: str, icon: str, key: str = "", **params: object) -> None:
    """A link to a page with parameters, and the scope with them."""
    query = {k: str(v) for k, v in params.items() if v not in (None, "")}
    st.page_link(f"views/{page}.py", label=label, icon=icon, query_params={**scopes.words(), **query})


def links(row: Mapping[str, Any], *, event: bool = True) -> None:
    """Where a row leads: its event, its object, its user."""
    with st.container(horizontal=True, gap="medium"):
        if event and row.get("audit_id"):
            link("event", "Open the event", ":material/receipt_long:", audit_id=row["audit_id"], line=row.get("line"))
        if row.get("resource") and row.get("name"):
            link("object", "Open the object", ":material/deployed_code:", **address(row))
        if row.get("username"):
            link("ask", "What this user did", ":material/person:", question="user-activity", user=row["username"])


def address(row: Mapping[str, Any]) -> dict[str, str]:
    """The object of a row as the Object page takes it."""
    group = row.get("api_group")
    resource = str(row["resource"]) + (f".{group}" if group else "")
    return {"object": f"{resource}/{row['name']}", "namespace": str(row.get("namespace") or "")}


def number(value: float | int | None) -> str:
    """A count for people: 1,234 or 5.6 M."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:,.0f}"


def size(value: float | int | None) -> str:
    """Bytes for people."""
    if value is None:
        return "–"
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(value) >= limit:
            return f"{value / limit:.1f} {unit}"
    return f"{value:,.0f} B"


def ago(age: dt.timedelta) -> str:
    """How long ago, for people."""
    seconds = max(0, age.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def milliseconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} µs"
    if value < 1000:
        return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
    return f"{value / 1000:.1f} s" if value < 120_000 else str(dt.timedelta(seconds=round(value / 1000)))
