"""What can happen to a published prefix, and what ``rivet validate`` must say of it at each depth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash import observer
from integration.corruption.published import Published
from rivet_core.contract.manifest import MAX_MANIFEST_BYTES

Do = Callable[[Published], object]
Edit = Callable[[dict[str, Any]], object]

#: The part that damages hit. There are successors, so that one part can be damaged while others are not.
HIT = "part-000001-02.{suffix}"
OTHER = "part-000001-03.{suffix}"


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
        light: the verdict at this depth; ``parts`` and ``full`` alike.
        named: keys that the report must name from depth ``parts`` on; ``{suffix}`` and ``{copy}`` are filled in.
        heals: the next run publishes a dataset without anybody's help.
    """

    what: str
    do: Do
    light: str
    parts: str
    full: str
    named: tuple[str, ...]
    heals: bool = True

    def __str__(self) -> str:
        return self.what


# --- parts ------------------------------------------------------------------------------------------------------------


def hit(published: Published) -> Path:
    return published.parts[1]


def flip_a_byte(path: Path) -> None:
    """Change one bit in place: inode, size and modification time stay what they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_contents(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def swap_names(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def to_directory(path: Path) -> None:
    """Put a directory with the same bytes in it in the place of a file."""
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(data)


def to_link(path: Path) -> None:
    """Move a file out of the prefix and leave a symbolic link to it."""
    outside = path.parent.parent / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


def _of_parts(what: str, do: Do, *named: str) -> Damage:
    return Damage(what, do, "verified", "parts_failed", "parts_failed", named)


def _harmless(what: str, do: Do, *named: str) -> Damage:
    return Damage(what, do, "verified", "verified", "verified", named)


PART_DAMAGES = [
    _of_parts("a part is truncated", lambda p: os.truncate(hit(p), hit(p).stat().st_size - 1), HIT),
    _of_parts("a part is emptied", lambda p: os.truncate(hit(p), 0), HIT),
    _of_parts("a byte is appended to a part", lambda p: hit(p).write_bytes(hit(p).read_bytes() + b"\n"), HIT),
    _of_parts("a bit is flipped", lambda p: flip_a_byte(hit(p)), HIT),
    _of_parts("a part is filled with zeros", lambda p: hit(p).write_bytes(bytes(hit(p).stat().st_size)), HIT),
    _of_parts("a part is deleted", lambda p: hit(p).unlink(), HIT),
    _of_parts("all parts are deleted", lambda p: [part.unlink() for part in p.parts], HIT, OTHER),
    _of_parts("two parts swap contents", lambda p: swap_contents(hit(p), p.parts[2]), HIT, OTHER),
    _of_parts("two parts swap names", lambda p: swap_names(hit(p), p.parts[2]), HIT, OTHER),
    _of_parts(
        "a part is renamed",
        lambda p: hit(p).rename(p.prefix / f"part-000007{hit(p).suffix}"),
        HIT,
        "part-000007.{suffix}",
    ),
    _of_parts("a part is a directory", lambda p: to_directory(hit(p)), HIT, HIT + "/inside"),
    _of_parts("a part is a symbolic link", lambda p: to_link(hit(p)), HIT),
    _harmless(
        "an object named like a part is added",
        lambda p: (p.prefix / f"part-000007{hit(p).suffix}").write_bytes(b"untracked"),
        "part-000007.{suffix}",
    ),
    _harmless(
        "the highest part number is taken",
        lambda p: (p.prefix / f"part-{'9' * 18}{hit(p).suffix}").write_bytes(b"untracked"),
        f"part-{'9' * 18}.{{suffix}}",
    ),
    _harmless("strangers leave files", lambda p: add_strangers(p.prefix), "notes.txt", "archive/part-000001.parquet"),
]


def add_strangers(prefix: Path) -> None:
    (prefix / "notes.txt").write_text("not ours")
    (prefix / "archive").mkdir()
    (prefix / "archive" / "part-000001.parquet").write_bytes(b"not ours either: only the prefix itself holds parts")


# --- manifest.json, edited without the marker -------------------------------------------------------------------------


def _overwrite(name: str, data: bytes) -> Do:
    return lambda published: (published.prefix / name).write_bytes(data)


def _edit(edit: Edit) -> Callable[[Published], bytes]:
    """Return what gives the manifest's bytes after ``edit``."""

    def edited(published: Published) -> bytes:
        manifest = published.manifest
        edit(manifest)
        return json.dumps(manifest).encode()

    return edited


