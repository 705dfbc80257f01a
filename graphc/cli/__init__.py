"""The command `graphc`: one file for each subcommand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from graphc.cli.bench import bench
from graphc.cli.doctor import doctor
from graphc.cli.errors import INTERRUPTED, exit_code, report
from graphc.cli.export import export
from graphc.cli.inspect import inspect
from graphc.cli.optimize import optimize
from graphc.cli.profile import profile
from graphc.cli.run import run
from graphc.cli.train import train
from graphc.cli.verify import verify
from graphc.cli.zoo import zoo
from graphc.runtime.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, train, inspect, profile, bench, verify, optimize, export, zoo, doctor):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"graphc {__version__}")
        raise typer.Exit


@app.callback()
def graphc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Compile and run neural networks.

    A MODEL is an ONNX file or the name of a network of the zoo. Results go to stdout, progress to stderr.

    Exit codes: 0 done, 1 a comparison failed, 2 wrong usage or inputs, 3 bad model, 4 unsupported, 5 over a limit,
    130 interrupted.

    Environment: GRAPHC_DEBUG=1 prints the times of passes, 2 the graph after each, 3 the rules as well, 4 loop nests
    and native code. GRAPHC_CACHE=DIR keeps compiled code there for later processes, GRAPHC_CACHE=off keeps none.
    OMP_NUM_THREADS=N is how many threads a run uses unless --threads says otherwise.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (by default the process's own) and exit."""
    try:
        app(None if arguments is None else list(arguments), prog_name="graphc")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as e:  # the last stop: one clear line in place of a traceback
        report(e)
        sys.exit(exit_code(e))
