"""The one error that music input raises."""

from musicvae_jax.config import UserError


class MusicError(UserError):
    """A piece of music that cannot be read or does not fit a codec.

    Attributes:
        source: the file (and tune) it came from, or ``"score"`` for one made in memory.
        place: where in it, e.g. ``"measure 12"`` or ``"header"``.
        reason: a short fixed word such as ``"polyphonic"`` or ``"unreadable"``, under which refusals are
            counted.
        detail: what was found and what is allowed.
    """

    def __init__(self, source: str, place: str, reason: str, detail: str):
        super().__init__(source, place, reason, detail)
        self.source, self.place, self.reason, self.detail = source, place, reason, detail

    def __str__(self) -> str:
        return f"{self.source}, {self.place}: {self.reason}: {self.detail}"
