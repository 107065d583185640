import dataclasses
import struct
import wave

import numpy as np
import pytest

from musicvae_jax.analysis import audio as sound
from musicvae_jax.analysis.piano_rolls import piano_roll
from musicvae_jax.codec import write_midi
from musicvae_jax.config import UserError
from tests.analysis.scores import SCALE, make_score


def peak_frequency(audio, sample_rate=sound.SAMPLE_RATE):
    spectrum = np.abs(np.fft.rfft(audio.sum(0) * np.hanning(audio.shape[1])))
    return np.fft.rfftfreq(audio.shape[1], 1 / sample_rate)[spectrum.argmax()]


def read_wav(path):
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return samples.T, file.getframerate()


@pytest.mark.parametrize("sample_rate", [22050, 44100])
def test_a4_has_440_hertz(sample_rate):
    audio = sound.render(make_score([(0, 8, 69)]), sample_rate)
    assert peak_frequency(audio, sample_rate) == pytest.approx(440, rel=0.01)


@pytest.mark.parametrize("pitch", range(28, 100, 3))
def test_all_regions_of_the_keyboard_are_in_tune(pitch):
    # Each group of keys has its own sample; the strongest partial may be any of the first six.
    partial = peak_frequency(sound.render(make_score([(0, 8, pitch)]))) / (440 * 2 ** ((pitch - 69) / 12))
    assert 1 <= round(partial) <= 6
    assert partial == pytest.approx(round(partial), rel=0.01)


@pytest.mark.parametrize("tempo", [60.0, 120.0, 93.0])
def test_audio_is_as_long_as_the_measures_and_ends_at_zero(tempo):
    for notes in ([], SCALE, SCALE[:1], [(0, 8, 40)]):
        audio = sound.render(make_score(notes, tempo=tempo))
        assert audio.shape == (2, round(8 * 60 / tempo * sound.SAMPLE_RATE)) and audio.dtype == np.float32
        assert audio.any() == bool(notes)
        assert not audio[:, -1].any()


