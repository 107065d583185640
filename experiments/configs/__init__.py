"""Experiments by name: each is a value of `Config`; a variant is ``dataclasses.replace`` or a flag."""

import dataclasses
from typing import Any

from musicvae_jax.config import (
    CodecConfig,
    Config,
    DataConfig,
    LevelConfig,
    LevelsConfig,
    ModelConfig,
    ObjectiveConfig,
    PriorConfig,
    TrainConfig,
)

FOLK_BASIC = Config(
    # The tunes' own keys, as they are held out; --data.transpose 5 for a model of all keys, which learns more slowly.
    data=DataConfig(measures=8, hop=2, transpose=0),
    model=ModelConfig(
        dim=128,
        num_heads=4,
        encoder_slot_layers=2,
        encoder_measure_layers=2,
        decoder_layers=3,
        token_dropout=0.3,
    ),
    levels=LevelsConfig(global_=LevelConfig(dim=128)),
    objective=ObjectiveConfig(beta=0.2, beta_warmup_steps=1000),
    train=TrainConfig(num_steps=2800, batch_size=32, learning_rate=2e-3, eval_every=400),
)

# Three levels that share 38 nats per phrase; measures are decoded in parallel, from their latents alone.
FOLK_PLAIN = dataclasses.replace(
    FOLK_BASIC,
    model=dataclasses.replace(FOLK_BASIC.model, context="none", slotwise=True, level_dropout=0.2),
    levels=LevelsConfig(
        global_=LevelConfig(dim=32, kl_per_phrase=4.0, span_head=True),
        # Free bits per dim spread the KL: without them few dims carry all of it.
        local=LevelConfig(dim=32, kl_per_phrase=14.0, span_head=True, free_bits="per_dim", nats=0.1),
        fine=LevelConfig(dim=16, kl_per_phrase=20.0, free_bits="per_dim", nats=0.1),
    ),
    objective=ObjectiveConfig(span_weight=0.2),
)

# `folk-plain` with one dim of each group that follows an attribute of its span, and a decoder that obeys it. Tunes have
# no dynamics, and a measure has few dims. Free bits keep the global dims without an attribute active.
_PRIMARY: dict[str, Any] = {"attributes": ("primary",)}
FOLK = dataclasses.replace(
    FOLK_PLAIN,
    data=dataclasses.replace(FOLK_PLAIN.data, attributes=True),
    levels=LevelsConfig(
        global_=dataclasses.replace(
            FOLK_PLAIN.levels["global"], groups=(8, 8, 8, 0, 8), free_bits="per_dim", nats=0.08, **_PRIMARY
        ),
        local=dataclasses.replace(FOLK_PLAIN.levels["local"], groups=(8, 8, 8, 0, 8), **_PRIMARY),
        fine=dataclasses.replace(FOLK_PLAIN.levels["fine"], groups=(6, 6, 4, 0, 0), **_PRIMARY),
    ),
    objective=dataclasses.replace(FOLK_PLAIN.objective, attribute_weight=1.0, control_weight=5.0),
)

# `folk` with two thirds of its nats, a decoder that is less bound to obey its dims, more steps and, once it is trained,
# a prior that hears the metres and the earlier phrases and measures.
FOLK_24 = dataclasses.replace(
    FOLK,
    levels=LevelsConfig(
        global_=dataclasses.replace(FOLK.levels["global"], kl_per_phrase=2.8),
        local=dataclasses.replace(FOLK.levels["local"], kl_per_phrase=8.7),
        fine=dataclasses.replace(FOLK.levels["fine"], kl_per_phrase=12.5),
    ),
    objective=dataclasses.replace(FOLK.objective, control_weight=2.0),
    train=dataclasses.replace(FOLK.train, num_steps=5000, eval_every=500),
    prior=PriorConfig(base="flow", flow_layers=6, memory_layers=2, num_steps=5000),
)

# For one GPU. Nobody has trained these two yet: rate and number of steps are a start. Dropout and transposition are to
# hold off overfitting, as a run sees each of the 22,000 windows of tunes a hundred times.
_LARGE: dict[str, Any] = {
    "dim": 512,
    "num_heads": 8,
    "encoder_slot_layers": 3,
    "encoder_measure_layers": 3,
    "decoder_layers": 6,
    "dropout": 0.1,
    "dtype": "bfloat16",
}
FOLK_LARGE = dataclasses.replace(
    FOLK_PLAIN,
    data=dataclasses.replace(FOLK_PLAIN.data, transpose=5),
    model=dataclasses.replace(FOLK_PLAIN.model, **_LARGE),
    train=dataclasses.replace(FOLK_PLAIN.train, num_steps=5000, batch_size=512, learning_rate=8e-4, eval_every=500),
)

CHORALES = Config(
    codec=CodecConfig(name="voices", slots=16),
    data=DataConfig(dataset="bach_chorales", measures=8, hop=1, min_measures=4, transpose=5),
    model=dataclasses.replace(FOLK.model, level_dropout=0.25),
    levels=LevelsConfig(
        # Without free bits a dozen dims of the global latent carry all of its KL.
        global_=LevelConfig(dim=32, kl_per_phrase=5.0, span_head=True, free_bits="per_dim", nats=0.08),
        local=LevelConfig(dim=32, kl_per_phrase=18.0, span_head=True, free_bits="per_dim", nats=0.1),
        fine=LevelConfig(dim=24, kl_per_phrase=27.0, free_bits="per_dim", nats=0.1),
    ),
    objective=ObjectiveConfig(span_weight=0.1),
    train=dataclasses.replace(FOLK.train, num_steps=1600),
)

