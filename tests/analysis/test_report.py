"""The report: one file that holds all of its music, asks for nothing from the network, and no text can break."""

import json
import re

import numpy as np
import pytest

from musicvae_jax.analysis.report import write_report
from musicvae_jax.analysis.report_page import Page, piece_json
from musicvae_jax.codec.score import TICKS_PER_QUARTER
from musicvae_jax.evaluation.load import load_workdir
from tests.data.melodies import random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir


def data_of(html: str) -> dict:
    """The data of a page, as its script reads it."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data: dict = json.loads(text)
    return data


@pytest.fixture(scope="module")
def report(tmp_path_factory, folk_data_dir) -> str:
    config = replace(
        LEVELS_CONFIG,
        data={"data_dir": folk_data_dir, "attributes": True},
        objective={"attribute_weight": 1.0},
        fine={"groups": (2, 1, 0, 0, 0), "attributes": ("note_density",)},
    )
    folder = write_workdir(tmp_path_factory.mktemp("report"), config)
    rows = [{"step": step, "nll": 9.0 - step, "kl": float("nan"), "kl_fine": 0.5 * step} for step in range(1, 5)]
    rows += [{"step": step, "validation.levels.fine.kl_per_dim.fine/rhythm[1]": 0.5 * step} for step in (2, 4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = write_report(load_workdir(folder), folder, folder / "report" / "report.html", num=3, steps=3, num_mapped=12)
    return path.read_text("utf-8")


def test_the_page_is_one_file_that_asks_for_nothing(report):
    assert "default-src 'none'" in report
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"'$]+["']""", report)
    assert "http" not in report.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_every_section_shows_pieces_that_are_there(report):
    data = data_of(report)
    sections = {section["title"]: section for section in data["sections"]}
    assert list(sections) == [
        *("Training", "KL of dims", "Reconstructions", "Samples", "Dims", "Interpolations", "Map"),
        "What dims are used for",
    ]
    shown = [
        *(number for pair in sections["Reconstructions"]["pairs"] for number in pair["numbers"]),
        *sections["Samples"]["numbers"],
        *(
            number
            for title in ("Dims", "Interpolations")
            for path in sections[title]["paths"]
            for number in path["numbers"]
        ),
        *(point["piece"] for point in sections["Map"]["points"]),
    ]
    assert sorted(shown) == list(range(len(data["pieces"])))  # each once, none unused
    for title in ("Dims", "Interpolations"):
        for path in sections[title]["paths"]:
            assert len(path["numbers"]) == len(path["labels"]) == 3
    texts = {path["title"]: path["text"] for path in sections["Dims"]["paths"]}
    assert texts["fine/rhythm[0]"] == "follows note_density" and "nothing trained" in texts["fine/pitch[0]"]
    for labels in sections["Map"]["labels"].values():
        assert len(labels["of"]) == 12 and max(labels["of"]) < len(labels["names"])


def test_curves_are_those_of_the_run_without_what_is_not_finite(report):
    (training,) = (section for section in data_of(report)["sections"] if section["title"] == "Training")
    series = {(chart["title"], one["name"]): one["points"] for chart in training["charts"] for one in chart["series"]}
    assert series == {
        ("Nats per window, training", "nll"): [[step, 9.0 - step] for step in range(1, 5)],
        ("KL of each level, nats per window", "fine"): [[step, 0.5 * step] for step in range(1, 5)],
    }


def test_the_kl_of_dims_is_that_of_the_last_validation_with_the_colour_of_the_group(report):
    (section,) = (section for section in data_of(report)["sections"] if section["title"] == "KL of dims")
    assert section["levels"] == [
        {"title": "fine: 2.0 nats", "groups": ["rhythm", "pitch"], "bars": [["fine/rhythm[1]", 0, 2.0]]}
    ]


def test_every_group_of_every_latent_has_its_use_for_measures_and_slots(report):
    (section,) = (s for s in data_of(report)["sections"] if s["title"] == "What dims are used for")
    titles = [shown["title"] for shown in section["matrices"]]
    assert titles == ["By measure", "By slot"]  # a melody has one field
    for shown in section["matrices"]:
        assert shown["rows"] == section["matrices"][0]["rows"]
        assert {row.partition("@")[0] for row in shown["rows"]} >= {"fine/rhythm", "fine/pitch"}
        values = np.array(shown["values"])
        assert values.shape == (len(shown["rows"]), len(shown["columns"])) and np.abs(values).max() > 0
    totals = [np.sum(shown["values"]) for shown in section["matrices"]]
    np.testing.assert_allclose(totals, totals[0], rtol=0.02)  # the same nats, split in two ways


def test_a_piece_keeps_its_notes_and_bar_lines():
    score = random_melody(0, 5)
    piece = piece_json(score, "A title")
    notes = np.array(piece["notes"])
    np.testing.assert_allclose(notes[:, :2] * TICKS_PER_QUARTER, score.notes[:, :2], atol=0.03)
    np.testing.assert_array_equal(notes[:, 2:], score.notes[:, 2:])
    assert piece["bars"] == [0, 4, 8, 12, 16] and piece["end"] == 20 and piece["tempo"] == score.tempo


def test_no_title_can_end_the_script_that_holds_it():
    page, title = Page(), "</script><script>alert(1)</script>{{DATA}} & \u2028"
    page.section(title, title, "pieces", numbers=[page.add(random_melody(0, 1), title)])
    html = page.html(title, "")
    data = data_of(html)
    assert data["title"] == data["sections"][0]["title"] == data["pieces"][0]["title"] == title
    assert html.count("</script>") == data_of_count(html)


def data_of_count(html: str) -> int:
    """How many scripts a page begins."""
    return html.count("<script")
