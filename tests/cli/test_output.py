import io
import json

import pytest

from cli.output import Output, columns, or_dash, paint, short


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_prints_the_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.say("for people")
    out.table([["a", "b"]])
    out.progress("working")
    out.give({"k": "ü"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"k": "ü"}
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def test_people_get_lines_and_no_object(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False)
    out.say("for people")
    out.give({"k": 1})
    assert capsys.readouterr().out == "for people\n"


def test_progress_is_for_terminals_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Output(as_json=False).progress("working")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    Output(as_json=False).progress("working")
    assert "working" in terminal.getvalue()


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", Terminal()) == "x"


def test_columns_are_aligned() -> None:
    assert columns([["name", "height"], ["v1", "7"]]) == ["name  height", "v1    7"]


def test_hashes_are_short_on_screen() -> None:
    assert short("9c1f" + "0" * 58 + "a2") == "9c1f…a2"
    assert short(None) == or_dash(None) == "\u2013"
    assert or_dash(0) == "0"
