"""dlt: ``dlt_export.py TARGET BACKEND``, its SQL source to its filesystem as Parquet, zstd at a level of its own."""

import os
import sys
from tempfile import TemporaryDirectory

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DATA_WRITER__COMPRESSION": "zstd",
    "NORMALIZE__DATA_WRITER__COMPRESSION": "zstd",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "false",
    "EXTRACT__WORKERS": "2",
}

import dlt
from database import ENGINE, LOCATION, TABLE, TARGET
from dlt.destinations import filesystem
from dlt.sources.sql_database import sql_table

backend = sys.argv[2]
scheme = "postgresql+psycopg" if ENGINE == "postgres" else "mysql+pymysql"
kwargs = {}
if backend == "connectorx":
    plain = ("postgresql" if ENGINE == "postgres" else "mysql") + LOCATION
    kwargs["backend_kwargs"] = {"conn": plain, "return_type": "arrow_stream"}
table = sql_table(
    credentials=scheme + LOCATION,
    table=TABLE,
    backend=backend,
    chunk_size=100_000,
    reflection_level="full_with_precision",
    **kwargs,
)
with TemporaryDirectory(prefix="rivet-bench-dlt-") as pipelines:
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=pipelines,
        destination=filesystem(bucket_url=TARGET.as_uri()),
        dataset_name="bench",
    )
    pipeline.run(table, loader_file_format="parquet")
