"""The entry point: errors, exit codes and what goes where."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from rivet_core import __version__
from rivet_core.api import ConfigError, LeaseHeld, register_secret
from rivet_core.cli import main as main_module
from rivet_core.cli.main import COMMANDS, main
from rivet_core.cli.options import common_options


@pytest.fixture
def failing(monkeypatch):
    """Let ``rivet fail`` raise an exception."""

    def install(error: BaseException) -> None:
        @click.command()
        @common_options
        def fail(config, output):
            raise error

        monkeypatch.setitem(COMMANDS, "fail", (__name__, "fail", "Fail."))
        monkeypatch.setattr(sys.modules[__name__], "fail", fail, raising=False)

    # With import mode importlib, this module is not where `import_module` would look for it.
    monkeypatch.setattr(main_module, "import_module", lambda name: sys.modules[name])
    return install


def test_an_error_has_its_code_message_hint_and_exit_code(failing, capsys):
    failing(ConfigError("no such field", hint="remove it", code="R203"))
    assert main(["fail"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error[R203]: no such field\nhint: remove it\n"


def test_an_error_is_one_json_document_with_the_same_facts(failing, capsys):
    failing(LeaseHeld("pid 7 runs orders", hint="wait"))
    assert main(["fail", "--json"]) == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {"code": "R702", "message": "pid 7 runs orders", "hint": "wait", "exit_code": 5}
    }
    assert captured.err == ""


def test_an_unexpected_exception_is_no_traceback_and_no_leak(failing, capsys):
    register_secret("canary-password")
    failing(ValueError("bad URL postgres://u:canary-password@h"))
    assert main(["fail"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error[R999]: unexpected ValueError: bad URL postgres://u:***@h\nhint: ")
    assert main(["fail", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "canary-password" not in shown


def test_control_characters_never_reach_the_terminal(failing, capsys):
    failing(ConfigError("part\x1b]0;owned\x07 is\nnot there"))
    main(["fail"])
    assert capsys.readouterr().err == "error[R201]: part\\x1b]0;owned\\x07 is\nnot there\n"


def test_an_interrupt_exits_with_130(failing, capsys):
    failing(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert "error[R901]: interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["plugins", "list", "--nonsense"], "No such option"),
        (["plugins", "list", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_clear_error(arguments, message, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error[R101]: ")
    assert message in shown
    assert "hint: see `rivet" in shown
    assert main([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "R101"


@pytest.mark.parametrize("arguments", [[], ["plugins"], ["schema"]])
def test_a_group_without_a_command_shows_its_help(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("Usage: rivet")


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rivet {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_help_is_the_first_sentence_of_the_command(name, capsys):
    assert main([name, "--help"]) == 0
    assert COMMANDS[name][2] in " ".join(capsys.readouterr().out.split())


def test_a_closed_pipe_ends_quietly():
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from rivet_core.cli.main import main; sys.exit(main())", "plugins", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.parametrize("which", ["config", "manifest"])
def test_the_schemas_are_json_in_both_forms(which, capsys):
    assert main(["schema", which]) == 0
    text = capsys.readouterr().out
    assert main(["schema", which, "--json"]) == 0
    assert json.loads(text) == json.loads(capsys.readouterr().out)
    assert json.loads(text)["$schema"].startswith("https://json-schema.org/")
