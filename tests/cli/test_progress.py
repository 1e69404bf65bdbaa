"""How far a command is: bars in a terminal, and lines in a log."""

from __future__ import annotations

from ragcore.cli.progress import Lines, question_bar, stage_bars


def test_a_log_gets_a_line_every_thirty_seconds(capsys):
    times = iter([100, 101, 129.9, 130, 159, 161, 200])
    lines = Lines(clock=lambda: next(times))
    lines.show("passages", 1, 2407)
    lines.show("passages", 2, 2407)
    lines.show("passages", 1800, 2407)
    lines.show("files", 1_000_000, 3_000_000)
    lines.show("files", 2_000_000, 3_000_000)
    lines.show("documents", 1024, None)
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.splitlines() == [
        "1,800 of 2,407 passages",
        "2.0 MB of 3.0 MB files",
        "1,024 documents",
    ]


def test_where_standard_error_is_no_terminal_no_bar_is_drawn(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with stage_bars() as report:
        report("kept", 1200, None)
        report("passages", 1, 2)
        report("passages", 2, 2)
    with question_bar() as answered:
        answered(1, 1)
    assert capsys.readouterr().err == (
        "resuming: 1,200 passages were encoded by an interrupted build\n"
    )


def test_a_terminal_gets_a_bar_for_each_stage(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with stage_bars() as report:
        report("passages", 1, 2)
        report("passages", 2, 2)
    errors = capsys.readouterr().err
    assert "passages" in errors
    assert "━" in errors
