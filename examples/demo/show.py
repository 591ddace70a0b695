"""Prints what an export left behind, from the files alone, and what to try next.

Usage: ``python show.py output .venv/bin``: the directory of the exported datasets, and where ``rivet`` is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def readable(size: int) -> str:
    """Return a size in bytes for people: ``1.2 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def show(output: Path) -> None:
    """Print each dataset's files, with sizes, and the rows that its manifest certifies."""
    rows = 0
    for dataset in sorted(path.parent for path in output.glob("*/manifest.json")):
        manifest = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))
        rows += manifest["row_count"]
        part_rows = {part["path"]: part["rows"] for part in manifest["parts"]}
        print(f"\n{dataset}/  {manifest['row_count']:,} rows, {manifest['format']} ({manifest['compression']})")
        for file in sorted(path for path in dataset.iterdir() if path.is_file()):
            counted = f"{part_rows[file.name]:>12,} rows" if file.name in part_rows else ""
            print(f"  {file.name:<58}{readable(file.stat().st_size):>10}{counted}")
        if (dataset / "_quarantine").is_dir():
            print("  _quarantine/    parts of earlier exports, moved aside")
    print(f"\n{rows:,} rows in all, and for each dataset a manifest and a _SUCCESS marker that certify them.")


NEXT = """
Try next:
  # check every byte, row count and schema again, without the database
  {bin}/rivet validate --config examples/demo/rivet.yaml --depth full

  # damage one byte and see who notices
  printf X | dd of={output}/orders/part-000001.parquet bs=1 seek=5000 conv=notrunc
  {bin}/rivet validate --config examples/demo/rivet.yaml --export orders

  # read the data with anything that knows Parquet
  {bin}/python -c "import pyarrow.parquet as p; print(p.read_table('{output}/reviews/part-000001.parquet').slice(0, 5))"

  # then copy examples/demo/rivet.yaml and name your own database in it"""


if __name__ == "__main__":
    show(Path(sys.argv[1]))
    print(NEXT.format(output=sys.argv[1], bin=sys.argv[2]))
