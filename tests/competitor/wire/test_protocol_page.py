"""docs/protocol.md says what the code does: its tables, its conversation, its client."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import cli
from competitor.wire import messages
from competitor.wire.messages import decode_from_client, decode_from_server, encode
from tests.competitor.daemon.shared import OBS, TOKEN
from tests.competitor.daemon.websocket_harness import Peer, Server

PAGE = (Path(cli.__file__).parent / "docs" / "protocol.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| ((?:\*?`\w+`\*?(?:, )?)+) \|", re.MULTILINE)
FRAME = re.compile(r"^([CS]) (\{.*\})$", re.MULTILINE)


def test_the_tables_list_every_field_of_every_message() -> None:
    """A field in italics is one that may be missing."""
    section = PAGE.split("\n## Messages\n")[1].split("\n## ")[0]
    listed = {name: dict(re.findall(r"`(\w+)`(\*?)", fields)) for name, fields in ROW.findall(section)}
    kinds = [*get_args(messages.ClientMessage), *get_args(messages.ServerMessage)]
    assert listed == {
        kind.model_fields["type"].default: {
            name: "" if field.is_required() else "*" for name, field in kind.model_fields.items() if name != "type"
        }
        for kind in kinds
    }


@pytest.mark.parametrize(("who", "frame"), FRAME.findall(PAGE))
def test_the_conversation_is_one(who: str, frame: str) -> None:
    message = (decode_from_client if who == "C" else decode_from_server)(frame)
    assert encode(message) == frame


def test_the_conversation_has_every_kind_but_the_rare_ones() -> None:
    said = set(re.findall(r'^[CS] \{"type":"(\w+)"', PAGE, re.MULTILINE))
    assert said == {"hello", "ready", "action", "seen", "welcome", "start", "step", "end"}


def test_bounds_are_those_of_the_code() -> None:
    assert f"version {messages.PROTOCOL_VERSION}\n" in PAGE and messages.PATH in PAGE
    assert f"{messages.MOST_BYTES // 1024} KiB" in PAGE and f"0 to {messages.MOST_MATCHES}" in PAGE
    assert f"1 to {messages.LONGEST_ID} printable" in PAGE
    for code in (messages.VERSION, messages.BAD_MESSAGE, messages.INVALID_ACTION, messages.TIMEOUT):
        assert f"| `{code}` |" in PAGE


def test_the_client_of_the_page_plays() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    async def script(peer: Peer) -> None:
        assert peer.request.headers["Authorization"] == f"Bearer {TOKEN}"
        await peer.expect("hello", version=1, client="my first client")
        await peer.send("welcome", version=1)
        await peer.expect("ready", matches=1)
        await peer.send("start", match="m1")
        for step in (1, 2):
            await peer.send("step", match="m1", step=step, obs=OBS)
            await peer.expect("action", match="m1", step=step, action=[0.0, 0.0, 0.0, 0.0])
        await peer.send("end", match="m1", own=3, other=1)
        await peer.expect("seen", match="m1")
        await peer.socket.close()

    with Server(script) as server:
        command = [sys.executable, "-c", code, server.url, TOKEN]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        server.done()
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 : 1\n", "")
