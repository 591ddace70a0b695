"""Plugins that are installed for real: a broken one never takes another, or the command line, with it."""

from __future__ import annotations

import json
import shutil

import pytest

DESTINATION = """
    from rivet_core.api import DestinationSpec
    from rivet_core.hookspecs import hookimpl

    def spec(type, **more):
        return DestinationSpec(
            type=type, kind="store", summary="Test", config="absent_module:Config", factory="absent_module:open", **more
        )

    @hookimpl
    def rivet_destinations():
        return [{specs}]
"""

PLUGINS = {
    "rivet-good": DESTINATION.format(specs='spec("good")')
    + """
    import click

    @hookimpl
    def rivet_commands(group):
        @group.command("greet")
        def greet():
            "Greet the reader."
            click.echo("hello")
""",
    "rivet-native": """
    from rivet_core.api import FormatSpec, SourceSpec
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_sources():
        return [SourceSpec(type="mysql", summary="Native", config="absent_module:C", factory="absent_module:open")]

    @hookimpl
    def rivet_formats():
        where = {"config": "absent_module:C", "factory": "absent_module:F"}
        return [FormatSpec(name="parquet", suffix="parquet", media_type="x/y", summary="Native", **where)]
""",
    "rivet-vault": """
    from rivet_core.api import AuthResolverSpec
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_auth_resolvers():
        yield AuthResolverSpec(
            name="vault", destinations=frozenset({"good", "first-own"}), summary="Keys from a vault",
            selects_on=frozenset({"vault_path"}), produces="keys", factory="absent_module:resolve",
        )
""",
    "rivet-import-error": "raise RuntimeError('the\\nlibrary is damaged')",
    "rivet-exits": "raise SystemExit('I quit')",
    "rivet-raising-hook": DESTINATION.format(specs="1 / 0"),
    "rivet-wrong-result": DESTINATION.format(specs='{"type": "dict"}'),
    "rivet-bad-factory": DESTINATION.format(specs='spec("twice"), spec("twice")'),
    "rivet-future": DESTINATION.format(specs='spec("future", api=2)'),
    "rivet-unknown-hook": """
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_teleporters():
        return []
""",
    "rivet-wrong-argument": """
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_event(evnt):
        pass
""",
    "rivet-first": DESTINATION.format(specs='spec("disputed"), spec("first-own")'),
    "rivet-second": DESTINATION.format(specs='spec("disputed"), spec("second-own")'),
    "rivet-greedy-command": """
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_commands(group):
        @group.command("plugins")
        def plugins():
            raise SystemExit("taken over")
""",
    "rivet-raising-command": """
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_commands(group):
        @group.command("half-way")
        def half_way():
            pass
        raise RuntimeError("no commands today")
""",
    "rivet-raising-event": """
    from rivet_core.hookspecs import hookimpl

    @hookimpl
    def rivet_event(event):
        raise RuntimeError("cannot listen")
""",
}


@pytest.fixture(scope="module")
def installed(environment):
    environment.install(PLUGINS)
    return environment


@pytest.fixture(scope="module")
def listed(installed):
    return installed.plugins("--tracebacks")


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("builtin", "active", ""),
        ("local", "active", ""),
        ("good", "active", ""),
        ("import-error", "broken", "RuntimeError: the library is damaged"),
        ("exits", "broken", "SystemExit: I quit"),
        ("raising-hook", "broken", "ZeroDivisionError: division by zero"),
        ("wrong-result", "broken", "TypeError: rivet_destinations returned dict instead of DestinationSpec"),
        ("bad-factory", "broken", "ValueError: destination 'twice' more than once"),
        ("future", "incompatible", "DestinationSpec 'future' was written for plugin interface 2, this is 1"),
        ("unknown-hook", "incompatible", "unknown hook 'rivet_teleporters'"),
        ("wrong-argument", "incompatible", "evnt"),
        ("first", "conflict", "destination 'disputed' is provided by rivet-first 1.2.3"),
        ("second", "conflict", "rivet-second 1.2.3 (plugin 'second')"),
        ("greedy-command", "conflict", "command 'plugins' is provided by rivet-core and rivet-greedy-command 1.2.3"),
        ("raising-command", "broken", "RuntimeError: no commands today"),
    ],
)
def test_each_plugin_has_the_status_that_it_deserves(listed, name, status, error):
    assert (listed[name]["status"], error in listed[name]["error"]) == (status, True), listed[name]


def test_a_plugin_names_its_distribution_version_and_what_it_provides(listed):
    good = listed["good"]
    assert (good["distribution"], good["version"]) == ("rivet-good", "1.2.3")
    assert [(item["kind"], item["name"]) for item in good["provides"]] == [
        ("destination", "good"),
        ("commands", "greet"),
    ]


def test_tracebacks_show_the_line_of_the_plugin(installed, listed):
    assert "rivet_import_error/plugin.py" in listed["import-error"]["traceback"]
    text = installed.rivet("plugins", "list", "--tracebacks").stdout
    assert "raise RuntimeError('the\\nlibrary is damaged')" in text
    assert "traceback" not in installed.plugins()["import-error"]


def test_the_text_says_the_same_as_the_json(installed, listed):
    text = installed.rivet("plugins", "list").stdout
    for plugin in listed.values():
        assert any(
            line.split()[:4] == [plugin["name"], plugin["distribution"], plugin["version"], plugin["status"]]
            for line in text.splitlines()
        ), plugin["name"]
        assert plugin["error"] in text


