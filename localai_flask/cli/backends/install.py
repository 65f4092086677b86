"""`localai-flask backends install`: give engines environments of their own."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from localai_flask.cli.backends.folder import backends_settings, folder_option
from localai_flask.cli.exit_codes import CommandFailed
from localai_flask.cli.output import json_option, print_json, size
from localai_flask.cli.progress import shown_download
from localai_flask.gallery.progress import Progress


class Installed(msgspec.Struct):
    """An environment that was installed."""

    name: str
    version: str
    platform: str
    size: int
    path: str


@click.command(short_help="Install engines, each in its own environment.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--cpu", "platform", flag_value="cpu", help="For the processor.")
@click.option("--cuda", "platform", flag_value="cuda", help="For NVIDIA cards.")
@click.option(
    "--extra-index-url",
    "extra_indexes",
    multiple=True,
    metavar="URL",
    help="Another package index to look at, as https://download.pytorch.org/whl/cpu for a torch without CUDA.",
)
@click.option(
    "--source",
    default="",
    metavar="SOURCE",
    help="For llama-server and its forks: a folder, an archive or an address with other sources than the usual ones.",
)
@json_option
@folder_option
def install(
    names: tuple[str, ...],
    platform: str | None,
    extra_indexes: tuple[str, ...],
    source: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Install engines, each in a virtual environment of its own, and have each generate with a tiny model.

    \b
    localai-flask backends install transformers
    localai-flask backends install vllm --cpu
    localai-flask backends install transformers --cpu --extra-index-url https://download.pytorch.org/whl/cpu
    localai-flask backends install ik-llama-cpp --source ~/src/ik_llama.cpp

    Without --cpu and --cuda it is for CUDA if there is an NVIDIA card. uv is used if it is there, else pip; both ask
    the indexes that pip is set to. What was installed before counts until the new one is whole.
    """
    from localai_flask.backends.environments.folder import Environments
    from localai_flask.backends.environments.installation import install as install_environment
    from localai_flask.backends.environments.recipes import choose_recipe
    from localai_flask.errors import ApiError

    settings = backends_settings(given)
    environments = Environments(settings.backends_folder)
    installed = []
    try:
        wanted = [
            choose_recipe(name, platform or "", source=source, extra_indexes=extra_indexes, offline=settings.offline)
            for name in names
        ]
        for each in wanted:
            with shown_download(each.name, at_once=True, verb="Installing", describe=_describe) as report:
                found = install_environment(each, environments, report=report)
            record = found.record
            installed.append(Installed(each.name, record.version, record.platform, record.size, str(found.path)))
            if not as_json:
                click.echo(_sentence(installed[-1]))
    except ApiError as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(installed)


def _sentence(done: Installed) -> str:
    return f"{done.name} is installed: {done.version} for {done.platform}, {size(done.size)}, {done.path}."


def _describe(progress: Progress) -> str:
    """Return what an installation is at, with how much it has written."""
    return f"{progress.file} ({progress})" if progress.done else progress.file
