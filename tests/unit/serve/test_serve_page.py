"""The page in a real browser, where one is installed: a dropped image comes back with its overlay."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.serve.server import Server

PAGE = Path(__file__).resolve().parents[3] / "medzoo" / "serve" / "page.html"
# Runs in the page's own origin: waits for the models, then drops an image as a hand would.
DROP = """
<script>
addEventListener("load", async () => {
  while (!document.getElementById("model").value) await new Promise((go) => setTimeout(go, 20));
  document.getElementById("model").value = "MODEL";
  const bytes = Uint8Array.from(atob("IMAGE"), (c) => c.charCodeAt(0));
  const moved = new DataTransfer();
  moved.items.add(new File([bytes], "scan.png", {type: "image/png"}));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: moved, bubbles: true}));
});
</script>
"""


def test_the_page_asks_nothing_of_other_hosts(toy_server: Server) -> None:
    response = httpx.get(f"http://127.0.0.1:{toy_server.http_port}/")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "//" not in response.text


def test_a_dropped_image_is_shown_with_its_result(
    toy_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed here")
    array = np.zeros((48, 64), np.uint8)
    array[10:30, 20:50] = 200
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    # The server serves the page it ships, with the hand added; nothing of the page itself is changed.
    from tests.unit.serve.conftest import running

    hand = DROP.replace("MODEL", "toy-segment").replace("IMAGE", image)
    shown = PAGE.read_text("utf-8").replace("</body>", f"{hand}</body>")
    monkeypatch.setattr("medzoo.serve.http_app.page", lambda: shown)
    backends = [served.batcher.backend for served in toy_server.repository.models.values()]
    with running(backends) as server:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--disable-dev-shm-usage", "--window-size=900,1000", "--virtual-time-budget=15000"]
        command += [f"--screenshot={tmp_path / 'page.png'}", "--dump-dom", f"http://127.0.0.1:{server.http_port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<strong>scan.png</strong>" in done.stdout, done.stderr[-2000:]
    assert "<th>bright</th>" in done.stdout
    assert "600 px" in done.stdout
    assert 'src="data:image/png;base64,' in done.stdout


TOKEN = """
<script>
addEventListener("load", async () => {
  const wait = async (ready) => { while (!ready()) await new Promise((go) => setTimeout(go, 20)); };
  const field = document.getElementById("token-field");
  await wait(() => !field.hidden);
  for (const [token, ready] of STEPS) {
    document.getElementById("token").value = token;
    document.getElementById("token").dispatchEvent(new Event("change"));
    await wait(() => ready === document.getElementById("status").textContent);
  }
  document.body.dataset.models = document.getElementById("model").options.length;
});
</script>
"""


@pytest.mark.parametrize(
    ("steps", "models"),
    [
        ([["right-token", ""]], 3),
        ([["wrong-token", "This token is not known here."]], 0),
        ([["wrong-token", "This token is not known here."], ["right-token", ""]], 3),
    ],
)
def test_the_page_asks_for_a_token_and_uses_it(
    toy_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[list[str]], models: int
) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed here")
    from tests.unit.serve.conftest import running

    hand = TOKEN.replace("STEPS", json.dumps(steps))
    shown = PAGE.read_text("utf-8").replace("</body>", f"{hand}</body>")
    monkeypatch.setattr("medzoo.serve.http_app.page", lambda: shown)
    backends = [served.batcher.backend for served in toy_server.repository.models.values()]
    with running(backends, token="right-token") as server:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--disable-dev-shm-usage", "--window-size=900,700", "--virtual-time-budget=15000"]
        command += [f"--screenshot={tmp_path / 'page.png'}", "--dump-dom", f"http://127.0.0.1:{server.http_port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert f'data-models="{models}"' in done.stdout, done.stderr[-2000:]
    assert steps[-1][1] in done.stdout
