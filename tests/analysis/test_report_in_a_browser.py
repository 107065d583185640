"""The report in a headless Chromium: no error, no request, sliders and the map change the music, players play."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musicvae_jax.analysis.report import write_report
from musicvae_jax.evaluation.load import load_workdir
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

pytestmark = pytest.mark.browser

NOTES = "return arguments[0].getAttribute('aria-label')"
PICTURE = "return arguments[0].toDataURL()"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, folk_data_dir: str) -> Path:
    folder = write_workdir(tmp_path_factory.mktemp("report"), replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir}))
    return write_report(load_workdir(folder), folder, folder / "report.html", num=3, steps=3, num_mapped=12)


@pytest.fixture(params=[(1280, False), (390, True)], ids=["wide", "narrow, dark"])
def browser(request: pytest.FixtureRequest, page: Path) -> Iterator[Any]:
    """The page in a window of this width."""
    from selenium import webdriver

    width, dark = request.param
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.get(page.as_uri())
    yield driver
    errors = driver.get_log("browser")
    asked = [entry["message"] for entry in driver.get_log("performance") if "requestWillBeSent" in entry["message"]]
    driver.quit()
    assert not errors
    assert all(page.as_uri() in message or '"url":"data:' in message for message in asked)


def find(driver: Any, selector: str) -> list[Any]:
    return list(driver.find_elements("css selector", selector))


def test_the_page_fits_its_window_and_draws_every_roll(browser):
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    rolls = find(browser, "canvas")
    assert len(rolls) > 10
    empty = browser.execute_script(
        "const c = document.createElement('canvas'); c.width = arguments[0].width; c.height = arguments[0].height;"
        "return c.toDataURL()",
        rolls[0],
    )
    assert all(browser.execute_script(PICTURE, roll) != empty for roll in rolls)
    dark = browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 24, 27)" if dark else "rgb(255, 255, 255)")


def test_the_arrow_keys_move_a_slider_and_the_roll_follows(browser):
    from selenium.webdriver.common.keys import Keys

    slider = find(browser, "#interpolations input[type=range]")[0]
    roll = find(browser, "#interpolations canvas")[0]
    seen = []
    for _ in range(3):
        seen.append((browser.execute_script(PICTURE, roll), slider.get_attribute("aria-valuetext")))
        slider.send_keys(Keys.ARROW_RIGHT)
    assert len({picture for picture, _ in seen}) > 1
    assert [text for _, text in seen] == ["0%", "50%", "100%"]


def test_a_player_plays_one_piece_at_a_time_and_escape_stops_it(browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    first, second = find(browser, "#samples button")[:2]
    roll = find(browser, "#samples canvas")[0]
    silent = browser.execute_script(PICTURE, roll)
    first.send_keys(Keys.ENTER)
    assert first.text == "Stop"
    WebDriverWait(browser, 10).until(
        lambda driver: driver.execute_script(PICTURE, roll) != silent
    )  # the playhead moves
    assert browser.execute_script("return audio.state") == "running"
    second.send_keys(Keys.ENTER)
    assert (first.text, second.text) == ("Play", "Stop")
    find(browser, "body")[0].send_keys(Keys.ESCAPE)
    assert (first.text, second.text) == ("Play", "Play")
    assert browser.execute_script(PICTURE, roll) == silent


def test_the_map_shows_the_tune_that_is_pointed_at_and_plays_it_on_request(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    dots, heading = find(browser, "#map circle"), find(browser, "#map h3")[0]
    roll = find(browser, "#map canvas")[0]
    labels = []
    for dot in dots[:3]:
        browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseenter'))", dot)
        labels.append(browser.execute_script(NOTES, roll))
        assert heading.text == dot.get_attribute("aria-label")
    assert len(set(labels)) > 1
    browser.execute_script("arguments[0].focus()", dots[0])
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ENTER).perform()
    assert heading.text == dots[1].get_attribute("aria-label")
    assert find(browser, "#map button")[0].text == "Stop"
    find(browser, "body")[0].send_keys(Keys.ESCAPE)
    find(browser, "#hover")[0].send_keys(Keys.SPACE)
    browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseenter'))", dots[2])
    assert find(browser, "#map button")[0].text == "Stop"
