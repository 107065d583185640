"""Short MusicXML documents, written by hand."""

from musicvae_jax.codec import Score, check_score, read_musicxml

BAR = '</measure><measure number="9">'
REPEAT = '<barline location="right"><bar-style>light-heavy</bar-style><repeat direction="backward"/></barline>'


def document(measures: str, attributes: str = "", head: str = "", more: str = "") -> str:
    return f"""<?xml version="1.0"?><score-partwise>{head}<part-list><score-part id="P1"><part-name>Violin</part-name>
        </score-part></part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions>
        {attributes or "<time><beats>4</beats><beat-type>4</beat-type></time>"}</attributes>{measures}</measure></part>
        {more}</score-partwise>"""


def note(step: str = "C", duration: int | str = 2, inside: str = "", octave: int = 4) -> str:
    where = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    chord = "<chord/>" if "<chord/>" in inside else ""
    return f"<note>{chord}{where}<duration>{duration}</duration>{inside.replace('<chord/>', '')}</note>"


def read(path, text) -> Score:
    path.write_text(text)
    score = read_musicxml(path)
    check_score(score)
    return score
