"""What the scripts share: errors that a user can mend are one line, not a traceback."""

import sys
from collections.abc import Callable

from musicvae_jax.config import UserError


def run(main: Callable[[], int | None]) -> None:
    """Calls main and exits: 2 with one line on standard error for what the user can mend."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
