"""The page in a real browser: Chromium without a window, driven by Playwright, against a real server process."""

import csv
import io
import os
import re
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from pages_server import (  # noqa: F401 - the fixtures
    MARKS,
    Served,
    answered,
    as_files,
    browser_fixture,
    digits,
    drop,
    expect,
    models_fixture,
    save_published,
    server_fixture,
    table,
    transfer,
    window,
)  # fmt: skip

import resnets
from resnets.analysis.complexity import by_stage
from resnets.data.cifar import read_cifar
from resnets.evaluation.records import csv_text
from resnets.families import network

pytestmark = MARKS
THREE = digits(3)


def test_three_pictures_get_names_probabilities_heat_maps_and_a_table(browser, server, models):
    offline = resnets.load(models[0].partition("=")[2])
    with window(browser, server.url) as page:
        drop(page, THREE)
        answered(page, 3)
        expected = {name: offline.predict(data, top=5) for name, data in THREE.items()}
        assert page.locator(".card h2").all_inner_texts() == [best[0].name for best in expected.values()]
        text, rows = table(page)
        assert [row["file"] for row in rows] == list(THREE)
        for row, best in zip(rows, expected.values(), strict=True):
            assert [row[f"class_{k}"] for k in range(1, 6)] == [each.name for each in best]
            found = [float(row[f"probability_{k}"]) for k in range(1, 6)]
            assert np.allclose(found, [each.probability for each in best], atol=1e-4)
            assert row["error"] == ""
            assert row["sure"] == ("yes" if best[0].probability >= offline.bundle.reject_below else "no")
        header, *lines = list(csv.reader(io.StringIO(text)))
        assert text == csv_text(header, lines)
        assert (
            page.locator(".card .frame img").first.evaluate("image => image.naturalWidth")
            == offline.bundle.preprocessing.size
        )

        card = page.locator(".card").first
        card.get_by_role("button", name="Where it looked").click()
        colours = card.locator("canvas.heat").evaluate(
            "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, 256, 256).data).size"
        )
        assert colours > 100
        card.locator("input[type=range]").fill("20")
        expect(card.locator("canvas.heat")).to_have_css("opacity", "0.2")
        card.locator(".bars button").nth(1).click()
        second = expected["digit-000.png"][1].name
        card.locator(".panel", has_text=f"What speaks for \u2068{second}\u2069").wait_for()
        assert card.locator("[aria-pressed=true]").count() == 1
        card.get_by_role("button", name="Hide where it looked").click()
        assert card.locator("canvas.heat").count() == 0


def test_pasted_chosen_and_cleared_pictures_and_another_model(browser, server, tmp_path):
    files = list(THREE.items())
    (tmp_path / files[1][0]).write_bytes(files[1][1])
    with window(browser, server.url) as page:
        expect(page.locator("#models option")).to_have_count(2)
        pasted = transfer(page, dict(files[:1]))
        page.evaluate("data => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", pasted)
        page.set_input_files("#choose", tmp_path / files[1][0])
        answered(page, 2)
        before = page.locator(".card h2").all_text_contents()
        page.select_option("#models", "hostile")
        expect(page.locator("#counts")).to_contain_text("not sure: 2")
        assert page.locator(".card h2").all_text_contents() == ["Not sure"] * 2 != before
        page.select_option("#models", "digits")
        expect(page.locator(".card h2")).to_have_text(before)
        page.click("#clear")
        assert page.locator("#list > li").count() == 0
        expect(page.locator("#summary")).to_be_hidden()


def test_a_photograph_is_taken_and_timed(browser, server, tmp_path):
    """The camera's file goes the same way; the card says how long the picture took, and the bar that all are done."""
    name, data = next(iter(THREE.items()))
    (tmp_path / name).write_bytes(data)
    with window(browser, server.url, viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True) as page:
        page.set_input_files("#camera", tmp_path / name)
        answered(page, 1)
        said = page.locator(".card").inner_text()
        times = re.search(r"([\d.]+) ms: decoding ([\d.]+), waiting ([\d.]+), network ([\d.]+)", said)
        whole, *parts = map(float, times.groups())
        assert 0 < whole == pytest.approx(sum(parts), abs=0.2)
        assert page.locator("#progress").evaluate("bar => bar.value / bar.max") == 1


