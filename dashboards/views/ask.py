"""Ask: every question as a form made from its declaration, answers with their evidence, and read-only SQL."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl
import streamlit as st
from parts import charts, evidence, palette, recipe, scope, show, store

from auditlens.answers.answer import Answer
from auditlens.answers.questions import Param, Question, questions
from auditlens.tables import PUBLIC, TABLES

MODES = ("Questions", "SQL")
START = """select username, verb, resource, count(*) as requests
from audit
where stage = 'ResponseComplete'
group by all
order by requests desc
limit 50"""
_GLOBAL = ("since", "until", "cluster")


def form(question: Question, now: scope.Scope) -> dict[str, Any] | None:
    """The parameters as the form has them; None until something was asked. Each field is part of the URL."""
    own = [p for p in question.params if p.name not in _GLOBAL]
    texts = [p for p in own if p.type != "boolean"]
    flags = [p for p in own if p.type == "boolean"]
    values: dict[str, Any] = {}
    for start in range(0, len(texts), 4):
        cells = st.columns(4)
        for cell, param in zip(cells, texts[start : start + 4], strict=False):
            with cell:
                values[param.name] = _field(param)
    if flags:
        with st.container(horizontal=True):
            for param in flags:
                values[param.name] = st.checkbox(_label(param), key=param.name, bind="query-params", help=_help(param))
    values |= {name: now.params[name] for name in _GLOBAL if any(p.name == name for p in question.params)}
    return values


def _field(param: Param) -> Any:
    label, help = _label(param), _help(param)
    if param.type == "integer":
        default = None if param.default is None else int(param.default)
        return st.number_input(
            label,
            value=default,
            min_value=0,
            max_value=10_000_000,
            step=1,
            key=param.name,
            bind="query-params",
            help=help,
            placeholder="any",
        )
    text = st.text_input(
        label, value=str(param.default or ""), key=param.name, bind="query-params", help=help, placeholder="any", max_chars=2048
    ).strip()
    return text or None


def _label(param: Param) -> str:
    return param.name.replace("_", " ")


def _help(param: Param) -> str:
    return param.doc.replace("*", "\\*")


def results(answer: Answer, question: Question, values: dict[str, Any], now: scope.Scope) -> None:
    """The rows, what they cannot tell, where each leads, and the ways to take them along."""
    frame = answer.frame
    st.markdown(f"**{len(frame):,} {'row' if len(frame) == 1 else 'rows'}** · {now.span()}")
    show.notes([n for n in answer.notes if not n.startswith("to be complete")])
    if frame.height:
        chart(frame, now)
        columns = _columns(question, frame)
        picked = show.table(frame, now, f"answer-{question.name}", columns=columns, about=question.title)
        if not picked:
            st.caption(":material/ads_click: Click a row to see the evidence it rests on.")
        else:
            with st.container(border=True):
                if picked.get("audit_id") or picked.get("last_audit_id"):
                    audit_id = picked.get("audit_id") or picked["last_audit_id"]
                    evidence.event(audit_id, now, line=picked.get("line") or picked.get("last_line"), key="answer-evidence")
                else:
                    show.links(picked)
                    _group(question, picked, values)
    elif not answer.notes:
        show.nothing("No rows.")
    with st.expander("Needed in the log for a complete answer", icon=":material/rule:"):
        st.text(" ".join(question.needs.split()))
    with st.container(horizontal=True, vertical_alignment="center"):
        show.exports(frame, question.name, f"export-{question.name}")
    left, right = show.halves("recipe")
    with left:
        st.caption("The same on the command line")
        st.code(recipe.command(question, values, store.path()), language="bash", wrap_lines=True)
    with right:
        st.caption("The same in SQL, for `auditlens sql` or the SQL box")
        st.code(recipe.sql(question, values, answer.of), language="sql", height=160, wrap_lines=True)


def _group(question: Question, row: dict[str, Any], values: dict[str, Any]) -> None:
    """A row that stands for many requests leads to these."""
    by = {"user": "user", "client": "client", "verb": "verb", "resource": "resource", "namespace": "namespace", "code": "code",
          "source-ip": "source_ip"}.get(str(values.get("by")))  # fmt: skip
    params: dict[str, Any] = {}
    if by and row.get("value") is not None:
        text = str(row["value"])
        params[by] = text.split("/")[0].split(".")[0] if by == "resource" else text
    for column, name in (("username", "user"), ("verb", "verb"), ("resource", "resource"), ("namespace", "namespace")):
        if row.get(column) is not None:
            params[name] = row[column]
    if params:
        show.link("ask", "The requests behind this row", ":material/list:", question="requests", **params)


def _columns(question: Question, frame: pl.DataFrame) -> list[str]:
    """The question's main columns first, then all others."""
    wide: list[str] = []
    for name in question.show:
        wide += {"object": ["resource", "namespace", "name"], "evidence": ["source", "line"]}.get(name, [name])
    first = [c for c in dict.fromkeys(wide) if c in frame.columns]
    if not first:
        return list(frame.columns)
    return first + [c for c in frame.columns if c not in first]


