"""What an author gives to a suite: a configuration, and access to the store that bypasses the plugin under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

#: ``lose_answer``: the next write is carried out, and its answer never arrives. ``unavailable``: every request fails
#: with what the plugin should map to ``Transient``. ``denied``: every request is refused as forbidden.
Fault = Literal["lose_answer", "unavailable", "denied"]


@dataclass(frozen=True)
class Harness:
    """A place to test a destination in.

    A *prefix* is a name that the kit makes up, such as ``kit-3f2a/orders``; the harness maps it to a fresh place, and
    the same name to the same place. The raw functions take such a prefix and a key below it, and use the store itself
    (its SDK, the file system), never the plugin.

    Attributes:
        config: returns the destination's fields in ``rivet.yaml`` for a prefix, without ``type``.
        get: returns an object's bytes, or ``None`` if there is none.
        put: writes an object, over another one if need be; called from several threads at once.
        list: returns the key of every object under the prefix, recursively. Uploads that ``pending_uploads`` lists are
            no objects yet; a plugin that claims ``pending="self_expiring"`` keeps nothing else, so nothing is left out.
        delete: deletes an object; absent is fine.
        secrets: values that no ``repr``, message or log may show; the credentials in use among them.
        faults: opens a block in which the store behaves badly; ``None`` if it cannot be made to, and
            ``NotImplementedError`` for a fault that it cannot be made to show.
        large_bytes: a size that needs several requests to write, where the store has such a limit.
        exclude: ids of tests that this *server* cannot pass, each with the reason. What the plugin claims is not
            weakened by that: a capability is excluded by taking it back.
    """

    config: Callable[[str], Mapping[str, object]]
    get: Callable[[str, str], bytes | None]
    put: Callable[[str, str, bytes], object]
    list: Callable[[str], Sequence[str]]
    delete: Callable[[str, str], object]
    secrets: Sequence[str] = ()
    faults: Callable[[Fault], AbstractContextManager[object]] | None = None
    large_bytes: int = 20_000_000
    exclude: Mapping[str, str] = field(default_factory=dict)
