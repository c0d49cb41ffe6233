"""Replaces our files in a repository by those of this version, and shows what changed."""

from __future__ import annotations

import argparse

from shared.commands import CannotRunError

from ..copies import OUR_VERSION, modules_in, updates, version_in
from ..output import Output
from ..repository import Repository
from ..state import State
from . import DONE, LEFT_TO_DO


def update(
    repository: Repository, state: State, options: argparse.Namespace, output: Output
) -> int:
    """Replace the modules by those of this version."""
    if not modules_in(repository):
        raise CannotRunError(f"{repository.root / repository.tests} has none of our modules")
    before = version_in(repository)
    changes = updates(repository)
    edits = [e for e in state.edits() if e.path in {change.path for change in changes}]
    if edits and not options.keep_edits:
        output.say("These edits would be lost:", *(edit.diff() for edit in edits))
        files = ", ".join(sorted({str(edit.path) for edit in edits}))
        raise CannotRunError(
            f"{files} was edited since; update --keep-edits sets the edits aside as a patch, and "
            "goes on"
        )
    output.data.update(before=before, after=OUR_VERSION)
    output.show_changes(changes, as_diff=options.dry_run)
    if not changes:
        output.say(f"The modules are those of version {OUR_VERSION} already.")
        return DONE
    output.say(f"From version {before} to {OUR_VERSION}; CHANGELOG.md says what that brings.")
    if options.dry_run:
        return LEFT_TO_DO
    patch = state.set_aside(edits) if edits else None
    output.data["patch"] = patch and str(patch)
    state.tests = repository.tests
    state.make(changes)
    if patch:
        output.say(f"Your edits are in {patch}.")
    output.say("Next: verify. rollback takes everything back.")
    return DONE
