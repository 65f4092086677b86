"""Keys: what their file may say, how it is edited, and that a change counts while one that cannot be used does not."""

import logging
import os
import random
import time
from pathlib import Path

import pytest

from localai_flask.atomic_file import replace_text
from localai_flask.errors import ConfigError
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.key import Key
from localai_flask.keys.keyring import Keyring, digest, new_secret
from localai_flask.keys.watched import SETTLED_S, WatchedKeys, are_required
from localai_flask.settings import Settings

ALICE, BOB = digest("alice's"), digest("bob's")
TWO = f"""\
# Who may call.
alice:  # the first
  sha256: {ALICE}
  models: [qwen*, small]
  admin: true
  max_requests: 4
  priority: -1

# The second:
bob:
  sha256: "{BOB}"
"""


def wrote(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def settled(file: Path) -> Path:
    """Make a file look as if it was written a moment ago."""
    changed = time.time() - SETTLED_S - random.random()
    os.utime(file, (changed, changed))
    return file


def watched(file: Path, spare: Path | None = None, *, api_key: tuple[str, ...] = ()) -> WatchedKeys:
    return WatchedKeys(Settings(api_keys_file=str(file), api_key=api_key), spare)


def test_secrets_are_long_and_differ() -> None:
    assert new_secret() != new_secret() and len(new_secret()) == len("sk-") + 43


def test_keys_of_the_environment_may_do_everything() -> None:
    keys = Keyring.of_texts(["secret", "s\u00e9same"])
    assert keys.find("secret") == Key("#1", admin=True, keeper=digest("secret"))
    assert keys.find("s\u00e9same") == Key("#2", admin=True, keeper=digest("s\u00e9same"))
    assert keys.find("Secret") is keys.find("") is keys.find(digest("secret")) is None


def test_a_file(tmp_path: Path) -> None:
    keys = watched(wrote(tmp_path / "keys.yaml", TWO))
    assert keys.find("alice's") == Key("alice", ("qwen*", "small"), True, 4, -1, "key:alice")
    assert keys.find("bob's") == Key("bob", ("*",), False, 0, 0, "key:bob")
    assert keys.find(ALICE) is None


def test_localais_list_of_keys_in_the_folder_of_configuration(tmp_path: Path) -> None:
    settings = Settings(config_dir=str(tmp_path))
    assert not are_required(settings)
    file = wrote(tmp_path / "api_keys.json", '["first", "second"]')
    assert are_required(settings)
    keys = WatchedKeys(settings)
    assert [key.admin for secret in ("first", "second") if (key := keys.find(secret))] == [True, True]
    assert keys.find("third") is None
    wrote(settled(file), '["third"]')
    time.sleep(SETTLED_S)
    assert keys.find("third") is not None
    assert keys.find("first") is None
    for text in ('{"first": 1}', '["first", 2]', '[""]', "[first]"):
        with pytest.raises(ConfigError, match="is no list of keys"):
            key_file.read(wrote(file, text))


def test_models() -> None:
    key = Key("a", ("qwen*", "small"))
    assert key.may_use("qwen-7b") and key.may_use("small")
    assert not key.may_use("smaller") and not key.may_use("Qwen") and not Key("b", ()).may_use("small")


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("alice: secret\n", 1, "expected `object`"),
        ("alice:\n  sha256: abc\n", 2, "`sha256`"),
        (f"alice:\n  sha256: {ALICE}\n  modles: [a]\n", 1, "`modles`"),
        (f"alice:\n  sha256: {ALICE}\n  models: a\n", 3, "`models`"),
        (f"alice:\n  sha256: {ALICE}\n  admin: 1\n", 3, "`admin`"),
        (f"alice:\n  sha256: {ALICE}\n  max_requests: -1\n", 3, "`max_requests`"),
        (f"alice:\n  sha256: {ALICE}\nbob:\n  sha256: {ALICE}\n", 4, "the same as 'alice'"),
        (f"a/b:\n  sha256: {ALICE}\n", 1, "'a/b' is no name"),
        (f"'#1':\n  sha256: {ALICE}\n", 1, "'#1' is no name"),
        (f"alice:\n  sha256: {ALICE}\nalice:\n  sha256: {BOB}\n", 3, "twice"),
        ("- one\n- two\n", 0, "must hold keys"),
        ("\n", 0, "is empty"),
        ("alice: [\n", 2, "correct the YAML"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, line: int, part: str) -> None:
    file = wrote(tmp_path / "keys.yaml", text)
    with pytest.raises(ConfigError) as caught:
        key_file.read(file)
    assert part in str(caught.value) and str(file) in str(caught.value)
    assert caught.value.line == line and (not line or f"line {line}" in str(caught.value))


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    keys = watched(wrote(tmp_path / "keys.yaml", "# none yet\n\n"))
    assert keys.required and keys.find("") is keys.find("alice's") is None


def test_a_change_counts_at_once_and_a_fault_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = wrote(tmp_path / "keys.yaml", TWO)
    keys = watched(file, api_key=("root",))
    assert keys.find("alice's") and keys.find("root")
    replace_text(file, key_file.without_entry(TWO, "alice"))
    assert keys.find("alice's") is None and keys.find("bob's") and keys.find("root")
    for fault in ("bob: [\n", "bob: {}\n", ""):
        settled(wrote(file, fault))
        with caplog.at_level(logging.ERROR):
            assert keys.find("bob's") and keys.find("root")
            assert keys.find("bob's")
        assert [record.levelname for record in caplog.records] == ["ERROR"], "said once, not at each request"
        assert str(file) in caplog.text and "keys stay as they were" in caplog.text
        caplog.clear()
    file.unlink()
    assert keys.find("bob's")
    wrote(file, TWO)
    assert keys.find("alice's")


def test_a_file_that_is_written_in_place_is_read_when_that_is_done(tmp_path: Path) -> None:
    file = wrote(tmp_path / "keys.yaml", TWO)
    keys = watched(file)
    assert keys.find("bob's")
    wrote(file, TWO[: TWO.index("# The second")])
    assert keys.find("bob's"), "it may be half of what comes"
    settled(file)
    assert keys.find("bob's") is None and keys.find("alice's")
    os.utime(wrote(file, TWO), (time.time() + 3600,) * 2)  # by a clock that is ahead
    assert keys.find("bob's")


def test_a_process_that_starts_beside_a_broken_file_has_the_keys_before(tmp_path: Path) -> None:
    file, spare = wrote(tmp_path / "keys.yaml", TWO), tmp_path / "spare.yaml"
    assert watched(file, spare).find("alice's")
    wrote(file, "alice: [\n")
    assert watched(file, spare).find("alice's") == Key("alice", ("qwen*", "small"), True, 4, -1, "key:alice")
    assert watched(file).find("alice's") is None
    assert spare.stat().st_mode & 0o77 == 0


def test_editing_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    added = key_file.with_entry(TWO, "carol", Entry(digest("carol's"), models=("a b", "*")))
    assert added.startswith(TWO)
    assert key_file.without_entry(added, "carol") == TWO
    assert key_file.without_entry(TWO, "alice").startswith("# Who may call.\n")
    file = wrote(tmp_path / "keys.yaml", key_file.without_entry(added, "bob"))
    assert list(key_file.read(file)) == ["alice", "carol"]
    assert key_file.read(file)["carol"].models == ("a b", "*")
    last = key_file.without_entry(key_file.with_entry("", "carol", Entry(ALICE)), "carol")
    assert key_file.read(wrote(file, last)) == {} and last == key_file.HEADER


def test_a_file_keeps_its_mode_and_a_new_one_is_private(tmp_path: Path) -> None:
    file = tmp_path / "below" / "keys.yaml"
    replace_text(file, TWO)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    replace_text(link, "# none\n")
    assert link.is_symlink() and file.read_text() == "# none\n" and file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]
