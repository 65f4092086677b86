"""`python -m benchmarks`: this server beside llama.cpp's own `llama-server`, all rows in one table.

Both serve the same file and take turns; a ratio is the median of those of the rounds. What a row measures is said in
`benchmarks/table/`. Rows that are not chosen keep what an earlier run has found in the file of results.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import report
from benchmarks.table.drawing import draw
from benchmarks.table.row import Result, run
from benchmarks.table.rows import all_rows
from benchmarks.table.stage import Stage, find_peer

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="rows with this in their name; repeatable")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.add_argument("--minutes", type=float, default=30, help="begin no row and no round after that time")
    parser.add_argument("--models", type=Path, help="a folder that keeps the models for the next time")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="where figures are kept")
    parser.add_argument("--picture", type=Path, default=HERE / "results.svg", help="where they are drawn")
    asked = parser.parse_args()
    rows = [row for row in all_rows() if not asked.only or any(text in row.name for text in asked.only)]
    binary = find_peer()
    if asked.list:
        print("\n".join(row.name for row in rows))
    elif binary is None:
        raise SystemExit(
            "There is no llama-server to compare with: put one on PATH, or name it in LOCALAI_LLAMA_SERVER "
            "(llama.cpp's sources are in llama-cpp-python's source distribution)."
        )
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that both servers are ended
        begun = time.monotonic()
        said = report.conditions()
        print(f"{said}\n", *report.head(), sep="\n", flush=True)
        results: dict[str, Result] = {}
        with tempfile.TemporaryDirectory() as scratch:
            stage = Stage(Path(scratch), asked.models or Path(scratch) / "made", binary)
            try:
                for row in rows:
                    results[row.name] = run(row, stage, begun + 60 * asked.minutes)
                    print(report.line(row, results[row.name]), flush=True)
                    everything = report.keep(asked.results, results, said)
                    asked.picture.write_text(draw(all_rows(), everything, "localai-flask beside llama-server", said))
            finally:
                stage.close()
        print(f"\n{len(rows)} rows in {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