def test_onset_time_is_inversely_proportional_to_the_tempo():
    for tempo, seconds in ((80.0, 3.0), (160.0, 1.5)):
        loud = np.abs(sound.render(make_score([(4, 1, 69)], tempo=tempo))).max(0) > 0.01
        assert loud.argmax() / sound.SAMPLE_RATE == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ("audio", "peak", "scale"),
    [
        ([[0.0, 0.5, -0.25], [0.1, 0.0, 0.2]], None, 1.0),
        ([[0.0, 3.0, -1.5, 0.75]], None, 1 / 3),  # would clip
        ([[0.0, 3.0, -1.5, 0.75]], 0.7, 0.7 / 3),
        ([[0.0] * 5] * 2, 0.7, 1.0),
        (np.zeros((2, 0)), 0.7, 1.0),
    ],
)
def test_a_wav_file_holds_the_scaled_samples(audio, peak, scale, tmp_path):
    sound.write_wav(np.array(audio), tmp_path / "new" / "a.wav", 8000, peak=peak)
    samples, rate = read_wav(tmp_path / "new" / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(samples / 32767, np.array(audio) * scale, atol=0.5 / 32767)


def test_invalid_audio_leaves_the_old_file(tmp_path):
    sound.write_wav(np.ones((1, 3)), tmp_path / "a.wav")
    before = (tmp_path / "a.wav").read_bytes()
    for audio, peak in ((np.full((1, 3), np.nan), 0.7), (np.ones(3), 0.7), (np.ones((1, 3)), 1.5)):
        with pytest.raises(ValueError, match="allowed is"):
            sound.write_wav(audio, tmp_path / "a.wav", peak=peak)
    assert (tmp_path / "a.wav").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_score_is_written_as_it_is_played(tmp_path):
    sound.write_wav(make_score(SCALE), tmp_path / "score.wav", 8000)
    sound.write_wav(sound.render(make_score(SCALE), 8000), tmp_path / "audio.wav", 8000)
    assert (tmp_path / "score.wav").read_bytes() == (tmp_path / "audio.wav").read_bytes()


@pytest.mark.parametrize("call", [sound.render, sound.listen, piano_roll, lambda path: write_midi(path, "a.mid")])
@pytest.mark.parametrize("wrong", ["tune.mid", [make_score(SCALE)]])
def test_what_is_no_score_is_refused_in_words(call, wrong):
    with pytest.raises(UserError, match=r"score = .*: allowed is a Score; read_score gives the scores of a file"):
        call(wrong)


def test_listen_returns_a_player():
    pytest.importorskip("IPython")
    assert sound.listen(make_score(SCALE), sample_rate=8000).data[:4] == b"RIFF"


def make_font(zones, root_keys):
    """A sound font with one instrument; zones are lists of (generator, amount), root keys are those of the samples."""
    starts = np.cumsum([0, *map(len, zones)])
    tables = {
        b"inst": struct.pack("<20sH20sH", b"one", 0, b"EOI", len(zones)),
        b"ibag": b"".join(struct.pack("<HH", start, 0) for start in starts),
        b"igen": b"".join(struct.pack("<HH", *generator) for zone in zones for generator in zone) + bytes(4),
        b"shdr": b"".join(struct.pack("<40sBbHH", bytes([65 + n]), key, 0, 0, 1) for n, key in enumerate(root_keys))
        + bytes(46),
    }
    lists = [(b"LIST", b"sdta"), (b"LIST", b"pdta" + sound.write_chunks(list(tables.items())))]
    body = b"sfbk" + sound.write_chunks(lists)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def samples_of_zones(font):
    """(name, root key in the header) of each zone's sample."""
    tables = dict(sound.read_chunks(sound.read_chunks(font[12:])[-1][1][4:]))
    headers = [tables[b"shdr"][start : start + 46] for start in range(0, len(tables[b"shdr"]), 46)]
    samples = [amount for oper, amount in struct.iter_unpack("<HH", tables[b"igen"][:-4]) if oper == 53]
    return [(headers[sample][:1], headers[sample][40]) for sample in samples]


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ([[(53, 0)], [(53, 1)]], [(b"A", 60), (b"B", 72)]),  # nothing to override
        ([[(58, 83), (53, 0)], [(53, 0)]], [(b"A", 83), (b"A", 60)]),  # one sample, two root keys
        ([[(58, 83), (53, 0)], [(58, 83), (53, 0)]], [(b"A", 83), (b"A", 83)]),
        ([[(58, 50)], [(53, 0)], [(58, 83), (53, 1)]], [(b"A", 50), (b"B", 83)]),  # a global zone
        ([[(58, 65535), (53, 1)]], [(b"B", 72)]),  # -1: no override
    ],
)
def test_root_keys_move_to_the_headers(zones, expected):
    assert samples_of_zones(sound.move_root_keys(make_font(zones, [60, 72]))) == expected


def test_equal_pairs_share_a_header_and_moving_is_idempotent():
    font = make_font([[(58, 83), (53, 0)]] * 5, [60])
    moved = sound.move_root_keys(font)
    assert len(moved) == len(font) + 46
    assert samples_of_zones(sound.move_root_keys(moved)) == samples_of_zones(moved)


def test_moving_root_keys_changes_only_the_tables():
    font = sound.sound_font().read_bytes()
    before, after = sound.read_chunks(font[12:]), sound.read_chunks(sound.move_root_keys(font)[12:])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


@pytest.mark.parametrize("data", [b"", b"RIFF1234WAVE", b"RIFF\x04\0\0\0sfbk", bytes(100)])
def test_other_data_than_a_sound_font_is_refused(data):
    with pytest.raises(ValueError, match="not a SoundFont 2 file"):
        sound.move_root_keys(data)


def test_long_music_is_cut_and_not_rendered_whole():
    """Two notes six hundred measures apart at four quarters a minute: ten hours, as from a file of 53 bytes."""
    whole = make_score([(0, 2, 60), (1, 1, 64)], tempo=4.0)
    far = np.array([[2400 * 480, 480, 67, 80, 0]], np.int32)
    measures = np.stack([np.arange(601) * 1920, np.full(601, 4), np.full(601, 4)], 1).astype(np.int32)
    long = dataclasses.replace(whole, notes=np.concatenate([whole.notes, far]), measures=measures)
    assert sound.seconds_of(long) == pytest.approx(601 * 4 * 15)
    audio = sound.render(long, 8000, longest=20.0)
    assert audio.shape == (2, 160_000) and np.abs(audio[:, :8000]).max() > 0.01 and (audio[:, -1] == 0).all()
    np.testing.assert_array_equal(audio[:, :100_000], sound.render(long, 8000, longest=30.0)[:, :100_000])
    with pytest.raises(ValueError, match=r"longest = 0: allowed is above 0"):
        sound.render(long, longest=0)
