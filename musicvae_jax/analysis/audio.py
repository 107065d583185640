"""Music as sound: a piano sound font, rendered offline."""

import functools
import importlib.util
import os
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from musicvae_jax.analysis.soundfont import move_root_keys
from musicvae_jax.codec.midi import to_symusic
from musicvae_jax.codec.score import TICKS_PER_QUARTER, Score
from musicvae_jax.files import replacing

SAMPLE_RATE = 44100
_FADE_SECONDS = 0.01


def render(score: Score, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Plays a score on a piano.

    Args:
        score: the music; silence if it has no notes.
        sample_rate: samples per second.

    Returns:
        float32[channel, sample]: two channels, exactly as long as the score's measures last. A note in mezzo forte
        peaks around 0.2; chords may exceed 1.

    Raises:
        MusicError: if the score is not a valid one.
        FileNotFoundError: if the sound font is not installed.
    """
    seconds = score.end / TICKS_PER_QUARTER * 60 / score.tempo
    audio = np.zeros((2, round(seconds * sample_rate)), np.float32)
    if not len(score.notes):  # the synthesizer refuses a piece without notes
        return audio
    sound = _synthesizer(sample_rate).render(to_symusic(score), stereo=True)[:, : audio.shape[1]]
    audio[:, : sound.shape[1]] = sound
    fade = min(round(_FADE_SECONDS * sample_rate), audio.shape[1])  # a note that is cut off at the end would click
    audio[:, audio.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return audio


def write_wav(
    audio: np.ndarray, path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE, *, peak: float | None = 0.7
) -> None:
    """Writes 16-bit PCM, whole or not at all; missing folders are made.

    Args:
        audio: float[channel, sample].
        path: of the WAV file.
        sample_rate: samples per second.
        peak: what the loudest sample is scaled to, so that pieces are about equally loud. None leaves the level as it
            is, unless it exceeds 1, which would clip. Silence stays silence.

    Raises:
        ValueError: if the shape is not [channel, sample], a sample is not finite, or peak is outside (0, 1].
    """
    audio = np.asarray(audio)
    if audio.ndim != 2 or not np.isfinite(audio).all():
        raise ValueError(f"audio of shape {audio.shape}: allowed is float[channel, sample], every sample finite")
    if peak is not None and not 0 < peak <= 1:
        raise ValueError(f"peak = {peak}: allowed is 0 < peak <= 1, or None")
    loudest = float(np.abs(audio).max(initial=0))
    target = min(loudest, 1.0) if peak is None else peak
    samples = np.rint(audio * (target / loudest if loudest else 1.0) * 32767).astype("<i2")
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.T.tobytes())


def listen(score: Score, sample_rate: int = SAMPLE_RATE) -> Any:
    """A player for notebooks: ``IPython.display.Audio``."""
    from IPython.display import Audio

    return Audio(render(score, sample_rate), rate=sample_rate)


@functools.lru_cache(maxsize=4)
def _synthesizer(sample_rate: int) -> Any:
    with tempfile.TemporaryDirectory() as folder:  # symusic reads sound fonts from files only, whole and at once
        tuned = Path(folder) / "tuned.sf2"
        tuned.write_bytes(move_root_keys(_sound_font().read_bytes()))
        return symusic.Synthesizer(sf_path=str(tuned), sample_rate=sample_rate)


def _sound_font() -> Path:
    """TimGM6mb, a General MIDI sound font of 6 MB, which pretty_midi ships; importing that package would be slow."""
    package = importlib.util.find_spec("pretty_midi")
    folders = [Path(folder) for folder in (package.submodule_search_locations or [])] if package else []
    for folder in folders:
        if (folder / "TimGM6mb.sf2").exists():
            return folder / "TimGM6mb.sf2"
    raise FileNotFoundError(
        "the sound font TimGM6mb.sf2 of the package pretty_midi is not installed: pip install pretty_midi"
    )