def chart(frame: pl.DataFrame, now: scope.Scope) -> None:
    """A chart where it says more than the rows: points in time, or bars of a ranking."""
    if {"time", "code"} <= set(frame.columns) and frame.height > 2 and frame["time"].drop_nulls().n_unique() > 1:
        who = "username" if "username" in frame.columns else None
        made = (
            frame.head(5000)
            .drop_nulls("time")
            .with_columns(pl.col("code").map_elements(palette.class_of, return_dtype=pl.String, skip_nulls=False).alias("class"))
        )
        low, high = made["time"].min(), made["time"].max()
        made = charts.wall(made.select("time", "class", *([who] if who else [])), now, "time")
        made = charts.plain_columns(made, who).with_columns(pl.col(who).fill_null("nobody")) if who else made
        top = made[who].value_counts(sort=True)[who].head(8).to_list() if who else []
        made = (
            made.with_columns(pl.when(pl.col(who).is_in(top)).then(pl.col(who)).otherwise(pl.lit("others")).alias(who))
            if who
            else made
        )
        points = alt.Chart(made).mark_tick(thickness=2, size=14).encode(
            charts.axis(low, high, now),  # type: ignore[arg-type]
            alt.Y(f"{who}:N", title=None, sort=[*top, "others"], axis=alt.Axis(labelLimit=330)) if who else alt.Y(),
            charts.colour(),
            tooltip=[alt.Tooltip("time_text:N", title="time"), "class:N", *([f"{who}:N"] if who else [])],
        )  # fmt: skip
        charts.draw(
            points,
            "answer-chart",
            "The rows in time, by user and outcome",
            20 * (made[who].n_unique() if who else 1),
            around=charts.LEGEND,
        )
    elif {"value", "percent"} <= set(frame.columns) or {"value", "bytes_percent"} <= set(frame.columns):
        column = "percent" if "percent" in frame.columns else "bytes_percent"
        made = charts.plain_columns(frame.head(15).with_columns(pl.col("value").fill_null("none")), "value")
        bars = alt.Chart(made).mark_bar(color=palette.accent()).encode(
            alt.X(f"{column}:Q", title=column.replace("_", " "), axis=alt.Axis(tickCount=8)),
            alt.Y("value:N", sort="-x", title=None, axis=alt.Axis(labelLimit=360)),
            tooltip=["value:N", alt.Tooltip(f"{column}:Q")],
        )  # fmt: skip
        charts.draw(bars, "answer-bars", "The ranking as bars", 18 * made.height, around=48)


def ask(now: scope.Scope) -> None:
    """Choose a question, fill its form, read its answer."""
    known = questions()
    names = sorted(known, key=lambda n: (known[n].group or "~", n))
    name = scope.choice("Question", names, "question", lambda n: f"{known[n].title}  ·  {known[n].group or 'other'} / {n}")
    question = known[name]
    values = form(question, now)
    if values is None or not show.need_audit(now):
        return
    with show.guard("the answer"):
        answer = store.ask(name, **values)
        results(answer, question, values, now)


def sql(now: scope.Scope) -> None:
    """A read-only SQL box with the schema beside it."""
    left, right = st.columns([0.62, 0.38], gap="medium")
    with right:
        st.caption("Tables and columns")
        name = st.selectbox("Table", PUBLIC, key="table", bind="query-params", label_visibility="collapsed")
        table = TABLES[name]
        st.caption((table.__doc__ or "").split("\n")[0])
        rows = [{"column": f"**{c.name}** {c.type.lower()}", "meaning": c.doc} for c in table.columns()]
        show.told(rows, f"Columns of the table {name}", height=330)
    with left:
        statement = st.text_area(
            "One SELECT; it can read this lake and nothing else", START, key="sql", bind="query-params", height=250
        )
        run = st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter")
        st.caption(
            "The time range above does not narrow SQL; write it as stage_time >= … Ctrl+Enter runs it; it is stopped after 60 s."
        )
    if not show.need_lake(now) or not statement.strip():
        return
    if run:
        st.session_state["_ran"] = statement
    if st.session_state.get("_ran") != statement:
        st.caption(":material/edit: not run yet")
        return
    with show.guard("the result"):
        frame = store.sql(statement)
        st.markdown(f"**{len(frame):,} {'row' if len(frame) == 1 else 'rows'}**")
        picked = show.table(frame, now, "sql-result", about="Result of the SQL")
        if picked and picked.get("audit_id"):
            with st.container(border=True):
                evidence.event(str(picked["audit_id"]), now, key="sql-evidence")
        with st.container(horizontal=True):
            show.exports(frame, "sql", "export-sql")


def main() -> None:
    """Draw the page."""
    now = scope.bar("Ask", "Questions with named parameters, answers with their evidence")
    mode = st.segmented_control(
        "Ask with", MODES, key="with", bind="query-params", default=MODES[0], required=True, label_visibility="collapsed"
    )
    if mode == "SQL":
        sql(now)
    else:
        ask(now)


main()
