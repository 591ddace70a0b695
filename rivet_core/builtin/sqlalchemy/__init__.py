"""The built-in source: any database with a SQLAlchemy dialect, tuned for SQLite, PostgreSQL, MySQL and MariaDB."""
