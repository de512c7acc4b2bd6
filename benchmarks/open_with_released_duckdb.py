"""Whether released versions of DuckDB open a warehouse that this project published, and answer every view and question.

    python benchmarks/open_with_released_duckdb.py [WAREHOUSE [VERSION …]]

By default data/vpp.duckdb and versions 1.2.2, 1.3.2 and 1.4.4. Each is installed into an environment of its own in a
temporary folder (this needs a package index), opens the file read-only, reads every view whole, and asks the questions
of docs/queries.sql. Ends with 1 where one fails.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).resolve().parents[1]
VERSIONS = ("1.2.2", "1.3.2", "1.4.4")
PROGRAM = """
import sys, duckdb
warehouse, page = sys.argv[1:]
failed = 0
with duckdb.connect(warehouse, read_only=True) as connection:
    named = "select schema_name || '.' || view_name from duckdb_views() where not internal"
    views = connection.execute(named).fetchall()
    questions = [part for part in open(page, encoding="utf-8").read().split(";") if "select" in part]
    for question in [f"select * from {name}" for (name,) in views] + questions:
        try:
            connection.execute(question).fetchall()
        except duckdb.Error as error:
            failed += 1
            print(f"{question.strip().splitlines()[0]}: {error}")
print(f"DuckDB {duckdb.__version__}: {len(views)} views and {len(questions)} questions, {failed} failed")
sys.exit(failed > 0)
"""


def main() -> None:
    warehouse = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "data" / "vpp.duckdb"
    failed = False
    for version in sys.argv[2:] or VERSIONS:
        with TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = next(
                path for path in (Path(folder, "bin/python"), Path(folder, "Scripts/python.exe")) if path.exists()
            )
            # pytz: DuckDB's Python package needs it to hand out moments
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, f"duckdb=={version}", "pytz"], check=True)
            asked = [python, "-c", PROGRAM, warehouse, PROJECT / "docs" / "queries.sql"]
            failed |= subprocess.run(asked, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
