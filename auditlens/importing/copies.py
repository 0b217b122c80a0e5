"""glog writes an error to its ERROR, WARNING and INFO files: of such copies in one batch the one of the INFO file counts.

Files are a set by their names, PROGRAM.HOST.USER.log.SEVERITY.yyyymmdd-hhmmss.PID (glog_file.go). Only files that are
imported together are compared; without the others of its set a file's entries are no copies of anything known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from auditlens.importing.transform import Source
from auditlens.importing.writer import Writer
from auditlens.lake import NewFile, Staging
from auditlens.quoting import quoted
from auditlens.tables import Duplicates, Klog

_NAME = re.compile(r"(?P<set>.*)\.log\.(?P<severity>INFO|WARNING|ERROR|FATAL)\.\d{8}-\d{6}\.(?P<pid>\d+)(?:\.\w+)?")
_ORDER = ("INFO", "WARNING", "ERROR", "FATAL")


def find_copies(
    writer: Writer, sources: Iterable[Source], batch_id: str, staging: Staging
) -> tuple[list[NewFile], dict[str, int]]:
    """Files of `duplicates` for the copies among the entries of a batch and, per import id, how many there are."""
    found = [(source, match) for source in sources if (match := _NAME.fullmatch(source.name))]
    sets = {(match["set"], match["pid"]): {m["severity"] for _, m in found if (m["set"], m["pid"]) == (match["set"], match["pid"])}
            for _, match in found}  # fmt: skip
    chosen = [(s, m) for s, m in found if len(sets[m["set"], m["pid"]]) > 1]
    files: list[NewFile] = []
    counts: dict[str, int] = {}
    if not chosen:
        return files, counts
    writer.con.execute("create or replace temp table copied (import_id varchar, of_set varchar, rank integer)")
    writer.con.executemany(
        "insert into copied values (?, ?, ?)",
        [(s.import_id, f"{m['set']}\0{m['pid']}", _ORDER.index(m["severity"])) for s, m in chosen],
    )
    for file in writer.of(Klog):
        path = staging.directory(Klog.NAME) / file.path
        # the n-th of equal entries in one file is a copy of the n-th in another
        select = f"""
            select import_id, source, line, item, kept_import_id from (
                select *, row_number() over same as place, first_value(import_id) over same as kept_import_id from (
                    select k.import_id, k.source, k.line, k.item, c.of_set, c.rank, k.time, k.pid, k.file, k.file_line, k.message,
                        row_number() over (
                            partition by k.import_id, k.time, k.pid, k.file, k.file_line, k.message, k.severity order by k.line, k.item
                        ) as nth, k.severity
                    from read_parquet({quoted(path)}) k join copied c on c.import_id = k.import_id
                )
                window same as (partition by of_set, time, pid, file, file_line, message, severity, nth order by rank, source, line)
            ) where place > 1
        """
        columns = ", ".join(c.name for c in Duplicates.stored())
        new = staging.write(
            writer.con, Duplicates, f"select {columns} from ({select})", prefix=batch_id, partition=file.partition
        )
        if new:
            files.append(new)
            path = staging.directory(Duplicates.NAME) / new.path
            for import_id, count in writer.con.execute(
                f"select import_id, count(*) from read_parquet({quoted(path)}) group by 1"
            ).fetchall():
                counts[import_id] = counts.get(import_id, 0) + count
    return files, counts
