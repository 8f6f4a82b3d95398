"""The command line as a whole: every command and option is explained, and a printed command repeats its setting."""
import errno, shlex, subprocess, sys

import pytest, typer
from conftest import ROOT
from typer.testing import CliRunner

from dd_lnl import bare, cli, engine, profiles

COMMANDS = typer.main.get_command(cli.app).commands
PACKAGED = [*profiles.PROFILES]


def test_help_names_the_commands():
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in shown.output] == []
    assert {"run", "reproduce", "figures", "status", "plan", "experts", "export", "evaluate", "verify",
            "pack"} <= {*COMMANDS}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_explained(name):
    command = COMMANDS[name]
    assert command.help and [p.name for p in command.params if not p.help] == []
    assert command.help[:40] in CliRunner().invoke(cli.app, [name, "--help"]).output


def parsed(command):
    "The setting that a printed command asks for, as the app itself reads it."
    program, name, *options = shlex.split(command)
    assert program == "dd_lnl"
    return cli.setting_of(COMMANDS[name].make_context(name, options).params)


@pytest.mark.parametrize("profile", PACKAGED)
def test_a_printed_command_repeats_its_setting(profile, tmp_path):
    settings = profiles.profile(profile, root=str(tmp_path), folder=str(tmp_path/"out"))
    parts = [part for s in settings for part in s.parts]
    assert settings and [s.id for s in [*settings, *parts] if parsed(cli.repeat(s)) != s] == []


def test_a_command_without_the_rate_is_another_setting():
    [s, *_] = [s for s in profiles.profile("digits") if s.tau == 0]
    shortened = cli.repeat(s).replace(" --tau=0.0", "")
    assert shortened != cli.repeat(s) and parsed(shortened).tau == .4


@pytest.mark.parametrize("errors, code", [({}, 0), ({"figure_2": "it ended early"}, 1)])
def test_figures_are_drawn_without_computing(errors, code, monkeypatch):
    drawn, reported = [], []
    monkeypatch.setattr(cli, "draw_figures", lambda settings, *_: drawn.append(settings) or errors)
    monkeypatch.setattr(cli, "build_report", reported.append)
    ended = CliRunner().invoke(cli.app, ["figures", "--folder", str(ROOT/"outputs")])
    assert ended.exit_code == code, ended.output
    assert drawn == [profiles.profile("digits", folder=str(ROOT/"outputs"))] and reported == [ROOT/"outputs/digits"]


class Interrupted:
    "An engine whose user presses Ctrl-C, and that does not end by itself."
    is_killed = False
    def poll(self): raise KeyboardInterrupt
    def wait(self, seconds): raise subprocess.TimeoutExpired("engine", seconds)
    def kill(self): self.is_killed = True


def last_words(work, capsys):
    "What is said as a command ends early."
    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code
    return f"{capsys.readouterr().err}{ended.value}"


def test_ctrl_c_ends_the_engine_in_one_sentence(tmp_path, monkeypatch, capsys):
    running = Interrupted()
    monkeypatch.setattr(engine, "start", lambda *_: running)
    assert "interrupted" in last_words(lambda: engine.run_engine("settings", tmp_path/"plan.json", 1), capsys)
    assert running.is_killed


def raising(error):
    def app():
        raise error
    return app


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0")])
def test_a_full_disk_is_one_sentence(error, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", raising(error))
    assert "disk is full" in last_words(cli.main, capsys)


def test_a_fault_of_ours_is_no_full_disk(monkeypatch):
    monkeypatch.setattr(cli, "app", raising(OSError(errno.EIO, "I/O error")))
    with pytest.raises(OSError, match="I/O error"):
        cli.main()


def test_a_bare_machine_without_a_packed_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert "no pack.json here" in last_words(bare.main, capsys)
