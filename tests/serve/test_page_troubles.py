"""What goes wrong, in a real browser: servers that are away, busy, starting or locked, bad files and hostile names."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from pages_server import (  # noqa: F401 - the fixtures
    HOSTILE,
    MARKS,
    TAG,
    Served,
    answered,
    browser_fixture,
    digits,
    drop,
    expect,
    models_fixture,
    server_fixture,
    table,
    window,
)  # fmt: skip

from resnets.evaluation.records import csv_text

pytestmark = MARKS
THREE = digits(3)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl is installed")
def test_copied_request_asks_the_same_whatever_the_file_is_called(browser, server, tmp_path):
    name, data = "it's $(touch ran) `touch ran`; touch ran #\".png", THREE["digit-001.png"]
    (tmp_path / name).write_bytes(data)
    with window(browser, server.url) as page:
        drop(page, {name: data})
        answered(page, 1)
        page.click(".request summary")
        page.click(".request button")
        page.get_by_role("button", name="Copied").wait_for()
        line = page.evaluate("navigator.clipboard.readText()")
        said = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True).stdout
        assert json.loads(said)["classes"][0]["name"] == page.inner_text(".card h2")
        assert [each.name for each in tmp_path.iterdir()] == [name]


def test_what_is_no_picture_is_told_from_what_cannot_be_read_and_what_is_too_large(browser, server):
    with window(browser, server.url, "422") as page:
        sent = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        drop(page, {"notes.txt": b"hello"}, "text/plain")
        drop(page, {"large.png": bytes(16_000_001)})
        page.locator("#list .why").nth(1).wait_for()
        assert page.locator("#list .why").all_inner_texts() == [
            "This is no picture (text/plain).",
            "This file has 16.0 MB; the server takes at most 16 MB.",
        ]
        assert not sent
        drop(page, {"broken.png": THREE["digit-000.png"][:60], **THREE})
        answered(page, 3)
        assert "cannot read this picture" in page.locator("#list .why").nth(2).inner_text()
        assert [bool(row["error"]) for row in table(page)[1]] == [True, True, True, False, False, False]
        assert "failed: 3" in page.inner_text("#counts")


def test_pictures_wait_for_a_server_that_is_gone_and_go_on_when_it_is_back(browser, models):
    served = Served(*models).start()
    try:
        with window(browser, served.url, "ERR_CONNECTION", "ERR_EMPTY", "ERR_SOCKET") as page:
            drop(page, {"before.png": THREE["digit-000.png"]})
            answered(page, 1)
            served.kill()
            drop(page, {"after.png": THREE["digit-001.png"]})
            page.get_by_text("The server does not answer").wait_for()
            assert page.locator("#list .pending").count() == 1
            served.start()
            page.get_by_role("button", name="Try again").click()
            answered(page, 2)
            page.locator("#banner").wait_for(state="hidden")
    finally:
        served.kill()


def test_a_busy_server_is_asked_again(browser, server):
    with window(browser, server.url, "503") as page:
        times = []

        def busy(route):
            times.append(1)
            body = json.dumps({"error": "too much is waiting already; try again", "request": "x"})
            if len(times) < 3:
                route.fulfill(status=503, headers={"Retry-After": "1"}, body=body)
            else:
                route.continue_()

        page.route("**/predict?**", busy)
        drop(page, {"one.png": THREE["digit-000.png"]})
        answered(page, 1)
        assert len(times) == 3


def test_a_server_that_starts_is_waited_for(browser, server):
    with window(browser, server.url) as page:
        times = []

        def starting(route):
            times.append(1)
            facts = route.fetch().json()
            route.fulfill(json=facts if len(times) > 3 else {**facts, "ready": False, "engine": None})

        page.route("**/model", starting)
        page.reload()
        page.get_by_text("The model is starting").wait_for()
        drop(page, {"early.png": THREE["digit-000.png"]})
        assert page.locator("#list .pending").count() == 1
        answered(page, 1)
        assert page.locator("#banner").is_hidden()


def test_a_token_is_asked_for_and_sent(browser, models):
    served = Served(models[0], "--token", "secret-1").start()
    try:
        with window(browser, served.url, "401") as page:
            drop(page, {"locked.png": THREE["digit-000.png"]})
            page.fill("#token", "wrong")
            page.get_by_role("button", name="Continue").click()
            expect(page.locator("#list .pending")).to_have_count(1)
            page.fill("#token", "secret-1")
            page.get_by_role("button", name="Continue").click()
            answered(page, 1)
            assert "secret-1" not in page.content()
            assert '"Authorization: Bearer $TOKEN"' in page.locator("pre code").text_content()
            page.click("#tab-run")
            with page.expect_download() as saved:
                page.get_by_role("button", name="Save the report").click()
            assert "<h1>" in Path(saved.value.path()).read_text()
    finally:
        served.kill()


def test_hostile_names_are_text_everywhere(browser, server):
    with window(browser, server.url) as page:
        page.select_option("#models", "hostile")
        expect(page.locator("#name")).to_have_text("hostile")
        drop(page, {f"{TAG}.png".replace("/", ""): THREE["digit-000.png"], "=cmd|' '!A1": THREE["digit-001.png"]})
        answered(page, 2)
        assert page.locator("h2.unsure").count() == 2
        for row in range(5):
            page.locator(".bars button").nth(row).click()
        page.locator("canvas.heat").first.wait_for()
        page.click("#tab-network")
        page.click("#network details summary")
        assert TAG in page.inner_text("#network .names")
        assert page.locator("#network .names li").nth(2).inner_text() == "a\\u202eb\\n<b>c"
        assert page.locator("img[src=x], #page b i, #page script").count() == 0
        page.click("#tab-pictures")
        rows = table(page)[1]
        assert rows[1]["file"] == "'=cmd|' '!A1"
        named = {cell for row in rows for cell in row.values()}
        assert named & {"'=1+1", TAG, "x,\"y'", "a\\u202eb\\n<b>c"}


def test_csv_cells_and_shell_words_are_those_of_the_command_and_the_shell(browser, server):
    names = [
        *HOSTILE,
        "\x1b[2J",
        "a\tb",
        "\r\n",
        "\u2028",
        "\U0001f600",
        "\U000e0001",
        "'",
        '""',
        "-n",
        "@x",
        "",
        "é\u00a0",
    ]
    with window(browser, server.url) as page:
        ours = page.evaluate("async rows => (await import('/safe.js')).csv(rows)", [[name, "1"] for name in names])
        assert ours == csv_text([names[0], "1"], [[name, "1"] for name in names[1:]])
        for name in names:
            word = page.evaluate("async name => (await import('/safe.js')).quoted(name)", name)
            said = subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout
            assert said == "".join(c if c.isprintable() else "?" for c in name)


def test_without_script_the_page_says_what_to_do(browser, server):
    with window(browser, server.url, java_script_enabled=False) as page:
        assert "curl --data-binary" in page.inner_text("body")
        assert not page.locator("#page").is_visible()
