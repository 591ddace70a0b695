"""arrow-odbc: two ranges of the key, each fetched while the batch before is written.

MariaDB's driver 3.1 writes over memory that is not its own when it fetches a FLOAT; these are cast.
"""

from arrow_odbc import read_arrow_batches_from_odbc
from database import DATABASE, ENGINE, HOST, PASSWORD, PORT, TABLE, USER
from parquet import both, write

# Without these the drivers gather the whole result in memory before they give the first row.
DRIVERS = {
    "postgres": "Driver={PostgreSQL Unicode};UseDeclareFetch=1;Fetch=20000",
    "mysql": "Driver={MariaDB Unicode};NO_CACHE=1;FORWARDONLY=1",
}
CONNECTION = f"{DRIVERS[ENGINE]};Server={HOST};Port={PORT};Database={DATABASE};Uid={USER};Pwd={{{PASSWORD}}};"


COLUMNS = (
    "SELECT column_name, data_type FROM information_schema.columns "
    f"WHERE table_name = '{TABLE}' ORDER BY ordinal_position"
)


def columns() -> str:
    """Return the list of columns to select."""
    if ENGINE == "postgres":
        return "*"
    batches = read_arrow_batches_from_odbc(COLUMNS, connection_string=CONNECTION, max_text_size=512)
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    return ", ".join(f"CAST({name} AS DOUBLE) AS {name}" if kind == "float" else name for name, kind in rows)


def export(name: str, first: int, last: int) -> None:
    """Write one range."""
    batches = read_arrow_batches_from_odbc(
        f"SELECT {columns()} FROM {TABLE} WHERE id BETWEEN {first} AND {last}",
        connection_string=CONNECTION,
        batch_size=30_000,
        max_text_size=512,
        max_binary_size=512,
    )
    write(name, batches.schema, batches)


both(export)
