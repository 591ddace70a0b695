"""polars: the whole table as a frame by ConnectorX in two partitions, then written; databases give it no stream."""

import polars
from database import ENGINE, LOCATION, TABLE, TARGET

scheme = "postgresql" if ENGINE == "postgres" else "mysql"
frame = polars.read_database_uri(
    f"SELECT * FROM {TABLE}",
    scheme + LOCATION,
    engine="connectorx",
    partition_on="id",
    partition_num=2,
)
frame.write_parquet(TARGET / f"{TABLE}.parquet", compression="zstd", compression_level=1)
