"""Names of the Hugging Face Hub, from a server on this machine that has its addresses."""

import hashlib
import http.server
import re
import sys
import threading
from pathlib import Path

import pytest

from aftrans_jax.weights.hub import hub_notes
from aftrans_jax.weights.names import is_downloaded, weights_name
from aftrans_jax.weights.reading import open_weights, weights_file

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0" * 40
FILES = {
    "/timm/vit_x.augreg/resolve/main/model.safetensors": b"weights",
    "/timm/vit_x.augreg/resolve/main/config.json": b"{}",
    "/facebook/old/resolve/main/pytorch_model.bin": b"older weights",
    f"/facebook/old/resolve/{COMMIT}/pytorch_model.bin": b"older weights",
    "/timm/vit_y/resolve/main/pytorch_model.bin": b"older weights",
    "/timm/vit_y/resolve/main/config.json": b'{"pretrained_cfg": {}}',
    "/facebook/none/resolve/main/config.json": b"{}",
}
REPOSITORIES = {tuple(path.split("/")[1:3]) for path in FILES}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        content = FILES.get(self.path)
        if content is None:
            known = tuple(self.path.split("/")[1:3]) in REPOSITORIES
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def do_GET(self):
        if content := self.do_HEAD():
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def server(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield server
    server.shutdown()
    server.server_close()


def test_a_name_is_downloaded_once_with_what_lies_beside(server):
    path = weights_file("hf:timm/vit_x.augreg")
    assert path.read_bytes() == b"weights"
    assert path.with_name("config.json").read_bytes() == b"{}"
    assert not path.with_name("preprocessor_config.json").exists()
    assert weights_file("hf:timm/vit_x.augreg") == path


def test_a_damaged_file_is_downloaded_again_once_what_is_named_is_deleted():
    path = weights_file("hf:timm/vit_x.augreg")
    path.write_bytes(b"")
    with (
        pytest.raises(ValueError, match="it is empty: download") as caught,
        open_weights("hf:timm/vit_x.augreg"),
    ):
        pass
    named = re.search(r"\(kept in (.*): delete it and start again\)$", str(caught.value))[1]
    Path(named).unlink()
    assert weights_file("hf:timm/vit_x.augreg").read_bytes() == b"weights"


def test_so_is_a_damaged_configuration():
    path = weights_file("hf:timm/vit_x.augreg")
    for damaged in (b"{", b" " * 2_000_000):
        path.with_name("config.json").write_bytes(damaged)
        with (
            pytest.raises(ValueError, match=r"=.hf:timm/vit_x\.augreg.: config\.json b") as caught,
            open_weights("hf:timm/vit_x.augreg"),
        ):
            pass
        Path(re.search(r": delete (.*) and start again", str(caught.value))[1]).unlink()
        assert weights_file("hf:timm/vit_x.augreg") == path
        assert path.with_name("config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_without_safetensors_it_is_the_older_file(revision):
    assert weights_file(f"hf:facebook/old{revision}").read_bytes() == b"older weights"


def test_what_is_not_there_is_named():
    with pytest.raises(
        FileNotFoundError, match="hf:no/such: the hub has no such model or revision"
    ):
        weights_file("hf:no/such")
    with pytest.raises(
        FileNotFoundError, match=r"hf:facebook/none has none of model\.safetensors, p"
    ):
        weights_file("hf:facebook/none")


def test_offline_what_is_not_in_the_cache_is_told_so(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"is not in the cache .*HF_HUB_OFFLINE is set: un"):
        weights_file("hf:timm/vit_x.augreg")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    path = weights_file("hf:timm/vit_x.augreg")
    assert hub_notes("hf:timm/vit_x.augreg", path) == ()
    path.with_name("config.json").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert weights_file("hf:timm/vit_x.augreg") == path
    (note,) = hub_notes("hf:timm/vit_x.augreg", path)
    assert note.startswith("config.json is not in the cache, and HF_HUB_OFFLINE is set: heads")
    assert hub_notes(str(path), path) == ()


def test_without_a_server_a_cached_timm_model_works_and_no_part_of_one(server, monkeypatch):
    path = weights_file("hf:timm/vit_y")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("the library tries again"))
    server.shutdown()
    server.server_close()
    assert weights_file("hf:timm/vit_y") == path
    path.with_name("config.json").unlink()
    for name, file in (("hf:timm/vit_y", "config.json"), ("hf:timm/vit_z", "model.safetensors")):
        with pytest.raises(OSError, match="cannot be reached") as caught:
            weights_file(name)
        assert str(caught.value) == (
            f"{name}: 127.0.0.1 cannot be reached (Connection refused), and {file} is not in the "
            "cache: download the model's folder elsewhere and give its path"
        )


def test_a_server_that_fails_is_not_one_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library's, between its tries
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.send_error(503))
    said = r"^hf:timm/vit_x\.augreg: the hub's answer cannot be used \(.*503 .*, and model\.safet"
    with pytest.raises(OSError, match=said):
        weights_file("hf:timm/vit_x.augreg")


@pytest.mark.parametrize("name", ["hf:", "hf:x", "hf:x/y/z", "hf:../y", "hf:x/y@", "hf:x/y?"])
def test_another_form_is_refused(name):
    with pytest.raises(ValueError, match=r"is no name of a model|the hub has no such"):
        weights_file(name)


def test_without_the_library_its_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="is absent: pip install huggingface_hub"):
        weights_file("hf:timm/vit_x.augreg")


def test_names_tell_weights_apart():
    assert is_downloaded("hf:timm/x")
    assert weights_name("hf:timm/x") == "hf:timm/x"
    assert weights_name("/a/dino/model.safetensors") == weights_name("dino") == "dino"
