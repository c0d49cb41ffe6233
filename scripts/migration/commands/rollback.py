"""Takes everything back, and sets aside what the user has done since."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from shared.commands import CannotRunError

from ..output import Output
from ..repository import Repository
from ..state import Change, State
from . import DONE, LEFT_TO_DO


def rollback(
    repository: Repository, state: State, options: argparse.Namespace, output: Output
) -> int:
    """Put every file back as it was, unless that would lose what the user has done since."""
    edits = state.edits()
    tests = state.edits_of_tests()
    output.data["edits"] = [{"path": str(e.path), "diff": e.diff()} for e in edits]
    if edits and not options.keep_edits:
        output.say("These edits were made since, and would be lost:", *(e.diff() for e in edits))
        raise CannotRunError(
            f"{_files_of(edits)} was edited since; rollback --keep-edits sets the edits aside as a "
            "patch, and goes on"
        )
    changes = state.as_it_was() if options.keep_edits else state.restoration()
    output.show_changes(changes, as_diff=options.dry_run)
    if options.dry_run:
        return LEFT_TO_DO if changes else DONE
    aside = [*edits, *tests] if options.keep_edits else []
    patch = state.set_aside(aside) if aside else None
    state.restore(tests if options.keep_edits else ())
    output.data["patch"] = patch and str(patch)
    output.say(f"{repository.root} is as it was." if changes else "There is nothing to take back.")
    if patch:
        output.say(f"Your edits are in {patch}. After another apply: git apply {patch}")
    elif tests:
        output.say(f"What you have edited since in {_files_of(tests)} stays as it is.")
    return DONE


def _files_of(edits: Sequence[Change]) -> str:
    return ", ".join(sorted({str(edit.path) for edit in edits}))
