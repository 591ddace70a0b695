"""Prints what an export left behind, from the files alone, and what to try next.

Usage: ``python show.py output .venv/bin``: the directory of the exported datasets, and where ``rivet`` is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NEXT = """
Try next:
  # check every byte, row count and schema again, without the database
  {bin}/rivet validate --config examples/demo/rivet.yaml --depth full

  # damage one byte and see who notices
  printf X | dd of={orders} bs=1 seek=5000 conv=notrunc
  {bin}/rivet validate --config examples/demo/rivet.yaml --export orders

  # export again: the new files take the place of the old ones, which move to _quarantine
  {bin}/rivet run --config examples/demo/rivet.yaml --export orders --validate

  # read the data with anything that knows Parquet
  {bin}/python -c "import pyarrow.parquet as p; print(p.read_table('{reviews}').slice(0, 5))"

  # then copy examples/demo/rivet.yaml and name your own database in it"""


def readable(size: int) -> str:
    """Return a size in bytes for people: ``17 B``, ``1.2 MB``."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def show_dataset(dataset: Path, manifest: dict[str, Any]) -> None:
    """Print a dataset's files with sizes; the parts in the manifest's order with the rows that it certifies."""
    print(f"\n{dataset}/  {manifest['row_count']:,} rows, {manifest['format']} ({manifest['compression']})")
    parts = {part["path"]: f"{part['rows']:>12,} rows" for part in manifest["parts"]}
    others = sorted(file.name for file in dataset.iterdir() if file.is_file() and file.name not in parts)
    for name in (*others, *parts):
        print(f"  {name:<58}{readable((dataset / name).stat().st_size):>10}{parts.get(name, '')}")
    if (dataset / "_quarantine").is_dir():
        print("  _quarantine/    what earlier exports left, moved aside")


def main(output: Path, programs: str) -> None:
    """Print every dataset under ``output``, then commands to try."""
    manifests = {
        dataset.name: json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))
        for dataset in sorted(output.iterdir())
        if (dataset / "manifest.json").is_file()
    }
    for name, manifest in manifests.items():
        show_dataset(output / name, manifest)
    rows = sum(manifest["row_count"] for manifest in manifests.values())
    print(f"\n{rows:,} rows in all; a manifest and a _SUCCESS marker certify each dataset.")
    first_parts = {name: output / name / manifest["parts"][0]["path"] for name, manifest in manifests.items()}
    print(NEXT.format(bin=programs, **first_parts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