def test_help_survives_and_shows_the_commands_of_plugins_that_work(installed):
    result = installed.rivet("--help")
    assert result.returncode == 0
    assert "greet" in result.stdout
    assert "Greet the reader." in result.stdout
    assert "Some plugins do not work" in result.stdout
    assert "half-way" not in result.stdout
    assert installed.rivet("greet").stdout == "hello\n"


def test_the_undisputed_types_of_a_plugin_in_conflict_stay(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        from rivet_core.api import PluginError
        registry = discover()
        print(sorted({'first-own', 'disputed', 'second-own'} & set(registry.destinations)))
        try:
            registry.destination("disputed")
        except PluginError as error:
            print(error.code, error)
    """)
    assert result.stdout.splitlines() == [
        "['first-own', 'second-own']",
        "R111 destination 'disputed' is provided by rivet-first 1.2.3 (plugin 'first')"
        " and rivet-second 1.2.3 (plugin 'second')",
    ], result.stderr


def test_an_installed_source_wins_over_the_built_in_fallback(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        registry = discover({"RIVET_PLUGINS": "native"})
        for type in ("mysql", "mariadb", "sqlalchemy"):
            print(type, registry.source(type).summary.split()[0], registry.source_dialect(type))
    """)
    assert result.stdout.splitlines() == ["mysql Native None", "mariadb Any mysql", "sqlalchemy Any None"], (
        result.stderr
    )


def test_an_installed_format_wins_over_the_built_in_fallback(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        for plugins in ("native", ""):
            registry = discover({"RIVET_PLUGINS": plugins})
            print(registry.format("parquet").summary.split()[0], *sorted(registry.formats))
    """)
    assert result.stdout.splitlines() == ["Native csv parquet", "Apache csv parquet"], result.stderr


def test_auth_resolvers_are_found_by_the_destinations_that_they_serve(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        registry = discover()
        for type in ("good", "local"):
            print(type, [spec.name for spec in registry.auth_resolvers(type)])
    """)
    assert result.stdout.splitlines() == ["good ['vault']", "local []"], result.stderr


def test_a_missing_type_names_the_installed_plugin_that_should_provide_it(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        from rivet_core.api import MissingPlugin
        for environ, name in (({}, "import-error"), ({"RIVET_PLUGINS": "local"}, "good")):
            try:
                discover(environ).destination(name)
            except MissingPlugin as error:
                print(f"{error} | {error.hint}")
    """)
    assert result.stdout.splitlines() == [
        "destination type 'import-error' is not available: rivet-import-error 1.2.3 (plugin 'import-error') is broken:"
        " RuntimeError: the library is damaged | see `rivet plugins list --tracebacks`",
        "destination type 'good' is not available: rivet-good 1.2.3 (plugin 'good') is disabled by RIVET_PLUGINS"
        " | add 'good' to RIVET_PLUGINS",
    ], result.stderr


def test_a_factory_that_cannot_be_imported_names_the_plugin_and_the_string(installed):
    result = installed.run("""
        from rivet_core.plugins import discover
        from rivet_core.api import PluginError
        registry = discover()
        try:
            registry.load(registry.destination("good"), "factory")
        except PluginError as error:
            print(error)
    """)
    assert result.stdout.strip() == (
        "rivet-good 1.2.3 (plugin 'good'): cannot load 'absent_module:open':"
        " ModuleNotFoundError: No module named 'absent_module'"
    ), result.stderr


def test_a_raising_subscriber_is_a_warning(installed):
    result = installed.run("""
        from datetime import UTC, datetime
        from rivet_core.api import Event
        from rivet_core.plugins import discover
        discover().emit(Event("published", "run", "orders", datetime.now(UTC)))
        print("went on")
    """)
    assert result.stdout == "went on\n"
    assert "rivet-raising-event 1.2.3 (plugin 'raising-event') failed on event 'published'" in result.stderr


def test_rivet_plugins_restricts_what_is_loaded(installed):
    listed = installed.plugins(RIVET_PLUGINS="good, local")
    assert {name for name, plugin in listed.items() if plugin["status"] == "active"} == {"builtin", "good", "local"}
    assert {plugin["status"] for plugin in listed.values()} == {"active", "disabled"}


def test_strict_mode_makes_a_broken_plugin_an_error(installed):
    result = installed.rivet("plugins", "list", "--json", RIVET_STRICT_PLUGINS="1")
    assert result.returncode == 2
    assert json.loads(result.stdout)["plugins"]
    load = "from rivet_core.plugins import load_registry; load_registry()"
    strict = installed.run(load, RIVET_STRICT_PLUGINS="1")
    assert strict.returncode == 1
    assert "rivet-exits 1.2.3 (plugin 'exits') is broken: SystemExit: I quit" in strict.stderr
    assert installed.run(load, RIVET_STRICT_PLUGINS="1", RIVET_PLUGINS="good,local").returncode == 0
    assert installed.rivet("--help", RIVET_STRICT_PLUGINS="1").returncode == 0


def test_without_strict_mode_each_problem_is_a_warning(installed):
    result = installed.run("from rivet_core.plugins import load_registry; load_registry()")
    assert result.returncode == 0
    assert "rivet-future 1.2.3 (plugin 'future') is incompatible" in result.stderr


@pytest.fixture
def damaged(installed):
    (packages,) = (installed.python.parent.parent / "lib").glob("python*/site-packages")
    metadata = packages / "rivet_damaged-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rivet-damaged\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[rivet]\nno equals sign here\n")
    yield "rivet-damaged"
    shutil.rmtree(metadata)


def test_damaged_metadata_of_one_distribution_hides_no_other(installed, damaged):
    listed = installed.plugins()
    assert listed[damaged]["status"] == "broken"
    assert listed["good"]["status"] == "active"
