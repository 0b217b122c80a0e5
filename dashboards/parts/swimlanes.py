"""Swim lanes: which there are, and what of them is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

DRAWN = 4000  # marks a browser draws and still answers at once
LANES = 30  # unless asked for otherwise


def lanes(figure: Callable[..., pl.DataFrame], seconds: float, many: int, **options: Any) -> tuple[pl.DataFrame, list[str], int]:
    """The marks of the busiest lanes, the lanes' names, and how many events they stand for.

    Where the events are too many to draw each, those that fall together are one mark. `seconds` is the length of the window,
    `figure` answers the pages' own queries.
    """
    found = figure("lanes", lanes=many, **options)
    names, total = found["lane"].to_list(), int(found["events"].sum())
    if not names or total <= DRAWN:
        return figure("marks", names=names, **options), names, total
    step = max(seconds / 120, 1e-6)
    frame = figure("marks_together", names=names, step=step, **options)
    while frame.height > DRAWN and step < seconds:
        step *= 2
        frame = together(frame, step)
    return frame, names, total


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
