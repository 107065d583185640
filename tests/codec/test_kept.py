"""What the shares of kept music are shares of."""

from hypothesis import given

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, VoicesCodec, kept_shares
from tests.codec.music import SIXTEENTHS, score_of
from tests.codec.polyphony import chorales, performances

PERFORMANCE = PerformanceCodec(slots=9, velocities=64, tracks=4)


def test_shares_by_hand():
    chord = [(0, 480, 60, 80, 0), (0, 480, 64, 80, 0)]
    piece = [(0, 480, 60, 81, 0), (490, 470, 62, 80, 0), (960, 480, 64, 127, 0), (970, 470, 65, 80, 1)]
    scores = [score_of(chord), score_of(piece)]
    assert kept_shares(scores, VoicesCodec()) == {"pieces": 0.5, "notes": 1, "onsets": 0.5, "velocities": 0.75}
    assert kept_shares(scores, MelodyCodec())["pieces"] == 0
    assert kept_shares([], MelodyCodec()) == {"pieces": 1, "notes": 1, "onsets": 1, "velocities": 1}


@given(chorales(lengths=SIXTEENTHS))
def test_what_lies_on_the_grid_is_kept_whole(score):
    assert set(kept_shares([score], VoicesCodec()).values()) == {1}


@given(performances(max_notes=60, pitches=(60, 64)))
def test_notes_kept_are_those_of_the_quantised_score(score):
    shares, kept = kept_shares([score], PERFORMANCE), PERFORMANCE.quantise(score).notes
    if len(score.notes):
        assert shares["notes"] == len(kept) / len(score.notes)
        onsets = set(map(tuple, score.notes[:, [0, 2, 4]].tolist()))
        stayed = sum((row[0], row[2], row[4]) in onsets for row in kept.tolist())
        assert shares["onsets"] * len(score.notes) <= stayed + 1e-9
    assert shares["pieces"] == 1 and shares["velocities"] == shares["notes"]  # 64 levels are two apart
