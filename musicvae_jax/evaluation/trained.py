"""A trained model in one call: encode music, decode latents, sample, reconstruct, interpolate."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.score import Score, join
from musicvae_jax.config import Config, UserError, check_seed
from musicvae_jax.config.dims import dim_name
from musicvae_jax.data.conditions import NO_CONDITIONS, Conditions
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.generation import cut, interpolate, resample, sample
from musicvae_jax.evaluation.pieces import Piece, to_score
from musicvae_jax.evaluation.traversal import traverse
from musicvae_jax.inference import encode, in_powers_of_two
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.rng import stream
from musicvae_jax.training.parallel import Parallel, make_local_parallel
from musicvae_jax.types import Array, Batch, Gaussian, Latents, Variables

# Windows that are measured together, whatever a model was trained with: enough to find pieces of equal metres.
EVALUATION_ROWS = 32
BAR_SECONDS = 5  # what takes longer shows a bar
_CHUNK = 128  # windows that are encoded or decoded at once
_GREEDY = SamplingConfig(temperature=0.0)


def on_all_devices(vae: "TrainedVAE") -> tuple["TrainedVAE", Parallel]:
    """The model with its variables on the devices of this process, and how batches of `EVALUATION_ROWS` are spread.

    This machine may have other devices than the training had. Each of several processes measures alone.
    """
    parallel = make_local_parallel(EVALUATION_ROWS)
    return dataclasses.replace(vae, variables=jax.device_put(vae.variables, parallel.replicated)), parallel


@dataclasses.dataclass(frozen=True)
class TrainedVAE:
    """A model with its parameters and its codec.

    Example:
        >>> vae = load_workdir("runs/demo")
        >>> z = vae.encode("notebooks/tune.abc")["global"].loc
        >>> scores = vae.sample(4, metre="6/8", measures=32, seed=1)
    """

    config: Config
    codec: Codec
    model: MusicVAE
    variables: Variables
    step: int
    metres: dict[str, int]  # metre -> training measures, such as {"4/4": 51204}
    conditions: Conditions = NO_CONDITIONS  # what the model may be told, and in which words
    prior: str = "own"  # the name of its prior, see `load_workdir`

    def score(self, piece: Piece, track: str = "auto") -> Score:
        """A score, or the first piece of a file, as the model takes it; see `pieces.to_score`."""
        return to_score(piece, self.codec, track)

    def windows(self, piece: Piece, starts: Sequence[int] | None = None) -> Batch:
        """Cuts a piece into windows, of which the last ones may be padded.

        Args:
            piece: a score, or a file of one.
            starts: the first measures of the windows, counted from 0; window after window if not given.

        Raises:
            MusicError: the file cannot be read, or the codec refuses the piece.
        """
        score = self.score(piece)
        self.codec.encode(score)  # raises what is wrong; a source would count it and go on
        source = WindowSource([score], self.codec, self.config.data.measures, hop=1)
        every = range(0, len(source), self.config.data.measures)
        return source.gather(np.array([*(every if starts is None else starts)]))

    def encode(self, music: Batch | Piece) -> dict[str, Gaussian]:
        """The posterior, coarse to fine: level -> Gaussian over float[batch, time, dim].

        A window that is shorter than `data.measures` lacks its last latents: they are N(0, 1) there.

        Args:
            music: windows, or a piece, which is cut into its windows. Rows that pad a batch on the host are left out.

        Raises:
            MusicError: the file cannot be read, or the codec refuses the piece.
            UserError: every level is off, so that the model is a language model.
        """
        if not self.config.levels.on:
            raise UserError("levels: all are off, and a language model encodes nothing; allowed is one level or more")
        batch = real_rows(music if isinstance(music, Batch) else self.windows(music))
        found = _in_chunks(
            "encode", lambda _, *rows: in_powers_of_two(partial(encode, self.model, self.variables), *rows), batch
        )
        return {level: found[level] for level in self.config.levels.on}

    def decode(
        self,
        latents: Latents,
        metre: np.ndarray,
        *,
        seed: int = 0,
        sampling: SamplingConfig = SamplingConfig(),
        known: np.ndarray | None = None,
        conditions: np.ndarray | None = None,
        guidance: float | None = None,
        window: int = 0,
    ) -> np.ndarray:
        """Decodes latents to tokens int32[batch, measure, slot, field].

        Args:
            latents: level -> float[batch, time, dim].
            metre: int32[batch, measure, 2]; (0, 0) in measures that a window lacks.
            seed: of the draws.
            sampling: how tokens are chosen.
            known: tokens of measures that are not drawn, see `sample_tokens`.
            conditions: float[batch, condition], as `conditions.encode` gives them; all are unknown if not given.
            guidance: see `sample_tokens`.
            window: number of the window in a chain: each has its own draws.

        Raises:
            UserError: a level is missing or its shape does not fit the metres, or the seed is out of range.
        """
        check_seed(seed)
        _check_latents(latents, metre, self.config)
        key = stream(jax.random.key(seed), "sampling", window)

        def draw(chunk: int, *rows: Any) -> Array:
            own = key if chunk == 0 else stream(key, "chunk", chunk)

            def one(latents: Latents, metre: np.ndarray, mask: np.ndarray, *more: Any) -> Array:
                given = dict(zip(("known", "conditions"), more, strict=True)) | {"guidance": guidance}
                return sample_tokens(self.model, self.variables, latents, metre, mask, own, sampling, **given)

            return in_powers_of_two(one, *rows)

        return np.asarray(_in_chunks("decode", draw, latents, metre, self.mask(metre), known, conditions))

    def mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that metres allow: int[..., measure, 2] to bool[..., measure, slot]."""
        return self.codec.slot_mask(metre)

    sample = sample
    resample = resample
    interpolate = interpolate

    def traverse(self, piece: Piece, dim: str, steps: int = 5, reach: float = 2.0, **options: Any) -> list[Score]:
        """The first window of a piece with one dim moved; see `traversal.traverse`."""
        return traverse(self, self.score(piece), dim, steps, reach, **options)

    def first_window(self, piece: Piece, start: int = 0, measures: int | None = None) -> Score:
        """The part of a piece that `resample` varies, as the codec keeps it.

        Raises:
            MusicError: the codec refuses the piece.
            UserError: it has no such measures.
        """
        score = self.score(piece)
        frame, windows = cut(self, score, start, measures)
        encoded = self.codec.encode(score)
        tokens = encoded.tokens[start : start + len(frame)].copy()
        tokens[0, 0] = windows.tokens[0, 0, 0]
        return self.like(score, self.codec.decode(tokens, frame))

    def reconstruct(self, piece: Piece, *, seed: int = 0, sampling: SamplingConfig = _GREEDY) -> Score:
        """Encodes a piece and decodes its posterior means, window by window.

        A note that crosses the border of two windows becomes two notes.
        """
        score = self.score(piece)
        batch = self.windows(score)
        tokens = self.reconstruct_tokens(batch, seed=seed, sampling=sampling)
        return self.like(score, join(self.scores(tokens, batch.metre)))

    def reconstruct_tokens(self, batch: Batch, *, seed: int = 0, sampling: SamplingConfig = _GREEDY) -> np.ndarray:
        """Encodes windows and decodes their posterior means: int32[window, measure, slot, field], no padding rows."""
        batch = real_rows(batch)
        latents = {level: gaussian.loc for level, gaussian in self.encode(batch).items()}
        return self.decode(latents, batch.metre, seed=seed, sampling=sampling)

    def scores(self, tokens: np.ndarray, metre: np.ndarray) -> list[Score]:
        """Turns tokens int32[batch, measure, slot, field] with their metres into one score per row."""
        real = metre[..., 0] > 0
        return [self.codec.decode(row[here], frame[here]) for row, frame, here in zip(tokens, metre, real, strict=True)]

    @staticmethod
    def like(score: Score, other: Score) -> Score:
        """Another score with the tempo, key and title of a piece."""
        return dataclasses.replace(
            other, tempo=score.tempo, fifths=score.fifths, mode=score.mode, title=score.title, source=score.source
        )

    @property
    def dim_names(self) -> tuple[str, ...]:
        """The names of all dims, level by level, such as ``"fine/rhythm[3]"``."""
        return tuple(name for level, own in self.config.levels.on.items() for name in own.dim_names(level))

    @property
    def layout(self) -> dict[str, slice]:
        """The named groups, such as ``"fine/rhythm"`` -> its dims in the latents of the level."""
        levels = self.config.levels.on.items()
        return {f"{level}/{group}": dims for level, own in levels for group, dims in own.layout.items()}

    def dim_name(self, level: str, dim: int) -> str:
        """The name of a dim of a level; see `config.dims.dim_name`."""
        return dim_name(self.config.levels, level, dim)


