import wave

import numpy as np
import pytest

from musicvae_jax.analysis.audio import SAMPLE_RATE, listen, render, write_wav
from musicvae_jax.codec import MusicError
from tests.analysis.scores import SCALE, make_score


def peak_frequency(audio, sample_rate=SAMPLE_RATE):
    spectrum = np.abs(np.fft.rfft(audio.sum(0) * np.hanning(audio.shape[1])))
    return np.fft.rfftfreq(audio.shape[1], 1 / sample_rate)[spectrum.argmax()]


def read_wav(path):
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return samples.T, file.getframerate()


@pytest.mark.parametrize("sample_rate", [22050, 44100])
def test_a4_is_440_hertz(sample_rate):
    assert peak_frequency(render(make_score([(0, 8, 69)]), sample_rate), sample_rate) == pytest.approx(440, rel=0.01)


@pytest.mark.parametrize("pitch", range(28, 100, 3))
def test_every_region_of_the_keyboard_is_in_tune(pitch):
    # Each group of keys has a sample of its own; the strongest partial may be any of the first few.
    partial = peak_frequency(render(make_score([(0, 8, pitch)]))) / (440 * 2 ** ((pitch - 69) / 12))
    assert 1 <= round(partial) <= 6
    assert partial == pytest.approx(round(partial), rel=0.01)


def test_duration_is_that_of_the_measures():
    for tempo in (60.0, 120.0, 93.0):
        for notes in ([], SCALE, SCALE[:1]):
            audio = render(make_score(notes, tempo=tempo))
            assert audio.shape == (2, round(8 * 60 / tempo * SAMPLE_RATE))
            assert audio.dtype == np.float32


def test_twice_the_tempo_is_half_as_long_and_comes_twice_as_early():
    def onset(tempo):
        loud = np.abs(render(make_score([(4, 1, 69)], tempo=tempo))).max(0) > 0.01
        return loud.argmax() / SAMPLE_RATE

    slow, fast = (render(make_score(SCALE, tempo=tempo)) for tempo in (80.0, 160.0))
    assert slow.shape[1] == 2 * fast.shape[1]
    assert onset(80.0) == pytest.approx(3.0, abs=0.01)
    assert onset(160.0) == pytest.approx(1.5, abs=0.01)


def test_no_notes_are_silence():
    assert not render(make_score([])).any()
    assert render(make_score(SCALE)).any()


def test_the_end_does_not_click():
    assert abs(render(make_score([(0, 8, 40)]))[:, -1]).max() == 0


def test_an_invalid_score_is_refused():
    with pytest.raises(MusicError, match="outside the measures"):
        render(make_score([(9, 1, 60)]))


def test_wav_holds_the_samples(tmp_path):
    audio = np.array([[0.0, 0.5, -0.25], [0.1, 0.0, 0.2]])
    write_wav(audio, tmp_path / "new" / "a.wav", 8000, peak=None)
    samples, rate = read_wav(tmp_path / "new" / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(samples / 32767, audio, atol=0.5 / 32767)


@pytest.mark.parametrize(("peak", "loudest"), [(None, 1.0), (0.7, 0.7)])
def test_wav_does_not_clip(tmp_path, peak, loudest):
    audio = np.array([[0.0, 3.0, -1.5, 0.75]])
    write_wav(audio, tmp_path / "a.wav", peak=peak)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav")[0] / 32767, audio / 3 * loudest, atol=0.5 / 32767)


def test_wav_of_silence_and_of_nothing(tmp_path):
    for length in (0, 5):
        write_wav(np.zeros((2, length)), tmp_path / "a.wav")
        assert read_wav(tmp_path / "a.wav")[0].tolist() == [[0] * length] * 2 if length else True


def test_bad_audio_leaves_the_old_file(tmp_path):
    write_wav(np.ones((1, 3)), tmp_path / "a.wav")
    before = (tmp_path / "a.wav").read_bytes()
    for audio, peak in ((np.full((1, 3), np.nan), 0.7), (np.ones(3), 0.7), (np.ones((1, 3)), 1.5)):
        with pytest.raises(ValueError, match="allowed is"):
            write_wav(audio, tmp_path / "a.wav", peak=peak)
    assert (tmp_path / "a.wav").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_listen_gives_a_player():
    pytest.importorskip("IPython")
    player = listen(make_score(SCALE), sample_rate=8000)
    assert player.data[:4] == b"RIFF"
