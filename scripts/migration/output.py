"""How the script speaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shared.formatting import counted

from .findings import Finding
from .findings.sources import OUR_FOLDER
from .state import Change


class Output:
    """Speaks to people line by line, or to machines in one JSON document at the end."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self.data: dict[str, Any] = {}

    def say(self, *lines: str) -> None:
        """Print lines for people."""
        if not self._is_json and lines:
            print(*lines, sep="\n", flush=True)

    def finish(self, status: int) -> int:
        """Print the document for machines; return the exit status."""
        if self._is_json:
            print(json.dumps({**self.data, "exit_status": status}, indent=2, default=str))
        return status

    def show_changes(self, changes: Sequence[Change], *, as_diff: bool) -> None:
        """Show what will be changed; new copies of our files by their names alone."""
        self.data["changes"] = [
            {"path": str(change.path), "action": change.action, "diff": change.diff()}
            for change in changes
        ]
        named = [change for change in changes if not as_diff or change.is_new_copy]
        self._name(named)
        self.say(*(change.diff().rstrip("\n") for change in changes if change not in named))

    def _name(self, changes: Sequence[Change]) -> None:
        ours = [change for change in changes if OUR_FOLDER in change.path.parts]
        for change in changes:
            if change not in ours:
                self.say(f"{change.action} {change.path}")
        for action in dict.fromkeys(change.action for change in ours):
            of_it = [change for change in ours if change.action == action]
            folder = of_it[0].path.as_posix().partition(f"{OUR_FOLDER}/")[0]
            self.say(f"{action} {folder}{OUR_FOLDER}/, {counted(len(of_it), 'file')}")

    def show_findings(self, name: str, findings: Sequence[Finding]) -> None:
        """Show what was found."""
        self.data[name] = [asdict(finding) for finding in findings]
        for finding in findings:
            doubt = "" if finding.certain else " (to be decided by you)"
            self.say(f"{finding.path}:{finding.line}: {finding.what}{doubt}")
            self.say(f"    instead: {finding.replacement}")


def indented(text: str, spaces: int) -> str:
    """Indent all lines but the first."""
    return text.replace("\n", "\n" + " " * spaces)
