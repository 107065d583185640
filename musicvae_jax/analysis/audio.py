"""Sound: scores played by a piano sound font, WAV files, a player for notebooks."""

import dataclasses
import functools
import importlib.util
import itertools
import os
import struct
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from musicvae_jax.codec.midi import to_symusic
from musicvae_jax.codec.score import DURATION, ONSET, TICKS_PER_QUARTER, Score, check_score
from musicvae_jax.files import replacing

SAMPLE_RATE = 44100
LONGEST_SECONDS = 600.0  # ten minutes: 212 MB of sound
_FADE_SECONDS = 0.01

# SoundFont 2.01: two generators and the records of four tables.
_ROOT_KEY, _SAMPLE = 58, 53  # overridingRootKey, sampleID
_BAG = np.dtype([("gen", "<u2"), ("mod", "<u2")])
_GEN = np.dtype([("oper", "<u2"), ("amount", "<u2")])
_INST = np.dtype([("name", "S20"), ("bag", "<u2")])
_SAMPLE_HEADER = np.dtype([("head", "V40"), ("pitch", "u1"), ("tail", "V5")])


def seconds_of(score: Score) -> float:
    """How long the measures of a score take to play."""
    return score.end / TICKS_PER_QUARTER * 60 / score.tempo


def render(score: Score, sample_rate: int = SAMPLE_RATE, *, longest: float = LONGEST_SECONDS) -> np.ndarray:
    """Plays a score on a piano; silence if it has no notes.

    Args:
        score: the music.
        sample_rate: samples per second.
        longest: seconds after which the sound is cut: a slow tempo can make hours of two notes.

    Returns:
        float32[channel, sample]: two channels, as long as the score's measures, or ``longest``. One mezzo-forte note
        has a peak of about 0.2; chords may exceed 1.

    Raises:
        MusicError: the score is invalid.
        FileNotFoundError: the sound font is not installed.
        ValueError: ``longest`` is not above 0.
    """
    if not longest > 0:
        raise ValueError(f"longest = {longest}: allowed is above 0, in seconds")
    check_score(score)
    seconds = min(seconds_of(score), longest)
    end = int(seconds * score.tempo / 60 * TICKS_PER_QUARTER) + 1
    heard = score.notes[score.notes[:, ONSET] < end].copy()
    heard[:, DURATION] = np.minimum(heard[:, DURATION], end - heard[:, ONSET])
    score = dataclasses.replace(score, notes=heard)
    audio = np.zeros((2, round(seconds * sample_rate)), np.float32)
    if not len(score.notes):  # the synthesizer raises an error without notes
        return audio
    sound = _synthesizer(sample_rate).render(to_symusic(score), stereo=True)[:, : audio.shape[1]]
    audio[:, : sound.shape[1]] = sound
    fade = min(round(_FADE_SECONDS * sample_rate), audio.shape[1])  # without it a note cut at the end would click
    audio[:, audio.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return audio


def write_wav(
    audio: np.ndarray | Score, path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE, *, peak: float | None = 0.7
) -> None:
    """Writes a 16-bit PCM file. Creates missing folders. If writing fails, an existing file stays as it was.

    Args:
        audio: float[channel, sample], or a score, which is played as `render` does.
        path: the WAV file.
        sample_rate: samples per second.
        peak: the audio is scaled to this maximum. With None it is scaled only if it exceeds 1.

    Raises:
        ValueError: the shape is not [channel, sample], a sample is not finite, or peak is outside (0, 1].
    """
    audio = render(audio, sample_rate) if isinstance(audio, Score) else np.asarray(audio)
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
    """A player for notebooks, ``IPython.display.Audio``."""
    from IPython.display import Audio

    return Audio(render(score, sample_rate), rate=sample_rate)


@functools.lru_cache(maxsize=4)
def _synthesizer(sample_rate: int) -> Any:
    with tempfile.TemporaryDirectory() as folder:  # symusic reads sound fonts from files only
        tuned = Path(folder) / "tuned.sf2"
        tuned.write_bytes(move_root_keys(sound_font().read_bytes()))
        return symusic.Synthesizer(sf_path=str(tuned), sample_rate=sample_rate)


def sound_font() -> Path:
    """TimGM6mb, a General MIDI sound font of 6 MB in the package pretty_midi (found without a slow import)."""
    package = importlib.util.find_spec("pretty_midi")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (path := Path(folder) / "TimGM6mb.sf2").exists():
            return path
    raise FileNotFoundError(
        "the sound font TimGM6mb.sf2 of the package pretty_midi is not installed: pip install pretty_midi"
    )


def move_root_keys(font: bytes) -> bytes:
    """Writes every overriding root key of a sound font (an sf2 file) into the header of a sample.

    The root key is the key at which a sample sounds as recorded. An instrument may override it (generator 58), but
    symusic's synthesizer reads sample headers only and would play such instruments out of tune. The result has one
    sample header for each pair of sample and root key.

    Raises:
        ValueError: not a sound font.
    """
    lists = read_chunks(font[12:]) if font[:4] == b"RIFF" and font[8:12] == b"sfbk" else []
    if [body[:4] for _, body in lists][-1:] != [b"pdta"]:
        raise ValueError("not a SoundFont 2 file: allowed is RIFF sfbk whose last list is pdta")
    tables = dict(read_chunks(lists[-1][1][4:]))
    zones = np.frombuffer(tables[b"inst"], _INST)["bag"].tolist()  # of each instrument: its first zone
    bags = np.frombuffer(tables[b"ibag"], _BAG)["gen"].tolist()  # of each zone: its first generator
    generators = np.frombuffer(tables[b"igen"], _GEN).copy()
    samples = np.frombuffer(tables[b"shdr"], _SAMPLE_HEADER)
    headers, header_of = list(samples[:-1]), {}  # the last header marks the end

    for first, last in itertools.pairwise(zones):
        default = -1
        for zone in range(first, last):
            row_of = {int(generators["oper"][row]): row for row in range(bags[zone], bags[zone + 1])}
            root = int(generators["amount"][row_of[_ROOT_KEY]]) if _ROOT_KEY in row_of else default
            if _SAMPLE not in row_of:  # the global zone: defaults of the instrument
                default = root
            elif 0 <= root <= 127:
                sample = int(generators["amount"][row_of[_SAMPLE]])
                if (sample, root) not in header_of:
                    header_of[sample, root] = len(headers)
                    header = samples[sample].copy()
                    header["pitch"] = root
                    headers.append(header)
                generators["amount"][row_of[_SAMPLE]] = header_of[sample, root]

    tables[b"igen"] = generators.tobytes()
    tables[b"shdr"] = np.array([*headers, samples[-1]], _SAMPLE_HEADER).tobytes()
    lists[-1] = (b"LIST", b"pdta" + write_chunks(list(tables.items())))
    body = b"sfbk" + write_chunks(lists)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a RIFF body: (name, content)."""
    chunks, start = [], 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        chunks.append((data[start : start + 4], data[start + 8 : start + 8 + size]))
        start += 8 + size + size % 2
    return chunks


def write_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Inverse of `read_chunks`."""
    return b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
