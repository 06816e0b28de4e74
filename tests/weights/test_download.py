"""Official weights by name, from a server on this machine that cuts, lies and refuses."""

import base64
import errno
import fcntl
import hashlib
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from aftrans_jax.weights import download
from aftrans_jax.weights.download import official_file
from aftrans_jax.weights.names import is_official, weights_name
from aftrans_jax.weights.npz import open_npz
from aftrans_jax.weights.reading import open_weights, weights_file

NAME = "imagenet21k+imagenet2012/ViT-Ti_16"
CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()


class Server(ThreadingHTTPServer):
    """Serves one file; `cuts` are the bytes after which an answer breaks off, one an answer."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.digest, self.ranges, self.cuts = CONTENT, f"crc32c=x,md5={MD5}", True, []
        self.tells_size, self.requests = True, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        content, wanted = self.server.content, self.headers.get("Range", "")
        if self.headers.get("Accept-Encoding") != "identity":
            self.send_error(406)  # it would be compressed, and none of its ranges the file's
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.server.ranges else 0
        self.server.requests.append(start)
        self.answer(content[start:], 206 if wanted and self.server.ranges else 200)

    def answer(self, content, status=200):
        if self.path != "/imagenet21k%2Bimagenet2012/ViT-Ti_16.npz":
            self.send_error(404)
            return
        self.send_response(status)
        size = len(content) or len(self.server.content)
        if self.server.tells_size:
            self.send_header("Content-Length", str(size))
        if self.server.digest:
            self.send_header("x-goog-hash", self.server.digest)
        self.end_headers()
        cut = self.server.cuts.pop(0) if content and self.server.cuts else len(content)
        self.wfile.write(content[:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AFTRANS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def left_over(cache):
    return [path.name for path in cache.rglob("*") if path.is_file()]


def test_it_is_downloaded_once(server, cache):
    path = official_file(NAME, address=server.address)
    assert path == cache / f"{NAME}.npz"
    assert path.read_bytes() == CONTENT
    assert official_file(f"{NAME}.npz", address="http://127.0.0.1:9") == path
    assert server.requests == [0]
    assert left_over(cache) == ["ViT-Ti_16.npz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_the_server_can(server, cache, ranges):
    server.cuts, server.ranges = [131_072, 65_536], ranges
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT
    assert server.requests == ([0, 131_072, 196_608] if ranges else [0, 0, 0])
    assert left_over(cache) == ["ViT-Ti_16.npz"]


def test_what_broke_off_for_good_is_kept_for_the_next_command(server, cache):
    server.cuts = [65_536] * 4 + [1000]
    said = r"^the connection to 127\.0\.0\.1 broke off .*put it to .*ViT-Ti_16\.npz, or"
    with pytest.raises(OSError, match=said):
        official_file(NAME, address=server.address)
    assert left_over(cache) == ["ViT-Ti_16.npz.part"]
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT
    assert server.requests[-1] == 4 * 65_536


def test_a_part_that_is_not_of_this_file_is_found_by_the_digest(server, cache):
    part = cache / f"{NAME}.npz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another version")
    with pytest.raises(ValueError, match=r"came damaged .*MD5 hash.*try again"):
        official_file(NAME, address=server.address)
    assert left_over(cache) == []
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT


@pytest.mark.parametrize("surplus", [0, 7])
def test_a_part_as_long_or_longer(server, cache, surplus):
    part = cache / f"{NAME}.npz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + bytes(surplus))
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT
    assert server.requests == ([0] if surplus else [])


def test_a_wrong_digest_keeps_nothing(server, cache):
    server.digest = f"md5={base64.b64encode(bytes(16)).decode()}"
    with pytest.raises(ValueError, match="came damaged"):
        official_file(NAME, address=server.address)
    assert left_over(cache) == []


def test_without_a_digest_the_size_counts(server):
    server.digest = ""
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT


def test_a_server_without_a_size_is_refused(server, cache):
    server.tells_size = False
    with pytest.raises(OSError, match="does not tell the size"):
        official_file(NAME, address=server.address)


def test_what_the_server_does_not_have_is_named(server):
    with pytest.raises(FileNotFoundError, match=r"augreg/Ti_8\.npz does not exist: expected the "):
        official_file("augreg/Ti_8", address=server.address)


def test_offline_it_says_which_file_to_put_where(cache):
    address = "http://127.0.0.1:9"
    with pytest.raises(OSError, match="cannot be reached") as caught:
        official_file("augreg/Ti_8", address=address)
    assert str(caught.value) == (
        "127.0.0.1 cannot be reached (Connection refused): download "
        f"{address}/augreg/Ti_8.npz elsewhere and put it to {cache}/augreg/Ti_8.npz, or give the "
        "path of a file"
    )
    assert left_over(cache) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_of_a_wrong_name_the_known_ones_are_told(server, is_there):
    address = server.address if is_there else "http://127.0.0.1:9"
    said = r"; Google's list of imagenet21k/ has no ViT-B_17, but ViT-B_8, ViT-B_16, .*ViT-H_14$"
    with pytest.raises(OSError, match=said):
        official_file("imagenet21k/ViT-B_17", address=address)
    for known in ("ViT-B_16", "R50+ViT-B_16"):
        with pytest.raises(OSError, match=r"put it to .*a file$"):
            official_file(f"imagenet21k/{known}", address="http://127.0.0.1:9")


def test_what_the_server_refuses_is_not_a_missing_network(server, monkeypatch):
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.send_error(403))
    said = r"^127\.0\.0\.1 answers 403 Forbidden: download http://.* elsewhere"
    with pytest.raises(OSError, match=said):
        official_file(NAME, address=server.address)


def test_an_answer_that_leads_in_circles_is_no_broken_connection(server, monkeypatch):
    def lead_back(handler):
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_HEAD", lead_back)
    said = r"^the answer of 127\.0\.0\.1 cannot be used \(TooManyRedirects\): download http://"
    with pytest.raises(OSError, match=said):
        official_file(NAME, address=server.address)


def test_a_cache_without_locks_is_used_without(server, cache, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", without)
    assert official_file(NAME, address=server.address).read_bytes() == CONTENT
    assert left_over(cache) == ["ViT-Ti_16.npz"]


def test_there_must_be_a_place_for_it(monkeypatch):
    monkeypatch.setattr(download, "cache_folder", lambda: None)
    with pytest.raises(OSError, match="set AFTRANS_CACHE"):
        official_file(NAME)


@pytest.mark.parametrize("place", ["a file", "/proc/nope", "closed"])
def test_a_place_that_cannot_be_written_is_named(server, tmp_path, monkeypatch, place):
    (tmp_path / "a file").write_text("")
    (tmp_path / "closed" / "weights").mkdir(parents=True)
    folder = NAME.split("/")[0]
    (tmp_path / "closed" / "weights" / folder).write_text("")
    monkeypatch.setenv("AFTRANS_CACHE", str(tmp_path / place))
    said = (
        f"{place}/weights/{re.escape(folder)} cannot be written .*: set AFTRANS_CACHE to a folder"
    )
    with pytest.raises(OSError, match=said):
        official_file(NAME, address=server.address)
    assert server.requests == []


def test_two_at_once_download_it_once(server):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(official_file(NAME, address=server.address)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0].read_bytes() == CONTENT
    assert server.requests == [0]


@pytest.mark.parametrize("cut", [0, 1, 100, 250_000])
def test_a_damaged_file_of_the_cache_is_named_and_not_one_that_does_not_fit(cache, cut):
    """It is not downloaded again while the file that the message names exists."""
    path = cache / f"{NAME}.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, a=np.ones(2, "f4"), b=np.random.default_rng(0).random(99_999))
    path.write_bytes(path.read_bytes()[:cut])
    kept = re.escape(f"(kept in {path}: delete it and start again)")
    message = rf"^pretrained='{re.escape(NAME)}': .* {kept}$"
    with pytest.raises(ValueError, match=message), open_weights(NAME):
        pass
    with pytest.raises(ValueError, match="download") as caught, open_weights(str(path)):
        pass
    assert "kept in" not in str(caught.value)
    np.savez(path, a=np.ones(2, "f4"))
    with pytest.raises(ValueError, match=r"of another kind$"), open_weights(NAME):
        raise ValueError("of another kind")


def test_official_weights_of_one_file_name_are_not_the_same():
    assert weights_name("imagenet21k/ViT-B_16.npz") == "imagenet21k/ViT-B_16"
    assert weights_name("imagenet21k/ViT-B_16") != weights_name("sam/ViT-B_16")
    assert weights_name("/a/x.npz") == weights_name("b/x.npz") == "x"


def test_paths_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_official("imagenet21k/ViT-B_16")
    assert not is_official("ViT-B_16.npz")
    assert not is_official("../imagenet21k/ViT-B_16")
    (tmp_path / "augreg").mkdir()
    np.savez(tmp_path / "augreg" / "mine.npz", a=np.ones(2, "f4"))
    path = weights_file("augreg/mine.npz")
    with open_npz(path) as arrays:
        assert list(arrays) == ["a"]


def test_requests_is_what_breaks(monkeypatch, server):
    """A server that never answers is an error of the same form."""
    monkeypatch.setattr(
        requests, "head", lambda *_, **__: (_ for _ in ()).throw(requests.Timeout("too long"))
    )
    with pytest.raises(OSError, match=r"^127\.0\.0\.1 cannot be reached \(Timeout\): download "):
        official_file(NAME, address=server.address)
