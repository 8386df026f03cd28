"""Expected errors become one line and exit code 1; unexpected ones keep their traceback."""

from __future__ import annotations

import importlib

import click
import pytest

from cli import failures
from cli.failures import exit_on_failure, find_expected
from cli.main import main
from kubeapi.errors import KubeAPIError


def test_an_expected_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending, exit_on_failure():
        raise KubeAPIError("cannot read the kubeconfig x: No such file or directory; name another")
    assert ending.value.code == 1
    assert capsys.readouterr().err == (
        "berth: cannot read the kubeconfig x: No such file or directory; name another\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["agent", "--magic"], "berth: No such option '--magic'; see `berth agent --help`\n"),
        (["lab", "kill"], "berth: Missing argument 'NODE|server'; see `berth lab kill --help`\n"),
    ],
)
def test_misuse_is_one_line_too(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["berth", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    assert capsys.readouterr().err == line


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending, exit_on_failure():
        raise click.Abort
    assert ending.value.code == 1
    assert capsys.readouterr().err == "berth: interrupted\n"


def test_an_unexpected_error_passes() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_failure():
        raise ZeroDivisionError


def test_an_expected_error_is_found_in_nested_groups() -> None:
    error = KubeAPIError("x")
    assert find_expected(ExceptionGroup("a", [ExceptionGroup("b", [error])])) is error


def test_a_group_with_an_unexpected_error_is_unexpected() -> None:
    assert find_expected(ExceptionGroup("a", [KubeAPIError("x"), ValueError("y")])) is None


@pytest.mark.parametrize("path", sorted(failures._EXPECTED))
def test_every_named_root_error_exists(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), name), Exception)
