"""A trained model in one call: encode music, decode latents, sample, reconstruct, interpolate."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.score import Metre, Score, join
from musicvae_jax.config import Config, UserError, check_seed
from musicvae_jax.config.checks import check
from musicvae_jax.data.conditions import NO_CONDITIONS, Conditions
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.traversal import traverse
from musicvae_jax.inference import encode, in_powers_of_two, sample_prior, slerp
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.spans import present_latents
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.parallel import Parallel, check_platform, everywhere, make_local_parallel
from musicvae_jax.training.state import evaluation_variables, make_model, state_shapes
from musicvae_jax.training.workdir import read_conditions, read_config, read_metres
from musicvae_jax.types import Array, Batch, Gaussian, Latents, Variables

# Windows that are measured together, whatever a model was trained with: enough to find pieces of equal metres.
EVALUATION_ROWS = 32
_GREEDY = SamplingConfig(temperature=0.0)


def load_workdir(workdir: str | Path, checkpoint: str = "best") -> "TrainedVAE":
    """The model that a run trained.

    Args:
        workdir: the folder of the run.
        checkpoint: ``"best"`` by the validation objective, or ``"latest"``.

    Raises:
        WorkdirError: the folder holds no run, no checkpoint yet, or a checkpoint of another model.
        ConfigError: the run is float64, and JAX would compute in float32.
    """
    config = read_config(workdir)
    check_platform(config)
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    shapes = state_shapes(config, model)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere()), shapes)
    with contextlib.closing(Checkpoints(Path(workdir))) as checkpoints:
        state, _, _ = checkpoints.restore(like, checkpoint)
    metres = read_metres(workdir)
    conditions = read_conditions(workdir)
    return TrainedVAE(config, codec, model, evaluation_variables(state), int(state.step), metres, conditions)


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
        >>> tune = read_score("notebooks/tune.abc")[0]
        >>> z = vae.encode(vae.windows(tune))["global"].loc
        >>> scores = vae.sample(4, metre=Metre(6, 8), seed=1)
    """

    config: Config
    codec: Codec
    model: MusicVAE
    variables: Variables
    step: int
    metres: dict[str, int]  # metre -> training measures, such as {"4/4": 51204}
    conditions: Conditions = NO_CONDITIONS  # what the model may be told, and in which words

    def windows(self, score: Score) -> Batch:
        """Cuts a piece into consecutive windows, of which the last one is padded.

        Raises:
            MusicError: the codec refuses the piece.
        """
        self.codec.encode(score)  # raises what is wrong; a source would count it and go on
        source = WindowSource([score], self.codec, self.config.data.measures, hop=self.config.data.measures)
        return make_eval_batches(source, len(source))[0]

    def encode(self, batch: Batch) -> dict[str, Gaussian]:
        """The posterior: level -> Gaussian over float[batch, time, dim]; N(0, 1) where a window has no latent.

        Raises:
            UserError: every level is off, so that the model is a language model.
        """
        if not self.config.levels.on:
            raise UserError("levels: all are off, and a language model encodes nothing; allowed is one level or more")
        return in_powers_of_two(partial(encode, self.model, self.variables), batch)

    def decode(
        self, latents: Latents, metre: np.ndarray, *, seed: int = 0, sampling: SamplingConfig = SamplingConfig()
    ) -> np.ndarray:
        """Decodes latents to tokens int32[batch, measure, slot, field].

        Args:
            latents: level -> float[batch, time, dim].
            metre: int32[batch, measure, 2]; (0, 0) in measures that a window lacks.
            seed: of the draws.
            sampling: how tokens are chosen.

        Raises:
            UserError: a level is missing or its shape does not fit the metres, or the seed is out of range.
        """
        check_seed(seed)
        _check_latents(latents, metre, self.config)
        key = stream(jax.random.key(seed), "sampling")

        def draw(latents: Latents, metre: np.ndarray, mask: np.ndarray) -> Array:
            return sample_tokens(self.model, self.variables, latents, metre, mask, key, sampling)

        return np.asarray(in_powers_of_two(draw, latents, metre, self.mask(metre)))

    def mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that metres allow: int[..., measure, 2] to bool[..., measure, slot]."""
        return self.codec.slot_mask(metre)

    def sample(
        self,
        num: int,
        *,
        metre: Metre | None = None,
        measures: int | None = None,
        temperature: Mapping[str, float] | None = None,
        seed: int = 0,
        sampling: SamplingConfig = SamplingConfig(),
    ) -> list[Score]:
        """Music from the prior.

        Args:
            num: pieces.
            metre: of every measure; drawn for each piece from the training frequencies if not given.
            measures: of a piece; those of a window if not given.
            temperature: level -> factor of the scale of its prior; 1 for levels that are not named.
            seed: of metres, latents and tokens.
            sampling: how tokens are chosen.
        """
        check_seed(seed)
        check(num >= 1, "num", num, "1 or more")
        longest = self.config.data.measures
        measures = longest if measures is None else measures
        check(1 <= measures <= longest, "measures", measures, f"1 to {longest}, the measures of a window")
        _check_temperature(temperature, list(self.config.levels.on))
        if metre is None:
            names = sorted(self.metres)
            shares = np.array([self.metres[name] for name in names], float)
            drawn = np.random.default_rng(seed).choice(len(names), num, p=shares / shares.sum())
            rows = np.array([Metre.parse(names[number]) for number in drawn])
        else:
            rows = np.tile(metre, (num, 1))
        frame = np.zeros((num, longest, 2), np.int32)
        frame[:, :measures] = rows[:, None]
        latents = self._draw(frame, {}, temperature, seed)
        return self.scores(self.decode(latents, frame, seed=seed, sampling=sampling), frame)

    def resample(
        self,
        score: Score,
        keep: str,
        num: int = 3,
        *,
        temperature: Mapping[str, float] | None = None,
        seed: int = 0,
        sampling: SamplingConfig = _GREEDY,
    ) -> list[Score]:
        """Variants of the first window of a piece: upper levels are kept, the levels below are drawn from their priors.

        Args:
            score: the piece.
            keep: the lowest level that is kept, at its posterior mean, like those above it.
            num: variants.
            temperature: level -> factor of the scale of its prior; 1 for levels that are not named.
            seed: of latents and tokens.
            sampling: how tokens are chosen.

        Raises:
            MusicError: the codec refuses the piece.
            UserError: there is nothing below the level, or another argument is out of range.
        """
        check_seed(seed)
        levels = list(self.config.levels.on)
        allowed = " or ".join(levels[:-1]) or f"nothing: {levels[0]} is the only level of the model"
        check(keep in levels[:-1], "keep", keep, allowed)
        check(num >= 1, "num", num, "1 or more")
        kept = levels[: levels.index(keep) + 1]
        _check_temperature(temperature, levels[len(kept) :])
        window = jax.tree.map(lambda leaf: leaf[:1], self.windows(score))
        posterior = self.encode(window)
        given = {level: jnp.repeat(posterior[level].loc, num, 0) for level in kept}
        frame = np.repeat(window.metre, num, 0)
        latents = self._draw(frame, given, temperature, seed)
        tokens = self.decode(latents, frame, seed=seed, sampling=sampling)
        return [self._like(score, row, metre) for row, metre in zip(tokens, frame, strict=True)]

    def traverse(self, score: Score, dim: str, steps: int = 5, reach: float = 2.0, **options: Any) -> list[Score]:
        """The first window of a piece with one dim moved; see `traversal.traverse`."""
        return traverse(self, score, dim, steps, reach, **options)

    def first_window(self, score: Score) -> Score:
        """The beginning of a piece, as long as one window, as the codec keeps it.

        Raises:
            MusicError: the codec refuses the piece.
        """
        batch = self.windows(score)
        return self._like(score, batch.tokens[0], batch.metre[0])

    def reconstruct(self, score: Score, *, seed: int = 0, sampling: SamplingConfig = _GREEDY) -> Score:
        """Encodes a piece and decodes its posterior means, window by window.

        A note that crosses the border of two windows becomes two notes.
        """
        batch = self.windows(score)
        tokens = self.reconstruct_tokens(batch, seed=seed, sampling=sampling)
        return join([self._like(score, row, metre) for row, metre in zip(tokens, batch.metre, strict=True)])

    def reconstruct_tokens(self, batch: Batch, *, seed: int = 0, sampling: SamplingConfig = _GREEDY) -> np.ndarray:
        """Encodes windows and decodes their posterior means: int32[batch, measure, slot, field]."""
        latents = {level: gaussian.loc for level, gaussian in self.encode(batch).items()}
        return self.decode(latents, batch.metre, seed=seed, sampling=sampling)

    def interpolate(
        self,
        first: Score,
        second: Score,
        steps: int = 9,
        *,
        seed: int = 0,
        sampling: SamplingConfig = _GREEDY,
    ) -> list[Score]:
        """The path between the first windows of two pieces, along a great circle (`slerp`), with both ends.

        A point has the metre and the length of the nearer end. A latent that only the longer piece has is constant.
        """
        check(steps >= 2, "steps", steps, "2 or more: both ends count")
        ends = [jax.tree.map(lambda leaf: leaf[:1], self.windows(score)) for score in (first, second)]
        codes = [{level: q.loc[0] for level, q in self.encode(end).items()} for end in ends]
        shares = np.linspace(0, 1, steps)
        latents = {}
        for level in codes[0]:
            here = [present_latents(end.metre, self.config.levels[level])[0, :, None] for end in ends]
            one, other = (code[level] for code in codes)
            one, other = jnp.where(here[0], one, other), jnp.where(here[1], other, one)
            latents[level] = jnp.stack([slerp(one, other, share) for share in shares])
        frame = np.concatenate([ends[int(share > 0.5)].metre for share in shares])
        return self.scores(self.decode(latents, frame, seed=seed, sampling=sampling), frame)

    def scores(self, tokens: np.ndarray, metre: np.ndarray) -> list[Score]:
        """Turns tokens int32[batch, measure, slot, field] with their metres into one score per row."""
        real = metre[..., 0] > 0
        return [self.codec.decode(row[here], frame[here]) for row, frame, here in zip(tokens, metre, real, strict=True)]

    def _like(self, score: Score, tokens: np.ndarray, metre: np.ndarray) -> Score:
        """Turns tokens int32[..., measure, slot, field] into one score with the tempo, key and title of a piece."""
        real = metre[..., 0] > 0
        return self.codec.decode(
            tokens[real], metre[real], tempo=score.tempo, fifths=score.fifths, mode=score.mode, title=score.title
        )

    def _draw(self, frame: np.ndarray, given: Latents, temperature: Mapping[str, float] | None, seed: int) -> Latents:
        """The levels that are not given, from their priors, for metres int32[batch, measure, 2]."""
        keys = row_keys(stream(jax.random.key(seed), "prior"), np.arange(len(frame)))
        return sample_prior(self.model, self.variables, frame, keys, given, dict(temperature or {}))


def _check_latents(latents: Latents, metre: np.ndarray, config: Config) -> None:
    batch, measures = np.shape(metre)[:2]
    for name, level in config.levels.on.items():
        shape, wanted = np.shape(latents.get(name, ())), (batch, level.num_latents(measures), level.dim)
        if shape != wanted:
            found = f"of shape {shape}" if name in latents else f"missing: given are {', '.join(latents) or 'none'}"
            raise UserError(f"latents of {name!r} are {found}; allowed is [batch, time, dim] = {wanted}")


def _check_temperature(temperature: Mapping[str, float] | None, drawn: list[str]) -> None:
    for level, value in (temperature or {}).items():
        if level not in drawn:
            raise UserError(f"temperature of {level!r}: allowed are the levels that are drawn: {', '.join(drawn)}")
        if not (value >= 0 and math.isfinite(value)):
            raise UserError(f"temperature of {level!r} = {value}: allowed is 0 or more")
