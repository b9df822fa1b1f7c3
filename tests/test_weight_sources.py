"""Weights from a server, which here runs on this machine."""

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn

from tokenseg import weight_sources
from tokenseg.engine.checkpoint import Checkpointer
from tokenseg.weight_sources import local_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(BaseHTTPRequestHandler):
    """Serves one file at every address that ends in its name, with the headers that the hub's client expects."""

    def __init__(self, *args, content, asked, **kwargs):
        self.content, self.asked = content, asked
        super().__init__(*args, **kwargs)

    def do_HEAD(self):
        self.asked.append(f"{self.command} {self.path}")
        found = self.path == "/" or self.path.endswith("/model.pth")
        self.send_response(200 if found else 404)
        digest = hashlib.sha256(self.content).hexdigest()
        for name, value in {
            "Content-Length": len(self.content) if found else 0,
            "ETag": f'"{digest}"',
            "X-Repo-Commit": COMMIT,
            **({} if found else {"X-Error-Code": "EntryNotFound"}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        return found

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address of a server of weights, their checksum, the model they belong to, and the requests to the server."""
    model, asked = nn.Linear(2, 3), []
    torch.save({"model": model.state_dict()}, tmp_path / "served.pth")
    content = (tmp_path / "served.pth").read_bytes()
    monkeypatch.setattr(weight_sources.constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    monkeypatch.setattr(weight_sources.constants, "HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, content=content, asked=asked)) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", hashlib.sha256(content).hexdigest(), model, asked
        server.shutdown()


def test_a_checkpoint_from_the_web_is_downloaded_once(served):
    address, digest, model, asked = served
    for _ in range(2):
        loaded = nn.Linear(2, 3)
        Checkpointer(loaded).load(f"{address}/some/model.pth#sha256={digest}")
        assert torch.equal(loaded.weight, model.weight)
    assert asked == ["GET /some/model.pth"]


def test_weights_from_the_hub(served, monkeypatch):
    address, digest, model, asked = served
    # set by the environment variable HF_ENDPOINT
    monkeypatch.setattr(weight_sources.constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(weight_sources.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    path = local_file(f"hf://me/my-model@v1/deep/model.pth#sha256={digest}")
    assert torch.equal(torch.load(path)["model"]["weight"], model.weight)
    assert "GET /me/my-model/resolve/v1/deep/model.pth" in asked
    with pytest.raises(ValueError, match=r"has the SHA-256 checksum [0-9a-f]{64}; wanted 00"):
        local_file(f"hf://me/my-model@v1/deep/model.pth#sha256={'0' * 64}")
    with pytest.raises(ValueError, match=r"other.pth is not in the local cache of the hub .* no such file"):
        local_file("hf://me/my-model/other.pth")


def test_a_wrong_checksum_leaves_nothing_behind(served, tmp_path):
    address, *_ = served
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be downloaded: invalid hash value"):
            local_file(f"{address}/model.pth#sha256={'0' * 64}")
    assert not list(tmp_path.glob("home/tokenseg/*/model.pth"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://127.0.0.1:9/model.pth", "not protected against changes; wanted https://, or #sha256=DIGEST"),
        ("https://127.0.0.1:9/model.pth", "'https://127.0.0.1:9/model.pth' cannot be downloaded: .*refused"),
        ("https://127.0.0.1:9/model.pth#sha256=12", "wanted #sha256= and 64 hexadecimal digits"),
        ("https://127.0.0.1:9/", "names no file; wanted https://HOST"),
        ("hf://owner/model.pth", "is not the address of a file on the hub; wanted hf://OWNER/REPOSITORY/FILE"),
    ],
)
def test_addresses_that_cannot_be(source, message, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_sources.constants, "HF_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        local_file(source)


def test_a_path_stays_a_path():
    assert local_file("output/model_final.pth") == "output/model_final.pth" and local_file("") == ""
