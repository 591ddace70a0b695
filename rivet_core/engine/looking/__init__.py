"""Looks at a query's first rows, keys and indexes without reading it all."""
