"""What the migration has done to a repository, and how that is undone.

It is kept in a folder of the repository that git does not show: each file as it was before and as
it was written, under the names of their digests, and an index. The index knows of a change before
the change is made, so that whatever is interrupted can be undone.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.commands import CannotRunError

FOLDER = ".mqtt-migration"


@dataclass(frozen=True)
class Change:
    """A file, as it is (None: it is not there) and as it is to be."""

    path: Path
    old: bytes | None
    new: bytes | None
    copy_of: Path | None = None

    @property
    def action(self) -> str:
        """The change in a word."""
        if self.old is None:
            return "create"
        return "remove" if self.new is None else "edit"

    @property
    def is_new_copy(self) -> bool:
        """Whether a file of ours comes in as it is: its name says it all."""
        return bool(self.copy_of) and self.old is None and self.new is not None

    def diff(self) -> str:
        """Return the change as a diff, of a new copy in a line."""
        if self.is_new_copy:
            lines = len((self.new or b"").splitlines())
            return f"--- /dev/null\n+++ b/{self.path}\n# {lines} lines, a copy of {self.copy_of}\n"
        return "".join(self._diff_lines())

    def _diff_lines(self) -> Iterator[str]:
        sides = {f"a/{self.path}": self.old, f"b/{self.path}": self.new}
        from_file, to_file = (
            "/dev/null" if content is None else name for name, content in sides.items()
        )
        old, new = (_lines_of(content or b"") for content in sides.values())
        for line in difflib.unified_diff(old, new, from_file, to_file):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines_of(content: bytes) -> list[str]:
    # Not str.splitlines(), which knows more line ends than files have.
    return io.StringIO(content.decode(errors="replace")).readlines()


@dataclass(frozen=True)
class Step:
    """One change of a file, by digests."""

    before: str | None
    after: str | None


@dataclass
class Record:
    """All our changes of a file, and the mode that it had before."""

    mode: int | None
    steps: list[Step] = field(default_factory=list)

    @property
    def untouched(self) -> list[str | None]:
        """The contents that only we have made, the original first.

        They end where the next step began with another content: an edit of the user's.
        """
        contents: list[str | None] = [self.steps[0].before]
        for step in self.steps:
            if step.before != contents[-1]:
                break
            contents.append(step.after)
        return contents


class State:
    """The folder, in memory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folder = root / FOLDER
        self.tests: Path | None = None
        self.proof: dict[str, Any] | None = None
        self.evidence: dict[str, Any] | None = None
        self.renames: dict[str, str] = {}
        self.snapshot: dict[Path, str] = {}
        """The user's own tests as they were at the first change, by digests."""
        self.records: dict[Path, Record] = {}
        if self._index.exists():
            self._load()

    @property
    def _index(self) -> Path:
        return self.folder / "state.json"

    def _load(self) -> None:
        try:
            index = json.loads(self._index.read_bytes())
            self.tests = Path(index["tests"]) if index["tests"] else None
            self.proof, self.evidence = index["proof"], index["evidence"]
            self.renames = index.get("renames", {})
            self.snapshot = {Path(p): digest for p, digest in index.get("snapshot", {}).items()}
            for path, record in index["files"].items():
                steps = [Step(**step) for step in record["steps"]]
                self.records[Path(path)] = Record(record["mode"], steps)
        except (ValueError, KeyError, TypeError) as error:
            raise CannotRunError(
                f"{self._index} is damaged ({error!r}); the files as they were are beside it"
            ) from None

    def save(self) -> None:
        """Write the index."""
        files = {path.as_posix(): asdict(record) for path, record in self.records.items()}
        index = {
            "tests": self.tests and self.tests.as_posix(),
            "proof": self.proof,
            "evidence": self.evidence,
            "renames": self.renames,
            "snapshot": {path.as_posix(): digest for path, digest in self.snapshot.items()},
            "files": files,
        }
        self.folder.mkdir(exist_ok=True)
        # So that git shows nothing of the folder, this file included.
        (self.folder / ".gitignore").write_text("*\n")
        write_atomically(self._index, json.dumps(index, indent=2).encode() + b"\n")

    def is_as_we_left_it(self, path: Path, content: bytes) -> bool:
        """Return whether we have changed a file, and it is as we left it."""
        record = self.records.get(path)
        return record is not None and record.steps[-1].after == _digest(content)

    # --- Forward --------------------------------------------------------------------------------

    def make(self, changes: Sequence[Change], tests: Iterable[Path] = ()) -> None:
        """Make all changes, or none; keep the user's own *tests* as they are before the first.

        Raises:
            CannotRunError: one cannot be made.
        """
        index = self._index.read_bytes() if self._index.exists() else None
        made: list[Change] = []
        try:
            self.take_snapshot(tests)
            self._remember(changes)
            for change in changes:
                made.append(change)
                self._write(change)
        except OSError as error:
            for change in reversed(made):
                self._write(Change(change.path, change.new, change.old))
            if index is not None:
                write_atomically(self._index, index)
            elif self.folder.is_dir():
                shutil.rmtree(self.folder)
            raise CannotRunError(
                f"{error.filename or self._root} cannot be written: {error.strerror}; "
                "nothing was changed"
            ) from None

    def take_snapshot(self, files: Iterable[Path]) -> None:
        """Keep the user's tests as they are, unless that was done: what comes is an edit."""
        if self.snapshot or self.records:
            return
        self.save()
        contents = {path: self._content(path) for path in files}
        self.snapshot = {p: self._keep_content(c) for p, c in contents.items() if c is not None}
        self.save()

    def _remember(self, changes: Sequence[Change]) -> None:
        self.save()
        for change in changes:
            step = Step(self._keep(change.old), self._keep(change.new))
            record = self.records.setdefault(change.path, Record(self._mode(change.path)))
            record.steps.append(step)
        self.save()

    def _mode(self, path: Path) -> int | None:
        file = self._root / path
        return stat.S_IMODE(file.stat().st_mode) if file.exists() else None

    def _write(self, change: Change) -> None:
        target = self._root / change.path
        if change.new is None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                target.unlink()
            self._remove_if_empty(target.parent)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = self._mode(change.path)
        if mode is None and change.path in self.records:
            mode = self.records[change.path].mode
        write_atomically(target, change.new, mode)

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove a folder that was made for our files; compiled ones in it are of no value.

        A folder of the user's that was empty before is one that git does not know either.
        """
        while folder != self._root and folder.is_dir() and not any(folder.glob("*.py")):
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            try:
                folder.rmdir()
            except OSError:  # it has something else
                return
            folder = folder.parent

    def _keep(self, content: bytes | None) -> str | None:
        return None if content is None else self._keep_content(content)

    def _keep_content(self, content: bytes) -> str:
        digest = _digest(content)
        file = self.folder / digest
        if not file.exists():
            write_atomically(file, content)
        return digest

    # --- Back -----------------------------------------------------------------------------------

    def edits(self) -> list[Change]:
        """Return what the user has changed since in files of ours, and would lose."""
        return [edit for path, record in self.records.items() for edit in self._edits(path, record)]

    def _edits(self, path: Path, record: Record) -> Iterator[Change]:
        content = self._content(path)
        if self._digest_of(content) in record.untouched:
            return
        for ours, next_one in zip(record.steps, record.steps[1:]):
            if ours.after != next_one.before:
                yield Change(path, self._kept(ours.after), self._kept(next_one.before))
        if self._digest_of(content) != record.steps[-1].after:
            yield Change(path, self._kept(record.steps[-1].after), content)

    def edits_of_tests(self) -> list[Change]:
        """Return what the user has changed since in tests of its own."""
        edits = (
            Change(path, self._kept(digest), self._content(path))
            for path, digest in self.snapshot.items()
            if path not in self.records
        )
        return [edit for edit in edits if edit.old != edit.new]

    def as_it_was(self) -> list[Change]:
        """Return what gives the suite as it was, the user's own tests included."""
        own = [Change(edit.path, edit.new, edit.old) for edit in self.edits_of_tests()]
        return [*self.restoration(), *own]

    def set_aside(self, edits: Sequence[Change]) -> Path:
        """Keep edits as a patch in the folder; return its path, relative to the repository."""
        taken = len(list(self.folder.glob("edits-*.patch")))
        path = Path(FOLDER) / f"edits-{taken + 1}.patch"
        write_atomically(self._root / path, "".join(e.diff() for e in edits).encode())
        return path

    def restoration(self) -> list[Change]:
        """Return what gives every file as it was before."""
        changes = []
        for path, record in self.records.items():
            change = Change(path, self._content(path), self._kept(record.steps[0].before))
            if change.old != change.new:
                changes.append(change)
        return changes

    def restore(self, edits: Sequence[Change] = ()) -> None:
        """Put every file back as it was before, *edits* of tests undone, and forget everything.

        Raises:
            CannotRunError: a file cannot be written; it can be tried again.
        """
        try:
            for change in (*self.restoration(), *(Change(e.path, e.new, e.old) for e in edits)):
                self._write(change)
            for path, record in self.records.items():
                if record.mode is not None:
                    (self._root / path).chmod(record.mode)
            self._forget()
        except OSError as error:
            raise CannotRunError(f"{error.filename} cannot be restored: {error.strerror}") from None

    def _forget(self) -> None:
        """Remove the folder, but for the edits that were set aside."""
        patches = set(self.folder.glob("edits-*.patch"))
        if not patches and self.folder.exists():
            shutil.rmtree(self.folder)
            return
        for path in set(self.folder.glob("*")) - patches - {self.folder / ".gitignore"}:
            path.unlink()

    def _content(self, path: Path) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _digest_of(self, content: bytes | None) -> str | None:
        return None if content is None else _digest(content)

    def _kept(self, digest: str | None) -> bytes | None:
        if digest is None:
            return None
        content = self._content(Path(FOLDER) / digest)
        if content is None or _digest(content) != digest:
            raise CannotRunError(f"{self.folder / digest} is damaged: it cannot be restored")
        return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write a file so that at any time it has either its old content or all of its new."""
    target = path.resolve()  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
