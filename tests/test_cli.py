"""The command line as a whole: every command and option is explained, and a printed command repeats its setting."""
import shlex

import pytest, typer
from typer.testing import CliRunner

from dd_lnl import cli, profiles

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