def test_an_answer_that_comes_late_is_not_taken_for_that_of_another_model(browser, server):
    with window(browser, server.url) as page:
        held = []
        page.route("**/predict?model=digits*", lambda route: held.append(route))
        with page.expect_request("**/predict?model=digits*"):
            drop(page, {"late.png": THREE["digit-000.png"]})
        page.select_option("#models", "hostile")
        expect(page.locator(".card h2")).to_have_text("Not sure")
        with page.expect_response("**/predict?model=digits*"):
            held[0].continue_()
        page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 200))")
        assert page.inner_text(".card h2") == "Not sure"


def test_heat_has_the_colours_of_explain(browser, server):
    steps = np.linspace(0, 1, 101)
    with window(browser, server.url) as page:
        ours = page.evaluate(
            "async steps => { const m = await import('/heat.js'); return steps.map(m.colour); }", steps.tolist()
        )
        flat = page.evaluate("async () => (await import('/heat.js')).spread([[0, 0], [0, 0]], 4).flat()")
        ramp = page.evaluate("async () => (await import('/heat.js')).spread([[0, 2], [2, 4]], 4)")
    theirs = 255 * matplotlib.colormaps["inferno"](steps)[:, :3]
    assert np.abs(np.array(ours) - theirs).max() < 8
    assert flat == [0] * 16
    assert np.allclose(ramp, np.add.outer([0, 0.125, 0.375, 0.5], [0, 0.125, 0.375, 0.5]))


def test_chinese_by_the_browser_and_by_the_switch(browser, server):
    with window(browser, server.url, locale="zh-CN") as page:
        assert page.inner_text("#tab-pictures") == "图片"
        assert page.get_attribute("html", "lang") == "zh-Hans"
        drop(page, THREE)
        answered(page, 3)
        assert "已识别 3 / 3" in page.inner_text("#counts")
        page.click("#language")
        assert "Answered: 3 of 3" in page.inner_text("#counts")
        page.get_by_role("button", name="Where it looked").first.wait_for()
        page.reload()
        page.get_by_text("Drop pictures here").wait_for()
        assert page.get_attribute("html", "lang") == "en"


def test_a_narrow_screen_never_scrolls_sideways(browser, server):
    with window(browser, server.url, viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True) as page:
        assert page.get_by_text("Take a photo").is_visible()
        page.select_option("#models", "hostile")
        drop(page, {"a-very-long-name-" * 8 + ".png": THREE["digit-000.png"]})
        answered(page, 1)
        page.get_by_role("button", name="Where it looked").click()
        page.click(".request summary")
        for tab in ("pictures", "network"):
            page.click(f"#tab-{tab}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab


def test_dark(browser, server):
    with window(browser, server.url, color_scheme="dark") as page:
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 31)"
        assert not page.get_by_text("Take a photo").is_visible()


def test_many_pictures_go_four_at_a_time_and_can_be_filtered(browser, server):
    files = digits(150)
    with window(browser, server.url) as page:
        flying, most = set(), []
        page.on("request", lambda r: (flying.add(r), most.append(len(flying))) if r.method == "POST" else None)
        page.on("requestfinished", lambda request: flying.discard(request))
        drop(page, files)
        answered(page, 150)
        assert 2 <= max(most) <= 4
        assert page.locator(".card").count() == 0
        rows = table(page)[1]
        assert len(rows) == 150
        button = page.locator("#filter button").nth(1)
        name, count = button.inner_text().split()
        assert int(count) == page.locator("#list b").all_text_contents().count(name) > 0
        button.click()
        assert page.locator("#list > li:visible").count() == int(count)
        page.locator("#list .tile:visible").first.press("Enter")
        assert page.locator(".card h2").inner_text() == name
        assert page.locator("img").evaluate_all("images => images.every((image) => image.src.startsWith('blob:'))")


def test_tabs_by_keyboard_and_the_report_of_the_run(browser, server):
    with window(browser, server.url) as page:
        page.locator("#tab-run").wait_for()
        page.focus("#tab-pictures")
        page.keyboard.press("ArrowLeft")
        assert page.get_attribute("#tab-run", "aria-selected") == "true"
        inside = page.frame_locator("#run iframe")
        for name in ("Training", "Confusion matrix", "Most confident mistakes"):
            inside.get_by_role("heading", name=name, exact=True).wait_for()
        assert inside.locator("svg").count() >= 2, "curves"
        expect(page.locator("#run iframe")).to_have_attribute("style", re.compile(r"height: [1-9]\d{3}px"))
        page.keyboard.press("ArrowRight")
        assert page.locator("#pictures").is_visible()


