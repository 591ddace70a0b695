"""The trust contract as pure code: it does no I/O and knows no backend."""
