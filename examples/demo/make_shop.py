"""Generates the demo's database: a small shop in SQLite, the same one every time.

Usage: ``python make_shop.py shop.db``. It has 5 tables and 281 000 rows with what real data has: NULLs, text of many
scripts, amounts that must not become floats, timestamps, JSON and binary values.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

CUSTOMERS, PRODUCTS, ORDERS, REVIEWS = 20_000, 1_000, 60_000, 20_000
OPENED = datetime(2024, 1, 1)
SECONDS_OPEN = 2 * 365 * 86_400

SCHEMA = """
CREATE TABLE customers (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    email      VARCHAR(120),
    country    CHAR(2) NOT NULL,
    newsletter BOOLEAN NOT NULL,
    joined_at  TIMESTAMP NOT NULL
);
CREATE TABLE products (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    price      DECIMAL(10, 2) NOT NULL,
    weight_kg  DOUBLE,
    attributes JSON,
    image      BLOB
);
CREATE TABLE orders (
    id          INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    status      TEXT NOT NULL,
    note        TEXT,
    ordered_at  TIMESTAMP NOT NULL,
    shipped_on  DATE
);
CREATE TABLE order_items (
    order_id   INTEGER NOT NULL REFERENCES orders (id),
    line       SMALLINT NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity   INTEGER NOT NULL,
    price      DECIMAL(10, 2) NOT NULL,
    discount   DECIMAL(4, 3),
    PRIMARY KEY (order_id, line)
);
CREATE TABLE reviews (
    id          INTEGER PRIMARY KEY,
    product_id  INTEGER NOT NULL REFERENCES products (id),
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    stars       SMALLINT NOT NULL,
    body        TEXT,
    written_at  TIMESTAMP NOT NULL
);
"""

FIRST = [
    "Ada",
    "Zoë",
    "Søren",
    "Chloé",
    "Łukasz",
    "Müge",
    "Ивана",
    "Νίκος",
    "さくら",
    "伟",
    "محمد",
    "נועה",
    "Ngọc",
    "José",
]
LAST = ["O'Neil", "Åberg", "García", "Nowak", "Иванов", "Παπαδάκη", "田中", "王", "حداد", "כהן", "Nguyễn", "Smith"]
COUNTRIES = ["DE", "FR", "GB", "GR", "IL", "JP", "PL", "SE", "TR", "US", "VN", "EG"]
THINGS = ["Tea pot", "Café cup", "Süßstoff", "Brush, wide", 'Board 24"', "Lamp", "Coat 🧥", "Kettle", "Blanket"]
NOTES = [
    None,
    None,
    None,
    "",
    "Leave it at the door",
    "Ring twice,\nplease",
    'Say "hello"',
    "Danke! 🙏",
    "お願いします",
]
OPINIONS = [None, "", "Great 👍", "Broke after a week.\nNever again.", "Très bien", "so-so", "👩🏽‍🚀 approved"]


def moment(chance: random.Random) -> datetime:
    """Return a moment in the two years since the shop opened."""
    return OPENED + timedelta(seconds=chance.randrange(SECONDS_OPEN))


def customers(chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``customers``; every eighth has no e-mail address."""
    for id_ in range(1, CUSTOMERS + 1):
        email = None if id_ % 8 == 0 else f"customer{id_}@example.com"
        name = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        yield id_, name, email, chance.choice(COUNTRIES), chance.random() < 0.4, str(moment(chance))


def products(chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``products``."""
    for id_ in range(1, PRODUCTS + 1):
        attributes = json.dumps({"colour": chance.choice(["röd", "blå", "緑"]), "sizes": [id_ % 5, id_ % 7]})
        yield (
            id_,
            f"{chance.choice(THINGS)} #{id_}",
            cents(chance.randrange(99, 50_000)),
            chance.choice([None, round(chance.uniform(0.05, 20), 3)]),
            chance.choice([None, attributes]),
            chance.choice([None, chance.randbytes(24)]),
        )


def orders(chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``orders``; those that are not shipped have no date."""
    for id_ in range(1, ORDERS + 1):
        ordered = moment(chance)
        status = chance.choices(["shipped", "open", "cancelled"], [8, 1, 1])[0]
        shipped = (ordered + timedelta(days=chance.randrange(1, 9))).date()
        yield (
            id_,
            chance.randint(1, CUSTOMERS),
            status,
            chance.choice(NOTES),
            str(ordered),
            str(shipped) if status == "shipped" else None,
        )


def order_items(chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``order_items``: two lines for every other order, four for the rest."""
    for order in range(1, ORDERS + 1):
        for line in range(1, 5 if order % 2 else 3):
            yield (
                order,
                line,
                chance.randint(1, PRODUCTS),
                chance.randint(1, 6),
                cents(chance.randrange(99, 50_000)),
                chance.choice([None, None, "0.05", "0.125"]),
            )


def reviews(chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``reviews``."""
    for id_ in range(1, REVIEWS + 1):
        yield (
            id_,
            chance.randint(1, PRODUCTS),
            chance.randint(1, CUSTOMERS),
            chance.randint(1, 5),
            chance.choice(OPINIONS),
            str(moment(chance)),
        )


def cents(amount: int) -> str:
    """Return an amount in cents as decimal text, never by way of a float."""
    return f"{amount // 100}.{amount % 100:02}"


def make_shop(path: Path) -> None:
    """Write the database, in place of one that is there."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        for table in (customers, products, orders, order_items, reviews):
            chance = random.Random(table.__name__)  # noqa: S311 - a seed for each: one may change without the others
            rows = table(chance)
            first = next(rows)
            marks = ", ".join("?" * len(first))
            connection.execute(f"INSERT INTO {table.__name__} VALUES ({marks})", first)
            connection.executemany(f"INSERT INTO {table.__name__} VALUES ({marks})", rows)


if __name__ == "__main__":
    make_shop(Path(sys.argv[1]))
    print(f"generated {sys.argv[1]}")
