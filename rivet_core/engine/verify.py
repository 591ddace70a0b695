"""The verb ``validate``: checks what a prefix promises against what is there. Never touches the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rivet_core.api.errors import FormatError, ManifestInvalid, NotFound
from rivet_core.contract import keys
from rivet_core.contract.types import schema_fingerprint
from rivet_core.contract.verdict import Verdict, judge
from rivet_core.engine.prefix import PrefixView, look, was_replaced
from rivet_core.engine.proof import prove_part
from rivet_core.engine.result import timestamp

if TYPE_CHECKING:
    from rivet_core.api.destination import Destination
    from rivet_core.api.format import Format
    from rivet_core.contract.manifest import Manifest, Part

#: ``light``: manifest and marker. ``parts``: every part's size and content, and untracked objects. ``full``: every
#: part is read again, its rows counted and its schema compared.
Depth = Literal["light", "parts", "full"]
#: Gives the decoder for what a manifest calls its format.
FormatOf = Callable[[str], "Format"]

# A dataset that is replaced while it is checked is checked anew; no prefix is replaced this often for long.
_ATTEMPTS = 5
# Asking a store is waiting for it; reading a part is work, and holds a piece of it in memory.
_ASKING_WORKERS = 8
_READING_WORKERS = 2


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with an object, or with the control objects if ``path`` is empty."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class PartCheck:
    """How a part was proven to be the one that the manifest lists, see ``proof.Comparison``; ``None`` if it is not."""

    path: str
    proof: str | None


@dataclass(frozen=True)
class VerifyReport:
    """What ``rivet validate`` found.

    Attributes:
        resolved_prefix: the prefix that was checked.
        checks: every part that was looked at, in the manifest's order; empty at depth ``light``.
        untracked: data objects that no certified manifest lists; quarantine is not counted.
    """

    export: str
    resolved_prefix: str
    depth: Depth
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    untracked: tuple[str, ...] = ()
    run_id: str | None = None
    finished_at: str | None = None
    rows: int | None = None
    parts: int | None = None
    bytes: int | None = None
    checks: tuple[PartCheck, ...] = ()

    @property
    def exit_code(self) -> int:
        """That of the verdict."""
        return self.verdict.exit_code

    @property
    def proofs(self) -> dict[str, int]:
        """How many parts were proven by what, the most frequent first."""
        return dict(Counter(check.proof for check in self.checks if check.proof is not None).most_common())

    @property
    def legacy_run(self) -> bool:
        """Data without any manifest, accepted with reduced checks."""
        return self.verdict is Verdict.LEGACY_RUN

    def to_json(self) -> dict[str, object]:
        """Return the facts as JSON-able values."""
        return {
            "export": self.export,
            "resolved_prefix": self.resolved_prefix,
            "depth": self.depth,
            "verdict": self.verdict.value,
            "meaning": self.verdict.meaning,
            "exit_code": self.verdict.exit_code,
            "legacy_run": self.legacy_run,
            "run_id": self.run_id,
            "finished_at": self.finished_at,
            "rows": self.rows,
            "parts": self.parts,
            "bytes": self.bytes,
            "findings": [{"path": finding.path, "message": finding.message} for finding in self.findings],
            "untracked": list(self.untracked),
            "checks": [{"path": check.path, "proof": check.proof} for check in self.checks],
        }


def verify_store(
    destination: Destination, *, export: str, depth: Depth, rehash: bool, format_of: FormatOf
) -> VerifyReport:
    """Check a prefix the way a careful reader reads it.

    A part that is missing or different may belong to a dataset that was replaced meanwhile: then ``_SUCCESS`` has
    changed, and the check starts over.

    Args:
        rehash: read every part at depth ``parts`` too, because the store keeps no checksum of its own.

    Raises:
        DestinationError: the prefix could not be read.
    """
    check = _Check(destination, export, depth, reread=rehash or depth == "full", format_of=format_of)
    for _ in range(_ATTEMPTS):
        view = look(destination, everything=depth != "light")
        if depth == "light" and not view.manifests:
            view = look(destination)  # nothing that certifies: only the listing tells what kind of nothing
        report = check.judge(view)
        if report.verdict.exit_code == 0 or not was_replaced(destination, view):
            break
    return report


@dataclass(frozen=True)
class _Check:
    destination: Destination
    export: str
    depth: Depth
    reread: bool
    format_of: FormatOf

    def judge(self, view: PrefixView) -> VerifyReport:
        control = view.control
        findings = [Finding("", problem) for problem in control.problems]
        certified = control.certified
        failed: list[Finding] = []
        checks: list[PartCheck] = []
        if certified is not None and self.depth != "light":
            for check, problem in self._check_parts(certified, view):
                checks.append(check)
                if problem:
                    failed.append(Finding(check.path, problem))
        verdict = judge(control.facts(view.listing, parts_failed=bool(failed)))
        report = VerifyReport(
            export=self.export,
            resolved_prefix=self.destination.uri,
            depth=self.depth,
            verdict=verdict,
            findings=(*findings, *failed),
            untracked=tuple(_untracked(view)),
            checks=tuple(checks),
        )
        described = certified or control.manifest
        if described is None:
            return report
        return replace(
            report,
            run_id=described.run_id,
            finished_at=timestamp(described.finished_at),
            rows=described.row_count,
            parts=described.part_count,
            bytes=sum(part.size_bytes for part in described.committed_parts()),
        )

    def _check_parts(self, certified: Manifest, view: PrefixView) -> Iterator[tuple[PartCheck, str]]:
        """Yield each committed part's check and what is wrong with it."""

        def check(part: Part) -> tuple[PartCheck, str]:
            return self._check_part(certified, part, view)

        workers = _READING_WORKERS if self.reread else _ASKING_WORKERS
        with ThreadPoolExecutor(workers, thread_name_prefix="rivet-verify") as pool:
            yield from pool.map(check, certified.committed_parts())

    def _check_part(self, certified: Manifest, part: Part, view: PrefixView) -> tuple[PartCheck, str]:
        found = prove_part(self.destination, part, view.listing.get(part.path), reread=self.reread)
        match found.finding:
            case "missing":
                problem = "is missing"
            case "size differs":
                problem = f"has {found.size_bytes} bytes, the manifest says {part.size_bytes}"
            case "content differs":
                problem = "has other content than the manifest says"
            case "same":
                problem = self._decode_part(certified, part) if self.depth == "full" else ""
        return PartCheck(part.path, None if problem else found.proof), problem

    def _decode_part(self, certified: Manifest, part: Part) -> str:
        try:
            schema = certified.arrow_schema(part)
            with (
                self.destination.open_reader(part.path) as source,
                # Another writer's manifest may record no columns; then the part says what it can by itself.
                self.format_of(certified.format).decoder(source, schema if schema.names else None) as decoder,
            ):
                rows = sum(batch.num_rows for batch in decoder.batches())
                recorded = part.schema_fingerprint or certified.schema_fingerprint
                found = schema_fingerprint(decoder.schema)
        except NotFound:
            return "is missing"
        except (FormatError, ManifestInvalid) as error:
            return f"cannot be read: {error.message}"
        if rows != part.rows:
            return f"has {rows} rows, the manifest says {part.rows}"
        if certified.is_ours and recorded and found != recorded:
            return f"has the schema {found}, the manifest says {recorded}"
        if certified.is_ours and found != schema_fingerprint(schema):
            return "has other columns than the manifest lists"
        return ""


def _untracked(view: PrefixView) -> list[str]:
    certified = view.control.certified
    listed = {part.path for part in certified.parts} if certified else set()
    return sorted(key for key in view.listing if key not in listed and not keys.is_control(key))
