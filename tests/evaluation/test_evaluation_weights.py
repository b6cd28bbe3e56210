"""Published weights: named before they are fetched, refused by digest, and nothing left behind when it goes wrong."""

import hashlib
import http.server
import threading

import pytest

from ltaug.errors import CorruptError, DataError, MismatchError
from ltaug.evaluation.weights import Weights, find_weights

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server():
    """An address whose /whole is the file, whose /other is another, and whose /cut ends too early."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write({"/whole": CONTENT, "/other": CONTENT[::-1], "/cut": CONTENT[:1000]}[self.path])

        def log_message(self, *args):
            pass

    served = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def published(url: str) -> Weights:
    return Weights("inception", "net.pth", url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "mit", "noise")


def find(url, folder, *, given=None, download=True, said=None):
    tell = lambda text, step, total: said is not None and said.append((text, step, total))  # noqa: E731
    return find_weights(published(url), given=given, folder=folder, download=download, tell=tell)


def test_a_download_is_named_first_verified_and_found_again_without_one(server, tmp_path):
    said = []
    path = find(f"{server}/whole", tmp_path / "weights", said=said)
    assert path.read_bytes() == CONTENT
    first, *rest = said
    assert first == (f"Downloading net.pth (0 MB) from {server}/whole to {path}.", 0, None)
    assert rest[-1][1:] == (len(CONTENT), len(CONTENT))
    assert find("http://127.0.0.1:9/nobody", tmp_path / "weights", download=False) == path


@pytest.mark.parametrize(("path", "error"), [("/other", CorruptError), ("/cut", CorruptError), ("/missing", DataError)])
def test_a_download_that_goes_wrong_leaves_nothing(server, tmp_path, path, error):
    with pytest.raises(error, match=r"nothing was kept, try again|could not be downloaded .*404.* pass --weights"):
        find(server + path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_at_the_address_is_said_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"could not be downloaded \(.*refused.*\); download it elsewhere and pass --weights"):
        find("http://127.0.0.1:9/nobody", tmp_path)


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def interrupt(text, step, total):
        if step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_weights(published(f"{server}/whole"), given=None, folder=tmp_path, download=True, tell=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_without_the_file_and_without_leave_to_download_the_flags_are_named(tmp_path):
    with pytest.raises(DataError, match=r"net\.pth \(0 MB\), which is not in .*; pass --download .* or --weights"):
        find("http://127.0.0.1:9/nobody", tmp_path, download=False)


def test_another_file_is_refused_with_both_digests(tmp_path):
    other = tmp_path / "net.pth"
    other.write_bytes(b"other")
    digests = f"begins {hashlib.sha256(b'other').hexdigest()[:12]}, where {hashlib.sha256(CONTENT).hexdigest()[:12]} is needed"
    with pytest.raises(MismatchError, match=digests):
        find("http://127.0.0.1:9/nobody", tmp_path / "empty", given=other)
    with pytest.raises(CorruptError, match=digests):
        find("http://127.0.0.1:9/nobody", tmp_path)
    assert other.read_bytes() == b"other"
    with pytest.raises(DataError, match="is not a file"):
        find("http://127.0.0.1:9/nobody", tmp_path, given=tmp_path / "nothing")
