"""ConnectorX: a stream of Arrow batches from two partitions, written by pyarrow."""

import connectorx
from database import ENGINE, LOCATION, TABLE
from parquet import write

scheme = "postgresql" if ENGINE == "postgres" else "mysql"
batches = connectorx.read_sql(
    scheme + LOCATION,
    f"SELECT * FROM {TABLE}",
    partition_on="id",
    partition_num=2,
    return_type="arrow_stream",
    batch_size=100_000,
)
write(TABLE, batches.schema, batches)
