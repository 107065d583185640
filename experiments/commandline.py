"""What the scripts share: errors that a user can mend are one line, not a traceback."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import tyro

from musicvae_jax.config import UserError, nearest

T = TypeVar("T")


def run(main: Callable[[], int | None]) -> None:
    """Calls main and exits: 2 with one line on standard error for what the user, or the machine's owner, can mend."""
    try:
        sys.exit(main())
    except (UserError, OSError) as error:  # an OSError names the file, and why it cannot be read or written
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_first_word(known: Iterable[str], kind: str) -> None:
    """Refuses an unknown name at the start of the command line; tyro would complain about all that follows it, too."""
    word = next(iter(sys.argv[1:]), "-")
    if not word.startswith("-") and word not in known:
        raise UserError(f"no {kind} {word!r}: {nearest(word, known)}")


def choose(kinds: dict[str, tuple[str, T]]) -> T:
    """The experiment that the command line names, its fields as the flags say.

    Args:
        kinds: name -> (description, default).
    """
    check_first_word(kinds, "config")
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.extras.overridable_config_cli(kinds)
    except SystemExit as stop:
        # What a config refuses is said in its own words; tyro draws it into a box, under a name nobody has typed.
        error = stop.__context__
        while error is not None and not isinstance(error, UserError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(box.getvalue())
        raise
