"""A real browser for tests: Debian's Chromium, driven by playwright. Where there is none, these tests are skipped."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser; skips the test with one line where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened_page(browser: Any, **settings: Any) -> Iterator[Any]:
    """A page in a window of its own. What it logs as an error, and what it raises, fails the test at the end."""
    settings = {"viewport": DESKTOP, "reduced_motion": "no-preference", **settings}
    context = browser.new_context(**settings)
    context.set_default_timeout(1000 * TIMEOUT_S)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page
        if wrong:
            pytest.fail("the page complains: " + "; ".join(wrong))
    finally:
        context.close()


def wait_until(page: Any, condition: str) -> None:
    """Wait in the page until a JavaScript expression is true; our pages forbid playwright's own way (eval)."""
    script = f"""new Promise((done, failed) => {{
        const look = () => ({condition}) ? done(true) : requestAnimationFrame(look);
        setTimeout(() => failed(new Error({condition!r} + " stays false")), {1000 * TIMEOUT_S});
        look();
    }})"""
    while True:
        try:
            page.evaluate(script)
            return
        except Exception as error:
            if "context was destroyed" not in str(error):  # the click before leads to another page: look there
                raise


def width_of(page: Any) -> tuple[int, int]:
    """(the width of what the page holds, of the window): equal where nothing is cut or has to be scrolled to."""
    found: list[int] = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return found[0], found[1]


@contextmanager
def served(app: web.Application) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """Serve an application from a thread of its own: (its address, the loop in which it runs)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(TIMEOUT_S), loop
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()
