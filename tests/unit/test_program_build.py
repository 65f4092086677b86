"""Where the sources of llama-server are found, in folders and archives of every shape that they come in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from localai_flask.engine_build.compilers import BuildError
from localai_flask.engine_build.program import find_tree, unpack


def tree(folder: Path, server: str = "tools/server") -> Path:
    (folder / server).mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("")
    return folder


@pytest.mark.parametrize("server", ["tools/server", "examples/server"])
def test_a_tree_of_llama_cpp_is_found_in_an_archive(tmp_path: Path, server: str) -> None:
    tree(tmp_path / "made" / "ik_llama.cpp-main", server)
    archive = shutil.make_archive(str(tmp_path / "source"), "gztar", tmp_path / "made")
    found = find_tree(unpack(archive, tmp_path / "unpacked"))
    assert found == (tmp_path / "unpacked" / "tree" / "ik_llama.cpp-main").resolve()


def test_the_tree_inside_of_llama_cpp_python_is_meant(tmp_path: Path) -> None:
    outer = tree(tmp_path / "llama_cpp_python-1", "examples/server")
    inner = tree(outer / "vendor" / "llama.cpp")
    assert find_tree(tmp_path) == find_tree(outer) == inner.resolve()


def test_what_has_no_sources_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.tar.gz").write_text("no archive")
    with pytest.raises(BuildError, match=r"has no sources of llama.cpp's server"):
        find_tree(tmp_path)
    with pytest.raises(BuildError, match="cannot be unpacked"):
        unpack(str(tmp_path / "file.tar.gz"), tmp_path / "unpacked")
    with pytest.raises(BuildError, match="There is no /nowhere"):
        unpack("/nowhere", tmp_path)
