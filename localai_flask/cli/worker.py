"""`localai-flask worker`: lend this machine's devices to models that run on another."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def worker() -> None:
    """Lend this machine to models that run on another."""


@worker.command("llama-cpp-rpc")
@click.option(
    "--address",
    default="127.0.0.1:50052",
    metavar="HOST:PORT",
    show_default=True,
    help="Where to listen. There is no password: choose an address that only your own machines reach.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of the CPU (0: all cores).")
@click.option("--device", "devices", multiple=True, metavar="NAME", help="A device to lend; default: GPUs, else CPU.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that keeps weights, which are then not sent again when a model is loaded again.",
)
def llama_cpp_rpc(address: str, threads: int, devices: tuple[str, ...], cache: Path | None) -> None:
    """Serve this machine's devices to llama-cpp models elsewhere, which name it in the option rpc_servers."""
    from localai_flask.backends.llama_cpp.rpc.server import run
    from localai_flask.errors import ConfigError

    try:
        run(address, threads=threads, devices=devices, cache=cache)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
