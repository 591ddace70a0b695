"""An owner is declared dead only when this host can tell; in doubt it has its minute."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from rivet_core.api import LeaseHeld
from rivet_core.state import open_state


@pytest.mark.parametrize("refusal", [psutil.NoSuchProcess, psutil.AccessDenied])
def test_an_owner_hidden_from_this_user_is_not_taken_for_dead(
    refusal: type[psutil.Error], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(pid: int) -> NoReturn:
        raise refusal(pid)

    with open_state("sqlite:///state.db", tmp_path) as store, store.acquire("orders") as owner:
        with monkeypatch.context() as patch:
            patch.setattr(psutil, "Process", hidden)
            with pytest.raises(LeaseHeld):
                store.acquire("orders", wait_seconds=0)
        owner.check()
