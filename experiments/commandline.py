"""What the scripts share: the exit status, configs by name, arguments of the form LABEL=VALUE."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import tyro

from musicvae_jax.config import UserError, nearest

T = TypeVar("T")


def run(main: Callable[[], int | None]) -> None:
    """Calls main and exits with its status; with 2 and one line on standard error for a `UserError` or `OSError`."""
    try:
        sys.exit(main())
    except (UserError, OSError) as error:  # the text of an OSError names the file and the reason
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_first_word(known: Iterable[str], kind: str) -> None:
    """Refuses an unknown first word in one line; tyro would also complain about all arguments after it."""
    word = next(iter(sys.argv[1:]), "-")
    if not word.startswith("-") and word not in known:
        raise UserError(f"no {kind} {word!r}: {nearest(word, known)}")


def choose(kinds: dict[str, tuple[str, T]]) -> T:
    """The value that the command line names, its fields overridden by flags.

    Args:
        kinds: name -> (description, default value).
    """
    check_first_word(kinds, "config")
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.extras.overridable_config_cli(kinds)
    except SystemExit as stop:
        # tyro puts the error of a config into a box; raise the original error, so that `run` prints it as one line.
        error = stop.__context__
        while error is not None and not isinstance(error, UserError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(box.getvalue())
        raise


def split_labels(name: str, texts: Iterable[str], form: str) -> dict[str, str]:
    """Splits each LABEL=VALUE at the first equals sign: label -> value. Labels differ; neither part is empty.

    Args:
        name: of the argument, for error messages.
        texts: its values.
        form: what is allowed, for error messages, e.g. ``"LABEL=WORKDIR"``.
    """
    values: dict[str, str] = {}
    for text in texts:
        label, _, value = text.partition("=")
        if not (label and value.split()):
            raise UserError(f"{name} has {text!r}: allowed is {form}")
        if label in values:
            raise UserError(f"{name} has {label!r} twice: labels must differ")
        values[label] = value
    return values
