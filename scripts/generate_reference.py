"""Writes the parts of the reference pages that follow from the code.

Usage: ``python scripts/generate_reference.py [--check]``. What stands between ``<!-- generated: NAME -->`` and
``<!-- end -->`` in a page of ``docs/`` is replaced; the rest of the page is written by hand. With ``--check`` nothing
is written, and pages that are out of date are named with exit code 1.

Only the plugins of this repository's demo (``local``) are described, whatever else is installed.
"""

from __future__ import annotations

import doctest
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from schema_tables import Schema, fields_table, plain, table

from rivet_core import hookspecs
from rivet_core.api import errors
from rivet_core.cli.main import COMMANDS, cli
from rivet_core.config.placeholders import PLACEHOLDERS
from rivet_core.config.schema import config_json_schema
from rivet_core.contract.manifest import manifest_json_schema
from rivet_core.contract.verdict import Verdict
from rivet_core.plugins import discover
from rivet_core.testing import AuthSuite, DestinationSuite, FormatSuite, SourceSuite, StreamSuite
from rivet_core.testing.catalog import Case, cases_of
from rivet_core.testing.guard import GUARD

DOCS = Path(__file__).parent.parent / "docs"

#: What the reader does about each error, beside the hint that it comes with.
REMEDIES: Mapping[str, str] = {
    "R000": "Read the message.",
    "R101": "Correct the command; `--help` shows what it takes.",
    "R111": "`rivet plugins list --tracebacks` shows what is wrong with it; install it again or uninstall it.",
    "R112": "Install the package that the hint names.",
    "R201": "Correct the named file, line and field; every problem is listed at once.",
    "R301": "Read the database's own message; run again if it was a passing failure.",
    "R302": "Check host, port and network with `rivet doctor`; run again.",
    "R303": "Check user, password and grants in the database.",
    "R304": "Correct the table's name or the query.",
    "R305": "Copy the `columns:` block of the hint into the export, or choose other types.",
    "R306": "Correct the value, give its column another type, or choose a policy under `types:`.",
    "R307": "Install the extra that the hint names.",
    "R308": "Change the query or the table back, or accept the columns with `on_schema_drift: warn` for one run.",
    "R309": "Run the command again, which takes a new snapshot; see the server's log for what ended the old one.",
    "R401": "Read the store's own message; run again if it was a passing failure.",
    "R402": "Something else removed the object; `rivet validate` says what is missing.",
    "R403": "Grant this user reading, writing, listing and deleting below the prefix.",
    "R404": "Renew the credential and run again.",
    "R405": "Another writer was first; look who else writes there, then run again.",
    "R406": "Create it, or correct its name.",
    "R407": "Run again.",
    "R408": "Run again; if it comes back, suspect the network, the disk or the store.",
    "R409": "Choose shorter or plainer names; a dataset with such a path was changed by somebody else.",
    "R410": "Make room, then run again; nothing was published.",
    "R501": "Give the column another type, choose another format, or export the damaged part again.",
    "R601": "Do not load the dataset. `rivet validate` names what is wrong; run the export again.",
    "R602": "As for R601. If a newer Rivet wrote it, upgrade `rivet-core`.",
    "R603": "Correct the data, or the gates under `quality:`; nothing was published. Run again without `--resume`.",
    "R701": "Read why it was refused; nothing was changed.",
    "R702": "Wait for the other run to end, or stop it.",
    "R703": "The other run's dataset is certified; run again to publish on top of it.",
    "R704": "Make a new plan with `rivet plan`, look at it and apply that one.",
    "R801": "Check `state.url` or `RIVET_STATE_URL`; published datasets do not depend on it.",
    "R901": "Run again; what the prefix held before is untouched.",
    "R999": "It is a defect of Rivet or of a plugin: repeat the command with `--debug` and report it.",
}


