"""What is tried with a program: that it edits a file, and what its second question costs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.agents import models
from tests.agents.programs import Program
from tests.agents.recorder import Exchange, Recorder

TASK = "Replace helo by hello in hello.py."
BEYOND_THE_SCRIPT = "not possible with the echo backend"
"""What programs ask beside the task, such as a title in a JSON Schema, the scripted model may refuse."""
SOON = 0.1
"""The second question is to be answered within this part of the time that the first took."""


@dataclass
class Findings:
    """What was seen, and what of it should not be."""

    seen: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)


def edit(program: Program, places: Mapping[str, str], recorder: Recorder, seconds: float) -> Findings:
    """Have a program mend a file; it has to end well, with the file as wanted and the model's words shown."""
    file, findings = _lay_out(program, places), Findings()
    said = _run(program.ask, TASK, program, places, seconds, findings)
    findings.expect(file.read_text() == models.RIGHT, f"the file has {file.read_text()!r}")
    findings.expect(models.CLOSING in said or program.name == "aider", f"it did not show the answer: {said[-500:]!r}")
    _check(recorder, findings)
    return findings


def ask_twice(program: Program, places: Mapping[str, str], recorder: Recorder, seconds: float) -> Findings:
    """Ask two questions of one conversation, and compare how long the model was silent."""
    _lay_out(program, places)
    findings, firsts = Findings(), []
    for ask, question in ((program.ask, "say hello"), (program.ask_again, "and again")):
        before = len(recorder.exchanges)
        _run(ask, question, program, places, seconds, findings)
        longest = max(_answered(recorder.exchanges[before:]), key=lambda each: len(each.body), default=None)
        findings.expect(longest is not None, f"nothing was answered to {question!r}")
        firsts += [longest.first_s] if longest is not None and longest.first_s else []
    _check(recorder, findings)
    findings.seen.append("first words after " + ", then ".join(f"{first:.2f} s" for first in firsts))
    findings.expect(len(firsts) == 2 and firsts[1] <= SOON * firsts[0], "the second question took too long")
    return findings


def _answered(exchanges: list[Exchange]) -> list[Exchange]:
    return [each for each in exchanges if each.is_question and each.first_s is not None]


def _lay_out(program: Program, places: Mapping[str, str]) -> Path:
    """Make home and project, a repository with one file."""
    project = Path(places["project"])
    for folder in (project, Path(places["home"])):
        folder.mkdir(parents=True)
    for path, text in program.files.items():
        file = Path(_filled(path, places))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(text, places))
    (project / "hello.py").write_text(models.WRONG)
    by = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    for command in (("init", "-q"), ("add", "hello.py"), (*by, "commit", "-q", "-m", "Begin")):
        subprocess.run(("git", *command), cwd=project, check=True, capture_output=True)
    return project / "hello.py"


def _run(
    ask: tuple[str, ...],
    question: str,
    program: Program,
    places: Mapping[str, str],
    seconds: float,
    findings: Findings,
) -> str:
    """Ask a question and return what the program showed."""
    command = [_filled(part, {**places, "question": question}) for part in ask]
    own = {name: _filled(value, places) for name, value in program.environment.items()}
    environment = {"PATH": os.environ["PATH"], "HOME": places["home"], "TERM": "dumb", **own}
    try:
        done = subprocess.run(
            command,
            cwd=places["project"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as late:
        findings.faults.append(f"it did not end within {seconds:.0f} s: {str(late.stdout)[-500:]}")
        return ""
    findings.expect(done.returncode == 0, f"it ended with {done.returncode}: {done.stdout[-500:]}")
    return done.stdout


def _check(recorder: Recorder, findings: Findings) -> None:
    """Note how many questions there were, and which requests were refused."""
    asked = [each for each in recorder.exchanges if each.is_question]
    findings.seen.append(f"{len(asked)} questions")
    findings.seen += sorted({f"left out: {each.left_out}" for each in asked if each.left_out})
    for each in recorder.exchanges:
        if each.status >= 400 and each.method != "HEAD" and BEYOND_THE_SCRIPT not in each.text:
            findings.faults.append(f"{each.method} {each.path}: {each.status} {each.text[:300]}")


def _filled(text: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        text = text.replace("{" + name + "}", value)
    return text
