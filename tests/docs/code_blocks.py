"""The code blocks of a Markdown page, and how a reader would use them.

* A block with a ``title`` is a file that the reader saves under that name.
* Other ``bash`` and ``python`` blocks are run, in the order of the page, in one directory; ``pycon`` is a doctest.
* A ``text`` block right after one that runs shows what it prints: its lines come in this order, other lines may come
  between them, ``…`` stands for anything and the width of white space does not matter.
* ``<!-- not run: REASON -->`` right before a block says why a test cannot run it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

RUNNABLE = frozenset({"bash", "python", "pycon"})
#: Languages of blocks that only show something: files, data, output.
SHOWN = frozenset({"cron", "ini", "json", "sql", "text", "toml", "yaml"})

_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: where it starts on the page, counted from 1.
        title: the file that it is, or empty.
        not_run: why it cannot be run, or empty.
        output: what it prints, as the page shows it, or ``None``.
    """

    page: str
    line: int
    language: str
    content: str
    title: str = ""
    not_run: str = ""
    output: str | None = None

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and not self.title and not self.not_run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def code_blocks(path: Path, page: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    return list(_blocks(path.read_text(encoding="utf-8"), page))


def _blocks(text: str, page: str) -> Iterator[Block]:
    tokens = MarkdownIt().parse(text)
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.type not in ("fence", "code_block"):
            continue
        assert token.type == "fence", f"{page}: an indented block has no language:\n{token.content}"
        assert token.map is not None
        language, _, attributes = token.info.partition(" ")
        title = _TITLE.search(attributes)
        reason = _NOT_RUN.fullmatch(before.content) if before is not None and before.type == "html_block" else None
        shows = after is not None and after.type == "fence" and after.info == "text"
        yield Block(
            page,
            token.map[0] + 1,
            language,
            token.content,
            title=title[1] if title else "",
            not_run=reason[1] if reason else "",
            output=after.content if after is not None and shows and language in RUNNABLE and not title else None,
        )


def missing_lines(expected: str, printed: str) -> list[str]:
    """Return the lines of ``expected`` that ``printed`` lacks or has too early."""
    missing = []
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in expected.splitlines():
        words = " ".join(line.split())
        pattern = re.compile(".*".join(map(re.escape, words.split("…"))))
        if words and words != "…" and not any(pattern.fullmatch(found) for found in lines):
            missing.append(line)
            lines = iter(())
    return missing
