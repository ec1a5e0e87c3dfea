"""Parses `az` commands by azure-cli itself and stops before anything is done. Runs in the environment of azure-cli.

Reads a JSON list of argument lists, and prints a JSON list with a message, or null, for each.
"""

import contextlib
import io
import json
import os
import sys

from azure.cli.core import get_default_cli
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


class Parsed(Exception):
    """The arguments are fine."""


def _stop(*_arguments, **_more):
    raise Parsed


def message(arguments: list[str]) -> str | None:
    """What azure-cli has against the arguments."""
    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, _stop)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            cli.invocation = cli.invocation_cls(
                cli_ctx=cli,
                parser_cls=cli.parser_cls,
                commands_loader_cls=cli.commands_loader_cls,
                help_cls=cli.help_cls,
            )
            cli.invocation.execute(list(arguments))
    except Parsed:
        return None
    except SystemExit as ending:
        if ending.code in (0, None):
            return None
        return _error_line(output.getvalue()) or "azure-cli rejects it"
    except Exception as error:  # What azure-cli raises for a value that it cannot read.
        return f"{type(error).__name__}: {error}"
    return "this is a group of commands, not a command"


def _error_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "required" in line or "misspelled" in line]
    return (errors or lines or [""])[0].removeprefix("ERROR: ")


def main():
    """Answers on the real stdout, whatever azure-cli prints."""
    assert os.environ.get("AZURE_CONFIG_DIR"), "name a folder of its own by AZURE_CONFIG_DIR"
    json.dump([message(arguments) for arguments in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
