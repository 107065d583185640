"""A trained model in one call: encode music, decode latents, sample, reconstruct, interpolate."""

import dataclasses
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.score import Metre, Score
from musicvae_jax.config import Config, TrainConfig, UserError, check_seed
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.rng import stream
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.parallel import Parallel, everywhere, make_parallel
from musicvae_jax.training.state import evaluation_variables, init_state, make_model
from musicvae_jax.training.workdir import read_config
from musicvae_jax.types import Array, Batch, Gaussian, Latents, Variables


@dataclasses.dataclass(frozen=True)
class TrainedVAE:
    """A model with its parameters and its codec.

    Example:
        >>> vae = load_workdir("runs/demo")
        >>> tune = read_score("tune.abc")[0]
        >>> z = vae.encode(vae.windows(tune))["global"].loc
        >>> scores = vae.sample(4, metre=Metre(6, 8), seed=1)
    """

    config: Config
    codec: Codec
    model: MusicVAE
    variables: Variables
    step: int
    metres: dict[str, int]  # metre -> training measures, e.g. {"4/4": 51204}

    def windows(self, score: Score) -> Batch:
        """A piece cut into windows that follow each other, the last one padded.

        Raises:
            MusicError: the codec refuses the piece.
        """
        self.codec.encode(score)  # raises what is wrong with this one piece; a source would count and go on
        source = WindowSource([score], self.codec, self.config.data.measures, hop=self.config.data.measures)
        return make_eval_batches(source, max(len(source), 1))[0]

    def encode(self, batch: Batch) -> dict[str, Gaussian]:
        """The posterior of windows: level -> Gaussian over float[batch, time, dim]."""
        return _encode(self.model, self.variables, batch)

    def decode(
        self, latents: Latents, metre: np.ndarray, *, seed: int = 0, sampling: SamplingConfig = SamplingConfig()
    ) -> np.ndarray:
        """Tokens int32[batch, measure, slot, field] of latents.

        Args:
            latents: level -> float[batch, time, dim].
            metre: int32[batch, measure, 2]; (0, 0) in measures that are not there.
            seed: of the draws.
            sampling: how tokens are chosen.
        """
        key = stream(jax.random.key(seed), "sampling")
        mask = self.mask(metre)
        return np.asarray(sample_tokens(self.model, self.variables, latents, metre, mask, key, sampling))

    def mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that metres allow: int[..., measure, 2] to bool[..., measure, slot]."""
        return self.codec.slot_mask(metre)

    def sample(
        self,
        num: int,
        *,
        metre: Metre | None = None,
        measures: int | None = None,
        seed: int = 0,
        sampling: SamplingConfig = SamplingConfig(),
    ) -> list[Score]:
        """Music from the prior.

        Args:
            num: pieces.
            metre: of every measure; drawn per piece from the training frequencies if not given.
            measures: per piece, up to the window's; the whole window if not given.
            seed: of metres, latents and tokens.
            sampling: how tokens are chosen.
        """
        check_seed(seed)
        if num < 1:
            raise UserError(f"num = {num}: allowed is 1 or more")
        measures = self.config.data.measures if measures is None else measures
        if not 1 <= measures <= self.config.data.measures:
            raise UserError(f"measures = {measures}: allowed is 1 to the window's {self.config.data.measures}")
        if metre is None:
            names = sorted(self.metres)
            shares = np.array([self.metres[name] for name in names], float)
            drawn = np.random.default_rng(seed).choice(len(names), num, p=shares / shares.sum())
            rows = np.array([Metre.parse(names[number]) for number in drawn])
        else:
            rows = np.tile(metre, (num, 1))
        frame = np.zeros((num, self.config.data.measures, 2), np.int32)
        frame[:, :measures] = rows[:, None]
        key = stream(jax.random.key(seed), "prior")
        latents = _sample_prior(self.model, self.variables, frame, key)
        return self.scores(self.decode(latents, frame, seed=seed, sampling=sampling), frame)

    def reconstruct(
        self, score: Score, *, seed: int = 0, sampling: SamplingConfig = SamplingConfig(temperature=0.0)
    ) -> Score:
        """A piece through its codes and back, window by window, from posterior means."""
        batch = self.windows(score)
        tokens = self.reconstruct_tokens(batch, seed=seed, sampling=sampling)
        real = batch.metre[..., 0] > 0
        return self.codec.decode(
            tokens[real], batch.metre[real], tempo=score.tempo, fifths=score.fifths, mode=score.mode, title=score.title
        )

    def reconstruct_tokens(
        self, batch: Batch, *, seed: int = 0, sampling: SamplingConfig = SamplingConfig(temperature=0.0)
    ) -> np.ndarray:
        """The windows of a batch through their posterior means and back: int32[batch, measure, slot, field]."""
        latents = {level: gaussian.loc for level, gaussian in self.encode(batch).items()}
        return self.decode(latents, batch.metre, seed=seed, sampling=sampling)

    def interpolate(
        self,
        first: Score,
        second: Score,
        steps: int = 9,
        *,
        seed: int = 0,
        sampling: SamplingConfig = SamplingConfig(temperature=0.0),
    ) -> list[Score]:
        """The path between the first windows of two pieces, ends included, along a great circle (White 2016).

        A point has the metre and the length of the nearer end.
        """
        if steps < 2:
            raise UserError(f"steps = {steps}: allowed is 2 or more, the two ends")
        ends = [jax.tree.map(lambda leaf: leaf[:1], self.windows(score)) for score in (first, second)]
        codes = [{level: q.loc[0] for level, q in self.encode(end).items()} for end in ends]
        shares = np.linspace(0, 1, steps)
        latents = {
            level: jnp.stack([slerp(codes[0][level], codes[1][level], share) for share in shares]) for level in codes[0]
        }
        frame = np.concatenate([ends[int(share > 0.5)].metre for share in shares])
        return self.scores(self.decode(latents, frame, seed=seed, sampling=sampling), frame)

    def scores(self, tokens: np.ndarray, metre: np.ndarray) -> list[Score]:
        """Tokens int32[batch, measure, slot, field] and their metres as one score per row."""
        real = metre[..., 0] > 0
        return [self.codec.decode(row[here], frame[here]) for row, frame, here in zip(tokens, metre, real, strict=True)]


def load_workdir(workdir: str | Path, checkpoint: str = "best") -> TrainedVAE:
    """The model that a run trained.

    Args:
        workdir: the run's folder.
        checkpoint: ``"best"`` by the validation objective, or ``"latest"``.

    Raises:
        WorkdirError: no run, no checkpoint yet, or a checkpoint of another model.
    """
    config = read_config(workdir)
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    shapes = jax.eval_shape(partial(init_state, config, model))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere()), shapes)
    checkpoints = Checkpoints(Path(workdir))
    state, _, _ = checkpoints.restore(like, checkpoint)
    metres = json.loads((Path(workdir) / "metres.json").read_text())
    return TrainedVAE(config, codec, model, evaluation_variables(state), int(state.step), metres)


def on_all_devices(vae: TrainedVAE) -> tuple[TrainedVAE, Parallel]:
    """The model with its variables on every device, and how batches of the training's size are spread over them.

    Not over the devices of the training: this machine may have fewer, or a number that does not divide the batch.
    """
    batch_size = vae.config.train.batch_size
    num_devices = math.gcd(batch_size, jax.local_device_count())
    parallel = make_parallel(TrainConfig(batch_size=batch_size, num_devices=num_devices))
    return dataclasses.replace(vae, variables=jax.device_put(vae.variables, parallel.replicated)), parallel


def slerp(first: Any, second: Any, share: float) -> Any:
    """Spherical interpolation along the last axis; the plain line where the ends are parallel.

    Args:
        first: float[..., dim], the result at share 0.
        second: float[..., dim], the result at share 1.
        share: how far along.
    """
    unit = [end / jnp.maximum(jnp.linalg.norm(end, axis=-1, keepdims=True), 1e-9) for end in (first, second)]
    angle = jnp.arccos(jnp.clip((unit[0] * unit[1]).sum(-1, keepdims=True), -1, 1))
    line = (1 - share) * first + share * second
    sine = jnp.sin(angle)
    curve = (jnp.sin((1 - share) * angle) * first + jnp.sin(share * angle) * second) / jnp.maximum(sine, 1e-9)
    return jnp.where(sine < 1e-4, line, curve)


@partial(jax.jit, static_argnums=0)
def _encode(model: MusicVAE, variables: Variables, batch: Batch) -> dict[str, Gaussian]:
    return model.apply(variables, batch, method="encode")


@partial(jax.jit, static_argnums=0)
def _sample_prior(model: MusicVAE, variables: Variables, metre: Array, key: Array) -> Latents:
    return model.apply(variables, metre, method="sample_prior", rngs={"latent": key})
