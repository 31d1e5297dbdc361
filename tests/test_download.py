"""Downloads end, whatever the server does; what came is kept."""

import socket
from pathlib import Path
from threading import Event, Thread

import pytest

from eavit_mm import download


@pytest.mark.parametrize(
    ('stalls', 'error', 'words'),
    [
        (True, TimeoutError, 'timed out'),
        (False, OSError, 'cut after 3 of 9 bytes'),
    ],
)
def test_a_server_that_stalls_or_ends_early(
    stalls: bool,
    error: type[Exception],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, '_PATIENCE', 0.5)
    over = Event()
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.settimeout(60)
        url = f'http://127.0.0.1:{server.getsockname()[1]}/a.bin'

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                head = b'HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n'
                connection.sendall(head + b'abc')
                if stalls:
                    over.wait(60)

        thread = Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(error, match=words):
                download.download(url, tmp_path / 'a.bin')
        finally:
            over.set()
            thread.join()
    kept = (tmp_path / 'a.bin').read_bytes()
    assert kept == b'abc' or (stalls and not kept)