def _one_byte(published: Published) -> bytes:
    return (published.prefix / "manifest.json").read_bytes().replace(b'"orders"', b'"ordert"', 1)


def _size_of_another(manifest: dict[str, Any]) -> None:
    manifest["parts"][0]["size_bytes"] = manifest["parts"][1]["size_bytes"]


def _part_field(name: str, value: object) -> Edit:
    return lambda manifest: manifest["parts"][1].update({name: value})


MANIFEST_CONTENTS: dict[str, bytes | Callable[[Published], bytes]] = {
    "with one byte changed": _one_byte,
    "with another row count": _edit(lambda m: m.update(row_count=m["row_count"] + 1)),
    "with the size of another part": _edit(_size_of_another),
    "without its last part": _edit(lambda m: m.update(parts=m["parts"][:-1])),
    "with a path that leaves the prefix": _edit(_part_field("path", "../outside.parquet")),
    "with an absolute path": _edit(_part_field("path", "/etc/passwd")),
    "with the path of the marker": _edit(_part_field("path", "_SUCCESS")),
    "with a path that would drive a terminal": _edit(_part_field("path", "part\x1b[2J.parquet")),
    "with a part twice": _edit(lambda m: m["parts"].append(m["parts"][0])),
    "with a number that fits nowhere": _edit(_part_field("size_bytes", 10**400)),
    "of version 2": _edit(lambda m: m.update(manifest_version=2)),
    "of a failed run": _edit(lambda m: m.update(status="failed")),
    "cut in half": lambda p: (p.prefix / "manifest.json").read_bytes()[:700],
    "empty": b"",
    "that is another JSON value": b"[]",
    "nested without end": b'{"parts":' + b"[" * 1_000_000,
    "in invalid UTF-8": b'{"manifest_version": 1, "run_id": "\xff\xfe"}',
    "larger than any that is read": b" " * (MAX_MANIFEST_BYTES + 1024 * 1024),
}


def _content(published: Published, content: bytes | Callable[[Published], bytes]) -> bytes:
    return content if isinstance(content, bytes) else content(published)


def _without_copy(do: Do) -> Do:
    def damage(published: Published) -> None:
        published.copy.unlink()
        do(published)

    return damage


def _control(what: str, do: Do, verdict: str, *named: str, without_copy: str = "") -> list[Damage]:
    """One damage to control objects, which every depth sees, and the same where no immutable copy is left."""
    damages = [Damage(what, do, verdict, verdict, verdict, named)]
    if without_copy:
        damages.append(
            Damage(
                f"{what}, and the copy is gone", _without_copy(do), without_copy, without_copy, without_copy, named[:1]
            )
        )
    return damages


def _edited_manifests() -> list[Damage]:
    damages = []
    for what, content in MANIFEST_CONTENTS.items():

        def put(published: Published, content: bytes | Callable[[Published], bytes] = content) -> None:
            (published.prefix / "manifest.json").write_bytes(_content(published, content))

        damages += _control(f"manifest.json is one {what}", put, "tampered", "manifest", without_copy="stale_marker")
    return damages


def _edit_copy(published: Published) -> None:
    published.copy.write_bytes(_one_byte(published))


def _edit_both(published: Published) -> None:
    _edit_copy(published)
    (published.prefix / "manifest.json").write_bytes(_one_byte(published))


def _remove(*names: str) -> Do:
    return lambda published: [(published.prefix / name).unlink() for name in names]


EDITED_MANIFESTS = _edited_manifests()

