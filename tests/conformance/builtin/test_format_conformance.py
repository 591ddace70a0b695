"""The built-in formats pass the conformance kit, with their defaults and with the options that change the file most."""

from __future__ import annotations

from typing import ClassVar

from rivet_core.testing import FormatSuite


class TestParquet(FormatSuite):
    format = "parquet"


class TestParquetUncompressed(FormatSuite):
    format = "parquet"
    options: ClassVar = {"compression": "none"}


class TestCsv(FormatSuite):
    format = "csv"


class TestCsvOfTabsWithoutHeader(FormatSuite):
    format = "csv"
    options: ClassVar = {"delimiter": "\t", "header": False, "null": "\\N"}