# A latent of the piece and one of each phrase, and a decoder that sees the past: the lowest bound of these VAEs.
# In 290 training chorales dropout holds off overfitting. The set points hold 10 nats per phrase.
CHORALES_FLAT = dataclasses.replace(
    CHORALES,
    model=dataclasses.replace(FOLK_BASIC.model, slotwise=True, intervals=True, dropout=0.1, token_dropout=0.0),
    levels=LevelsConfig(global_=LevelConfig(dim=32, kl_per_phrase=2.6), local=LevelConfig(dim=32, kl_per_phrase=7.8)),
    objective=ObjectiveConfig(),
    train=dataclasses.replace(CHORALES.train, num_steps=1500, eval_every=250, ema_decay=0.99),
)

# All tracks: melody, bridge and piano, with velocities.
PERFORMANCE = CodecConfig(
    name="performance",
    subdivisions=("0", *(f"{twelfth}/12" for twelfth in range(1, 12))),
    positions=48,
    slots=48,
    velocities=16,
    tracks=3,
)
POP909_BASIC = dataclasses.replace(
    FOLK_BASIC,
    codec=PERFORMANCE,
    data=DataConfig(dataset="pop909", measures=4, hop=2, min_measures=4, transpose=5),
    objective=ObjectiveConfig(beta=0.2, beta_warmup_steps=700),
    train=dataclasses.replace(FOLK_BASIC.train, num_steps=1600, eval_every=250),
)

POP909 = dataclasses.replace(
    CHORALES,
    codec=PERFORMANCE,
    data=dataclasses.replace(POP909_BASIC.data, measures=8),
    levels=LevelsConfig(
        global_=LevelConfig(dim=32, kl_per_phrase=5.0, span_head=True),
        local=LevelConfig(dim=32, kl_per_phrase=16.0, span_head=True, free_bits="per_dim", nats=0.1),
        fine=LevelConfig(dim=24, kl_per_phrase=29.0, free_bits="per_dim", nats=0.1),
    ),
    train=dataclasses.replace(CHORALES.train, batch_size=16),
)

POP909_LARGE = dataclasses.replace(
    POP909,
    model=dataclasses.replace(POP909.model, **_LARGE),
    train=dataclasses.replace(FOLK_LARGE.train, num_steps=2500, batch_size=256),
)

MIDI_FOLDER_BASIC = dataclasses.replace(
    POP909_BASIC,
    codec=dataclasses.replace(PERFORMANCE, positions=72, tracks=4),
    data=dataclasses.replace(POP909_BASIC.data, dataset="midi_folder"),
)

DEMO = Config(
    # The tunes' own keys: a few minutes are too short to learn eleven.
    data=DataConfig(measures=4, hop=2, transpose=0),
    model=ModelConfig(
        dim=128,
        num_heads=4,
        encoder_slot_layers=1,
        encoder_measure_layers=1,
        decoder_layers=2,
        intervals=True,
        token_dropout=0.3,
    ),
    levels=LevelsConfig(global_=LevelConfig(dim=64)),
    objective=ObjectiveConfig(beta=0.2, beta_warmup_steps=1400),
    train=TrainConfig(num_steps=1500, batch_size=32, learning_rate=3e-3, eval_every=500, ema_decay=0.99),
)

DEBUG = dataclasses.replace(
    DEMO,
    model=dataclasses.replace(DEMO.model, dim=32, num_heads=2, decoder_layers=1),
    levels=LevelsConfig(global_=LevelConfig(dim=16)),
    objective=ObjectiveConfig(beta=0.2),
    train=TrainConfig(
        num_steps=60,
        batch_size=16,
        learning_rate=3e-3,
        warmup_steps=5,
        eval_every=30,
        eval_examples=32,
        checkpoint_every=20,
        ema_decay=0.9,
    ),
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "debug": ("a minute on two cores: shows that everything runs, learns next to nothing", DEBUG),
    "demo": ("what `make demo` trains: one phrase of four measures", DEMO),
    "folk-basic": ("the basic VAE of folk tunes: eight measures, one latent", FOLK_BASIC),
    "folk": ("folk tunes with three latent levels: piece, phrase, measure; named dims follow the music", FOLK),
    "folk-plain": ("`folk` without dims that follow anything: a step takes two thirds of the time", FOLK_PLAIN),
    "folk-24": ("`folk` with 24 nats per phrase, not 38, and a prior that hears metres and earlier phrases", FOLK_24),
    "folk-large": ("`folk-plain` for one GPU: 512 wide, 12 layers, bfloat16; not trained yet", FOLK_LARGE),
    "chorales": ("Bach's chorales with three latent levels", CHORALES),
    "chorales-flat": ("Bach's chorales: piece and phrase, and a decoder that sees the past", CHORALES_FLAT),
    "pop909-basic": ("the basic VAE of POP909: all that is played, with velocities, four measures", POP909_BASIC),
    "pop909": ("POP909 with three latent levels: all that is played, eight measures", POP909),
    "pop909-large": ("`pop909` for one GPU: 512 wide, 12 layers, bfloat16; not trained yet", POP909_LARGE),
    "midi-folder-basic": ("the basic VAE of your own files: --data.path DIR", MIDI_FOLDER_BASIC),
}
