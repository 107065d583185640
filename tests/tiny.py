"""A VAE and music small enough for every law: two fields, two metres, a padding measure."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import CodecConfig, Config, DataConfig, LevelConfig, LevelsConfig, ModelConfig, TrainConfig
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.types import ATTRIBUTES, Batch, Field, existing_fields, span_name, until_end

FIELDS = (Field("first", 5), Field("second", 3))
# Where class 0 of the first field ends a measure, and the second field has pitches.
ENDING = (Field("first", 5, end=0), Field("second", 3, first_pitch=0))
SLOTS = 4
MODEL = ModelConfig(dim=16, num_heads=2, encoder_slot_layers=1, encoder_measure_layers=1, decoder_layers=2)
# For tests of training, whose time is tracing and compiling.
SHALLOW = dataclasses.replace(MODEL, encoder_measure_layers=0, conductor_layers=0, decoder_layers=1)
CONFIG = Config(
    codec=CodecConfig(slots=SLOTS),
    data=DataConfig(measures=3, hop=1),
    model=SHALLOW,
    levels=LevelsConfig(global_=LevelConfig(dim=6)),
    train=TrainConfig(num_steps=20, batch_size=8, warmup_steps=0, ema_decay=0.9),
)


def make_batch(size: int = 8, seed: int = 0, fields: tuple[Field, ...] = FIELDS, measures: int = 3) -> Batch:
    """Random windows; rows differ in metre, every third has two measures, padded. Of six the others are two phrases."""
    rng = np.random.default_rng(seed)
    metre = np.zeros((size, measures, 2), np.int32)
    metre[:] = (4, 16)
    metre[1::2] = (3, 16)
    metre[::3, 2:] = 0
    mask = np.arange(SLOTS) < metre[..., :1]
    tokens = np.stack([rng.integers(0, field.size, mask.shape) for field in fields], -1).astype(np.int32)
    return Batch(np.where(mask[..., None], tokens, 0), mask, metre, np.arange(size, dtype=np.int32))


def with_attributes(batch: Batch, config: Config, seed: int = 0) -> Batch:
    """A batch with random attributes of all spans of a config, of which every seventh is not defined."""
    rng, (size, measures) = np.random.default_rng(seed), batch.metre.shape[:2]
    values = {}
    for span in config.spans:
        found = rng.normal(size=(size, -(-measures // (span or measures)), len(ATTRIBUTES))).astype(np.float32)
        found.reshape(-1)[::7] = np.nan
        values[span_name(span)] = found
    return batch._replace(attributes=values)


def make_ending_batch(size: int = 8, seed: int = 0) -> Batch:
    """Random windows of the fields `ENDING`: measures of up to three slots and an END, some of them END alone."""
    batch = make_batch(size, seed)
    allowed = np.repeat(batch.metre[..., :1] > 0, SLOTS, -1)
    tokens = np.random.default_rng(seed).integers(0, [4, 3], (*allowed.shape, 2)).astype(np.int32)
    tokens[..., -1, :] = 0
    mask = until_end(tokens, allowed, ENDING)
    return batch._replace(tokens=np.where(existing_fields(tokens, mask, ENDING), tokens, 0), mask=mask)


@functools.cache  # nothing writes to what it returns
def make_vae(
    config: Config | None = None, fields: tuple[Field, ...] = FIELDS, seed: int = 0, scale: float = 0.3
) -> tuple[MusicVAE, dict]:
    """A model and its variables, every parameter random and large: zeros would hide mistakes."""
    config = config or replace(CONFIG, model=vars(MODEL))
    vae = MusicVAE(config.model, config.levels, fields=fields, slots=SLOTS)
    key = jax.random.key(seed)
    batch = make_batch(2, fields=fields)
    shapes = jax.eval_shape(lambda: vae.init({"params": key, "latent": key}, batch))
    rng = np.random.default_rng(seed)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        values = rng.normal(0, scale, leaf.shape)
        is_variance = jax.tree_util.keystr(path).endswith(".variance")  # of batch normalisation: above 0
        return jnp.asarray(np.exp(values) if is_variance else values, leaf.dtype)

    return vae, jax.tree_util.tree_map_with_path(fill, shapes)


def replace(config: Config, **changes: dict) -> Config:
    """A config with fields of its parts replaced: ``replace(CONFIG, model={"dim": 32}, fine={"base": "ar1"})``.

    Names are those of the parts and of the three levels.
    """
    names = {"global": "global_", "local": "local", "fine": "fine"}
    levels = {names[name]: changes.pop(name) for name in [*changes] if name in names}
    changed = {name: dataclasses.replace(getattr(config.levels, name), **fields) for name, fields in levels.items()}
    parts = {part: dataclasses.replace(getattr(config, part), **fields) for part, fields in changes.items()}
    return dataclasses.replace(config, levels=dataclasses.replace(config.levels, **changed), **parts)
