"""A model worker needs nothing but the standard library, msgspec and packaging where its engine is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.backends.environments.interpreter import link_package, module_command, module_environment


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with links to what a worker needs, in place of an environment's packages."""
    links = link_package(tmp_path)
    for name in ("msgspec", "packaging"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.submodule_search_locations
        (links / name).symlink_to(next(iter(spec.submodule_search_locations)))
    return links


@pytest.mark.parametrize(
    "module", ["localai_flask.pool.worker.worker", "localai_flask.pool.worker.trial", "localai_flask.backends.echo"]
)
def test_the_worker_is_imported_where_nothing_else_is_installed(module: str, bare: Path) -> None:
    code = f"import {module}, sys; assert 'msgspec' in sys.modules"
    command = [sys.executable, "-S", "-P", "-c", code]
    subprocess.run(command, env={"PYTHONPATH": str(bare)}, check=True, timeout=60)


def test_the_folder_with_this_package_has_nothing_else(tmp_path: Path) -> None:
    links = link_package(tmp_path)
    assert [entry.name for entry in links.iterdir()] == ["localai_flask"] and link_package(tmp_path) == links
    python = Path("/srv/engine/bin/python")
    said = module_environment(python, links, {"PYTHONPATH": "/theirs", "VIRTUAL_ENV": "/theirs", "PATH": "/bin"})
    assert said == {"PYTHONPATH": str(links), "PATH": f"/srv/engine/bin{os.pathsep}/bin"}
    assert module_command(python, "a.b", "3") == [str(python), "-P", "-m", "a.b", "3"]
