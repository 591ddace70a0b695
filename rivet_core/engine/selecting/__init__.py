"""Which rows a run reads: modes, windows, chunks, and what was delivered before."""
