"""Acquires a lease, says so, and holds it until its standard input ends: ``lease_holder.py URL EXPORT``."""

import sys
from pathlib import Path

from rivet_core.api import LeaseHeld
from rivet_core.state import open_state

url, export = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()  # the start signal: all imports are done
try:
    with open_state(url, Path()) as store, store.acquire(export) as lease:
        print(f"acquired {lease.token}", flush=True)
        sys.stdin.read()
except LeaseHeld:
    print("held", flush=True)
