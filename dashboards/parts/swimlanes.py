"""Swim lanes: which there are, what of them is drawn, and the lives of their objects, children below their owners."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from auditlens import kinds

DRAWN = 4000  # marks a browser draws and still answers at once
LANES = 30  # unless asked for otherwise
_DEPTH = 5  # of owners


@dataclass(frozen=True, slots=True)
class Lanes:
    """The marks of the busiest lanes, and how many lanes and events there are."""

    marks: pl.DataFrame
    found: pl.DataFrame  # a row a lane that is drawn
    total: int  # lanes that fit
    events: int  # that the marks stand for

    @property
    def names(self) -> list[str]:
        """The lanes that are drawn, in order of time."""
        return self.found["lane"].to_list()


def lanes(figure: Callable[..., pl.DataFrame], seconds: float, many: int, **options: Any) -> Lanes:
    """The busiest lanes with their marks.

    Where the events are too many to draw each, those that fall together are one mark. `seconds` is the length of the window,
    `figure` answers the pages' own queries.
    """
    found = figure("lanes", lanes=many, **options)
    names, events = found["lane"].to_list(), int(found["events"].sum())
    total = int(found["lanes"][0]) if names else 0
    if not names or events <= DRAWN:
        return Lanes(figure("marks", names=names, **options), found, total, events)
    step = max(seconds / 120, 1e-6)
    frame = figure("marks_together", names=names, step=step, **options)
    while frame.height > DRAWN and step < seconds:
        step *= 2
        frame = together(frame, step)
    return Lanes(frame, found, total, events)


def together(frame: pl.DataFrame, step: float) -> pl.DataFrame:
    """Marks of one lane, outcome and stretch of `step` seconds as one; sessions stay apart."""
    stretch = (pl.col("stage_time").dt.epoch("us") // int(step * 1_000_000)).alias("stretch")
    apart = pl.when("session").then("audit_id").alias("apart")
    by = ("lane", "class", "did", "session")
    first = pl.all().exclude(*by, "events", "last_time").first()
    return (
        frame.group_by(*by, stretch, apart, maintain_order=True)
        .agg(pl.col("events").sum(), pl.col("last_time").max(), first)
        .drop("stretch", "apart")
    )


def lives(figure: Callable[..., pl.DataFrame], shown: Lanes, **options: Any) -> pl.DataFrame:
    """When the objects of the lanes were made and deleted, a row a uid."""
    names = shown.found["name"].drop_nulls().unique(maintain_order=True).to_list()
    return figure("lifetimes", names=shown.names, objects=names, **options)


def bars(lives: pl.DataFrame, low: dt.datetime, high: dt.datetime) -> pl.DataFrame:
    """The lives as bars of the window: `begin`, `end`, and what is known of both ends."""
    made = lives.with_columns(
        pl.coalesce("created", pl.lit(low)).clip(low, high).alias("begin"), pl.coalesce("deleted", pl.lit(high)).clip(low, high).alias("end"),
        pl.when(pl.col("created").is_null()).then(pl.lit("before the log")).otherwise(None).alias("made"),
    )  # fmt: skip
    made = made.filter(pl.col("uid").is_not_null() | (pl.col("uid").is_null().all().over("lane")))  # else of one of its lives
    inside = (pl.coalesce("created", "first_time") <= high) & (pl.coalesce("deleted", pl.lit(high)) >= low)
    return made.filter(inside & (pl.col("begin") <= pl.col("end")))


def tree(found: pl.DataFrame, lives: pl.DataFrame) -> dict[str, int]:
    """The lanes in their order, children below the owner that the log tells of, each with its depth."""
    rows = {r["lane"]: r for r in found.iter_rows(named=True)}
    of = {(kinds.kind_of(r["api_group"] or "", r["resource"]) or "", r["namespace"], r["name"]): lane for lane, r in rows.items()}
    owner: dict[str, str] = {}
    for life in lives.iter_rows(named=True):
        lane = life["lane"]
        above = of.get((life["owner_kind"], rows[lane]["namespace"], life["owner_name"])) if lane in rows else None
        if above is not None and above != lane:
            owner[lane] = above
    below: dict[str, list[str]] = {}
    for lane in rows:
        below.setdefault(owner.get(lane, ""), []).append(lane)
    order: dict[str, int] = {}

    def walk(above: str, depth: int) -> None:
        for lane in below.get(above, ()):
            if lane not in order:
                order[lane] = min(depth, _DEPTH)
                walk(lane, depth + 1)

    walk("", 0)
    for lane in rows:  # of a circle of owners, which nobody can draw as a tree
        order.setdefault(lane, 0)
    return order