DRAWN = {  # network: drawings in its stages, solid shortcuts, dashed ones, folded stages
    "cifar_resnet20": (3 * 3 + 2, 9, 0, 0),
    "resnet50": (3 + 4 + 6 + 3 + 2, 12, 4, 0),
    "resnet34_c": (3 + 4 + 6 + 3 + 2, 0, 16, 0),
    "plain34": (3 + 4 + 6 + 3 + 2, 0, 0, 0),
    "preresnet152": (3 + 2 + 2 + 3 + 2, 2 + 1 + 1 + 2, 4, 2),
    "cifar_highway20": (11, 9, 0, 0),
    "cifar_resnet1202": (3 * 2 + 2, 6, 0, 3),
    "vgg16": (13 + 5 + 1, 0, 0, 0),
}


@pytest.mark.parametrize("name", DRAWN)
def test_networks_are_drawn_from_their_spec(name, browser, server):
    with window(browser, server.url) as page:
        page.wait_for_selector("#network .stage", state="attached")
        page.evaluate(
            "async facts => (await import('/network.js')).drawNetwork(document.querySelector('#network'), facts)",
            facts_of(name),
        )
        counts = [
            page.locator(f"#network .stage {what}").count()
            for what in (".units svg", ".shortcut:not(.projection)", ".shortcut.projection", ".folded")
        ]
        assert tuple(counts) == DRAWN[name]
        shares = page.locator("#network .stage .shares").all_text_contents()
        assert len(shares) == len(facts_of(name)["stages"])
        assert all("parameters" in share and "multiply-adds" in share for share in shares), shares[0]
        page.click("#tab-network")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1100


def facts_of(name):
    """What a server says of a network, as far as the drawing needs it."""
    spec = network(name)
    rows = [
        {"name": n, "output": list(o), "parameters": c.parameters, "multiply_adds": c.multiply_adds}
        for n, o, c in by_stage(spec)
    ]
    seen = {"size": spec.size, "channels": 3, "fit": "crop", "crop_pct": 0.875, "interpolation": "bilinear"}
    return {
        **{what: sum(row[what] for row in rows) for what in ("parameters", "multiply_adds")},
        **{"spec": asdict(spec), "stages": rows, "layers": spec.layers, "preprocessing": seen},
        **{"classes": [str(i) for i in range(spec.classes)], "temperature": 1.3, "reject_below": 0.4},
    }


PHOTOGRAPHS = ("n02088094_Afghan_hound", "n03095699_container_ship", "n03196217_digital_clock")


@pytest.mark.data
@pytest.mark.skipif(
    not {"RESNETS_SCREENSHOTS", "RESNETS_DATA"} <= os.environ.keys(), reason="RESNETS_SCREENSHOTS is not set"
)
def test_screenshots(browser, tmp_path):
    """Photographs seen by the published 20-layer network, as the README shows them."""
    data, out = Path(os.environ["RESNETS_DATA"]), Path(__file__).parent.parent.parent / "docs"
    save_published(data, tmp_path / "cifar10")
    three = {f"{name[10:]}.jpg": (data / "imagenet-sample" / f"{name}.JPEG").read_bytes() for name in PHOTOGRAPHS}
    many = as_files(read_cifar(data / "cifar-10-batches-bin").test[0][:60], "test")
    served = Served(str(tmp_path / "cifar10")).start()
    try:
        with window(browser, served.url, viewport={"width": 1000, "height": 900}) as page:
            drop(page, three, "image/jpeg")
            answered(page, 3)
            page.get_by_role("button", name="Where it looked").first.click()
            page.locator("canvas.heat").wait_for()
            page.locator(".request summary").nth(1).click()
            page.screenshot(path=out / "serve-pictures.png", full_page=True)
            page.click("#tab-network")
            page.screenshot(path=out / "serve-network.png", full_page=True)
        with window(browser, served.url, viewport={"width": 1000, "height": 900}, color_scheme="dark") as page:
            drop(page, many)
            answered(page, len(many))
            page.locator("#list .tile").nth(7).click()
            page.mouse.move(0, 0)
            page.screenshot(path=out / "serve-many.png")
        phone = {
            "viewport": {"width": 360, "height": 780},
            "has_touch": True,
            "is_mobile": True,
            "device_scale_factor": 2,
        }
        with window(browser, served.url, locale="zh-CN", **phone) as page:
            drop(page, dict(list(three.items())[:1]), "image/jpeg")
            answered(page, 1)
            page.get_by_role("button", name="看了哪里").click()
            page.locator("canvas.heat").wait_for()
            page.screenshot(path=out / "serve-phone.png", full_page=True)
    finally:
        served.kill()