CONTROL_DAMAGES = [
    *_control(
        "manifest.json is deleted", _remove("manifest.json"), "tampered", "manifest", without_copy="stale_marker"
    ),
    Damage(
        "manifest.json is a directory",
        lambda p: to_directory(p.prefix / "manifest.json"),
        *["tampered"] * 3,
        ("manifest.json",),
        heals=False,
    ),
    *_control("the copy is deleted", lambda p: p.copy.unlink(), "verified"),
    *_control("the copy is edited", _edit_copy, "tampered", "{copy}"),
    *_control("the copy is emptied", lambda p: p.copy.write_bytes(b""), "tampered", "{copy}"),
    Damage("the copy is a symbolic link", lambda p: to_link(p.copy), *["verified"] * 3, (), heals=False),
    *_control("manifest.json and the copy are edited alike", _edit_both, "stale_marker", "_SUCCESS"),
    *_control("the marker is deleted", _remove("_SUCCESS"), "uncertified", "_SUCCESS", without_copy="uncertified"),
    Damage(
        "the marker is a directory",
        lambda p: to_directory(p.prefix / "_SUCCESS"),
        *["uncertified"] * 3,
        ("_SUCCESS",),
        heals=False,
    ),
    *_control(
        "the marker has the fingerprint of nothing",
        _overwrite("_SUCCESS", b"xxh3:0123456789abcdef\n"),
        "stale_marker",
        "_SUCCESS",
        without_copy="stale_marker",
    ),
    *_control(
        "marker and manifest.json are deleted",
        _remove("_SUCCESS", "manifest.json"),
        "unfinished",
        "part-000001.parquet",
        without_copy="unfinished",
    ),
    *[
        damage
        for what, data in {
            "is empty": b"",
            "is garbage": b"\x00\xff" * 11,
            "is in upper case": b"XXH3:0123456789ABCDEF\n",
            "has two lines": b"xxh3:0123456789abcdef\n" * 2,
            "has one megabyte": b"xxh3:0123456789abcdef\n" * 50_000,
        }.items()
        for damage in _control(
            f"the marker {what}", _overwrite("_SUCCESS", data), "tampered", "_SUCCESS", without_copy="tampered"
        )
    ],
]


# --- forgeries: manifest.json and a marker that fits it ---------------------------------------------------------------


def _forge(content: bytes | Callable[[Published], bytes]) -> Do:
    return lambda published: published.certify(_content(published, content))


_TOO_LARGE = "larger than any that is read"
#: Valid manifests: what they say is found out by looking at the data, or by the copy that says otherwise.
_PLAUSIBLE = {"with one byte changed", "with the size of another part"}

FORGERIES = [
    *[
        damage
        for what, content in MANIFEST_CONTENTS.items()
        if what not in {*_PLAUSIBLE, _TOO_LARGE}
        for damage in _control(
            f"a manifest {what} is certified", _forge(content), "tampered", "manifest.json", without_copy="tampered"
        )
    ],
    # It is not read to its end, so it has no fingerprint that anything could certify.
    *_control(
        f"a manifest {_TOO_LARGE} is certified",
        _forge(MANIFEST_CONTENTS[_TOO_LARGE]),
        "stale_marker",
        "manifest.json",
        without_copy="stale_marker",
    ),
]


def _move_a_row(manifest: dict[str, Any]) -> None:
    manifest["parts"][1]["rows"] += 1
    manifest["parts"][2]["rows"] -= 1


def _certify_garbage(published: Published) -> None:
    manifest = published.manifest
    garbage = b"PAR1 this is no Parquet file PAR1"
    hit(published).write_bytes(garbage)
    manifest["parts"][1].update(size_bytes=len(garbage), content_fingerprint=observer.fingerprint(garbage))
    published.certify(manifest)


def _lie(what: str, do: Do, light: str, parts: str, full: str, *named: str) -> list[Damage]:
    return [
        Damage(f"{what} is certified", do, "tampered", "tampered", "tampered", ("{copy}",)),
        Damage(f"{what} is certified, and the copy is gone", _without_copy(do), light, parts, full, named),
    ]


LIES = [
    *_lie("a wrong size", _forge(_edit(_size_of_another)), "verified", "parts_failed", "parts_failed", "part-000001."),
    *_lie("a wrong row count", _forge(_edit(_move_a_row)), "verified", "verified", "parts_failed", HIT, OTHER),
    *_lie(
        "another schema",
        _forge(_edit(lambda m: m.update(schema_fingerprint="xxh3:0123456789abcdef"))),
        "verified",
        "verified",
        "parts_failed",
        HIT,
    ),
    *_lie(
        "a type of a hundred thousand levels",
        _forge(_edit(lambda m: m["schema"][0].update(type="list<" * 100_000))),
        "verified",
        "verified",
        "parts_failed",
        HIT,
    ),
    *_lie(
        "another column name",
        _forge(_edit(lambda m: m["schema"][1].update(name="other"))),
        "verified",
        "verified",
        "parts_failed",
        HIT,
    ),
    *_lie(
        "a column name twice",
        _forge(_edit(lambda m: m["schema"][1].update(name="id"))),
        "verified",
        "verified",
        "parts_failed",
        HIT,
    ),
    *_lie("garbage in the place of a part", _certify_garbage, "verified", "verified", "parts_failed", HIT),
]