def configuration() -> Iterator[str]:
    """Yield the tables of every section of ``rivet.yaml``."""
    schema = config_json_schema(discover({"RIVET_PLUGINS": "local"}))
    definitions = schema["$defs"]
    export = definitions["ExportSection"]
    yield "## The file\n"
    yield from fields_table(schema, definitions)
    yield "\n## state\n"
    yield from fields_table(definitions["StateSection"], definitions)
    yield "\n## exports\n"
    yield "\nEach item of the list is one export. Exactly one of `table`, `query` and `query_file` is given.\n"
    yield from fields_table(export, definitions)
    yield "\n### types\n"
    yield from fields_table(definitions["TypesSection"], definitions)
    yield "\n### quality\n"
    yield from fields_table(definitions["QualitySection"], definitions)
    yield "\n### meta_columns\n"
    yield from fields_table(definitions["MetaColumnsSection"], definitions)
    for title, field in (
        ("source", schema["properties"]["source"]),
        ("destination", export["properties"]["destination"]),
        ("format", export["properties"]["format"]),
    ):
        yield f"\n## {title}\n"
        for table_text, names in plugin_sections(field, definitions).items():
            yield f"\n### {title}: {', '.join(names)}\n{table_text}"


def plugin_sections(field: Schema, definitions: Schema) -> Mapping[str, list[str]]:
    """Return what is to be said of each plugin's section, and the types of which it is true."""
    found: dict[str, list[str]] = {}
    for section in field["oneOf"]:
        if section["type"] == "object":
            fields = {name: value for name, value in section["properties"].items() if name != "type"}
            lines = fields_table({**section, "properties": fields}, definitions)
            text = f"\n{section['description']}.\n{''.join(lines)}"
            found.setdefault(text, []).append(section["properties"]["type"]["const"])
    return found


def manifest() -> Iterator[str]:
    """Yield the tables of the manifest's fields."""
    schema = manifest_json_schema()
    definitions: Any = schema["$defs"]
    yield "## The manifest\n"
    yield from fields_table(schema, definitions, with_default=False)
    titles = {
        "Writer": "writer",
        "ManifestSource": "source",
        "Extraction": "source.extraction",
        "ManifestDestination": "destination",
        "Column": "schema[]",
        "Part": "parts[]",
        "KeyRange": "parts[].range",
    }
    for name in sorted(definitions, key=list(titles).index):  # a model without a title is an error
        summary = plain(definitions[name].get("description", "").partition("\n\n")[0])
        yield f"\n## {titles[name]}\n\n{summary}\n"
        yield from fields_table(definitions[name], definitions, with_default=False)


def command_line() -> Iterator[str]:
    """Yield every built-in command with its usage, its help and its options."""
    context = click.Context(cli, info_name="rivet", **cli.context_settings)
    yield "## rivet\n"
    yield from command_page(context)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            yield from command_tree(command, name, context)