def real_rows(batch: Batch) -> Batch:
    """A batch without the rows that pad it; one that lies on devices stays as it is."""
    if not isinstance(batch.index, np.ndarray) or (batch.index >= 0).all():
        return batch
    return jax.tree.map(lambda leaf: leaf[batch.index >= 0], batch)


def _in_chunks(name: str, function: Callable[..., Any], *rows: Any) -> Any:
    """Calls a row-wise function of (number of the chunk, *rows) with `_CHUNK` rows at a time.

    A bar shows what takes over five seconds. Rows that lie on devices are passed as they are, all at once.
    """
    leaves = jax.tree.leaves(rows)
    if len(leaves[0]) <= _CHUNK or not any(isinstance(leaf, np.ndarray) for leaf in leaves):
        return function(0, *rows)
    firsts = range(0, len(leaves[0]), _CHUNK)
    bar = tqdm(firsts, desc=name, unit_scale=_CHUNK, unit="window", delay=BAR_SECONDS, dynamic_ncols=True)
    parts = [
        function(number, *jax.tree.map(lambda leaf: leaf[first : first + _CHUNK], rows))  # noqa: B023 -- called at once
        for number, first in enumerate(bar)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _check_latents(latents: Latents, metre: np.ndarray, config: Config) -> None:
    batch, measures = np.shape(metre)[:2]
    for name, level in config.levels.on.items():
        shape, wanted = np.shape(latents.get(name, ())), (batch, level.num_latents(measures), level.dim)
        if shape != wanted:
            found = f"of shape {shape}" if name in latents else f"missing: given are {', '.join(latents) or 'none'}"
            raise UserError(f"latents of {name!r} are {found}; allowed is [batch, time, dim] = {wanted}")
