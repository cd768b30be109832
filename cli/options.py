"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object, nothing else.")]
Directory = Annotated[
    Path, typer.Option("--dir", metavar="DIR", help="The directory of the network.")
]
DirectoryOrNone = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="The directory of the network.")
]
Home = Annotated[Path, typer.Option("--home", metavar="HOME", help="The node's home directory.")]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="A node's name, as in v1.")]


def group(help_: str) -> typer.Typer:
    """A group of commands, plain and quick to start."""
    return typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
