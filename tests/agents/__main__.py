"""`python -m tests.agents`: installs the programs, has each edit one file, and asks some of them twice; prints a table.

Needs npm and package registries, so it is no part of the test suite: that has the requests which they sent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from tests.agents import models
from tests.agents.installation import install, version
from tests.agents.programs import MODEL, PROGRAMS, Program
from tests.agents.recorder import Recorder
from tests.agents.trial import Findings, ask_twice, edit
from tests.support.server import Server


def main() -> int:
    given = _arguments().parse_args()
    chosen = [each for each in PROGRAMS if any(fnmatch(each.name, part) for part in given.only.split(","))]
    faults = 0
    for program in chosen:
        install(program, given.programs)
        for name in ("edit", "twice"):
            if name in given.trials.split(",") and (name == "edit" or program.ask_again):
                findings = _try(program, name, given)
                faults += len(findings.faults)
                print(_line(program, name, given, findings), flush=True)
    return min(faults, 1)


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="*", help="names of programs, separated by commas; * stands for anything")
    arguments.add_argument("--trials", default="edit,twice", help="edit, with a scripted model; twice, with the toy")
    arguments.add_argument("--programs", type=Path, default=Path(".agents"), help="where they are installed")
    arguments.add_argument("--record", type=Path, help="a folder for what they send to edit, shortened")
    arguments.add_argument("--seconds", type=float, default=600.0, help="how long one question may take")
    return arguments


def _try(program: Program, name: str, given: argparse.Namespace) -> Findings:
    with tempfile.TemporaryDirectory(prefix="agents-") as scratch:
        folder = Path(scratch)
        project, models_path = folder / "project", folder / "models"
        models_path.mkdir()
        (models_path / models.TOY.name).symlink_to(models.TOY)
        yaml = models.scripted(project / "hello.py") if name == "edit" else models.toy()
        (models_path / f"{MODEL}.yaml").write_text(yaml)
        with Server(models_path, folder, LOCALAI_LOAD_TO_MEMORY=MODEL) as server, Recorder(server.url) as recorder:
            places = {"url": recorder.url, "home": f"{folder}/home", "project": str(project)}
            places["folder"] = str((given.programs / program.name).resolve())
            findings = (edit if name == "edit" else ask_twice)(program, places, recorder, given.seconds)
        if given.record and name == "edit":
            recorder.save(given.record / f"{program.name}.json", hidden=[str(folder)])
    return findings


def _line(program: Program, name: str, given: argparse.Namespace, findings: Findings) -> str:
    head = f"{program.name} {version(program, given.programs)} {name}: "
    return head + "; ".join([*findings.seen, *(f"FAULT: {fault}" for fault in findings.faults)])


sys.exit(main())