def command_tree(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    """Yield a command, and those below it instead if it is a group."""
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner, below in sorted(command.commands.items()):
            yield from command_tree(below, inner, context)
        return
    yield f"\n## {context.command_path}\n"
    yield from command_page(context)


def command_page(context: click.Context) -> Iterator[str]:
    """Yield one command's usage, help and options."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n```text\n{usage}\n```\n"
    help_text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    yield f"\n{help_text}\n\n"
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            option = record[0].replace("|", "/")  # no two Markdown dialects agree on a | inside code inside a table
            rows.append((f"`{option}`", record[1]))
    yield from table(["option", "meaning"], rows)


def error_table() -> Iterator[str]:
    """Yield the table of all errors, in the order of their codes."""
    public = {name: getattr(errors, name) for name in errors.__all__}
    classes = {name: cls for name, cls in public.items() if isinstance(cls, type)}
    rows = [
        (f"`{cls.code}`", str(cls.exit_code), name, first_paragraph(cls), REMEDIES[cls.code])
        for name, cls in sorted(classes.items(), key=lambda item: item[1].code)
    ]
    rows.append(("`R999`", "1", "", "Something that Rivet did not foresee.", REMEDIES["R999"]))
    yield from table(["code", "exit", "class", "meaning", "what to do"], rows)


def verdicts() -> Iterator[str]:
    """Yield the table of the verdicts of ``rivet validate``."""
    rows = [(f"`{verdict.value}`", str(verdict.exit_code), verdict.meaning) for verdict in Verdict]
    yield from table(["verdict", "exit", "meaning"], rows)


def placeholders() -> Iterator[str]:
    """Yield the table of the placeholders of a path or prefix."""
    yield from table(["placeholder", "stands for"], [(f"`{{{name}}}`", text) for name, text in PLACEHOLDERS.items()])


def hooks() -> Iterator[str]:
    """Yield each hook with its signature, its description and its example."""
    for name, hook in vars(hookspecs).items():
        if not name.startswith("rivet_"):
            continue
        example = "".join(
            "".join(f"{'...' if number else '>>>'} {line}\n" for number, line in enumerate(item.source.splitlines()))
            + item.want
            for item in doctest.DocTestParser().get_examples(hook.__doc__ or "")
        )
        signature = str(inspect.signature(hook)).replace("'", "")
        yield f"\n### {name}\n\n`def {name}{signature}`\n\n{first_paragraph(hook)}\n\n```pycon\n{example}```\n"


#: The suites of the conformance kit, and which page says how to use each.
SUITES: Mapping[type, str] = {
    DestinationSuite: "destination.md",
    StreamSuite: "destination.md#streams",
    FormatSuite: "format.md",
    SourceSuite: "source.md",
    AuthSuite: "auth.md",
}


def conformance_tests() -> Iterator[str]:
    """Yield every test of the conformance kit, suite by suite."""
    yield "## Every suite\n"
    yield from case_table([GUARD])
    for suite, page in SUITES.items():
        yield f"\n## {suite.__name__}\n\n{first_paragraph(suite)} [How]({page}).\n"
        yield from case_table(cases_of(suite).values())


def case_table(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the table of some tests, sorted by kind and number."""

    def order(case: Case) -> tuple[str, int]:
        kind, _, number = case.id.rpartition("-")
        return kind, int(number)

    rows = [
        (
            f"`{case.id}`" + (f"<br>`{case.capability}`" if case.capability else ""),
            plain(case.breaks),
            plain(case.hint),
        )
        for case in sorted(cases, key=order)
    ]
    yield "\n"
    yield from table(["id", "what breaks for users", "where to look"], rows)


def first_paragraph(documented: object) -> str:
    """Return the first paragraph of a docstring, as Markdown on one line."""
    return plain(inspect.getdoc(documented).partition("\n\n")[0])  # type: ignore[union-attr]


GENERATED: Mapping[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "configuration": ("reference/configuration.md", configuration),
    "commands": ("reference/cli.md", command_line),
    "errors": ("reference/errors.md", error_table),
    "manifest": ("reference/manifest.md", manifest),
    "verdicts": ("contract.md", verdicts),
    "placeholders": ("destinations/local.md", placeholders),
    "hooks": ("plugins/hooks.md", hooks),
    "conformance tests": ("plugins/tests.md", conformance_tests),
}


def regenerated(name: str) -> tuple[Path, str, str]:
    """Return the page of a generated part, its text as it is and as it must be."""
    page, generate = GENERATED[name]
    path = DOCS / page
    before = path.read_text(encoding="utf-8")
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->\n"
    head, found, rest = before.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} lacks the lines {begin.strip()} and {end.strip()}")
    return path, before, f"{head}{begin}\n{''.join(generate()).strip()}\n\n{end}{tail}"


def main(arguments: list[str]) -> int:
    """Write every page that is out of date, or only name it."""
    stale = 0
    for name in GENERATED:
        path, before, after = regenerated(name)
        if before != after:
            stale += 1
            print(f"{path.relative_to(DOCS.parent)} {'is out of date' if '--check' in arguments else 'written'}")
            if "--check" not in arguments:
                path.write_text(after, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
