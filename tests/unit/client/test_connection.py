# SPDX-License-Identifier: Apache-2.0
"""The kept connection: reused, opened anew once, bounded, and its failures in words."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from agentcg.daemon.client import Client
from agentcg.daemon.messages import OpenSession, Session, SessionList
from agentcg.errors import Unavailable
from support.descriptors import open_files
from support.examples import a_session
from support.scripted_daemon import Received, ScriptedDaemon


def test_connection_is_kept_between_requests(daemon: ScriptedDaemon) -> None:
    """Ten requests go over one connection."""
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[]))
    with Client(daemon.path) as client:
        for _ in range(10):
            client.sessions()
    assert (len(daemon.requests), daemon.connections) == (10, 1)


def test_restarted_daemon_is_found_again(daemon: ScriptedDaemon) -> None:
    """A connection that died while it was idle is replaced, and the request is answered."""
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[]))
    client = Client(daemon.path)
    client.sessions()
    daemon.stop()
    daemon.start()
    assert client.sessions() == []
    assert daemon.connections == 2


def test_stopped_daemon_is_unavailable(daemon: ScriptedDaemon) -> None:
    """One attempt on a new connection, then the truth."""
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[]))
    client = Client(daemon.path)
    client.sessions()
    daemon.stop()
    with pytest.raises(Unavailable, match="no such socket; is agentcgd running"):
        client.sessions()


def test_no_socket_says_path_and_what_to_do(tmp_path: Path) -> None:
    """The message names the socket and the command that starts the daemon."""
    with pytest.raises(Unavailable) as caught:
        Client(tmp_path / "absent").health()
    assert str(tmp_path / "absent") in caught.value.message
    assert "systemctl start agentcgd" in caught.value.remedy


def test_socket_without_listener(tmp_path: Path) -> None:
    """A socket that a killed daemon left behind is told from none at all."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(Unavailable, match="nobody listens"):
        Client(tmp_path / "left").health()


def test_plain_file_in_place_of_the_socket(tmp_path: Path) -> None:
    """Something else at the path is an answer in words, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="nobody listens"):
        Client(tmp_path / "file").health()


def test_path_longer_than_a_socket_address(tmp_path: Path) -> None:
    """A path that no socket can have is an answer in words."""
    with pytest.raises(Unavailable, match="too long"):
        Client(tmp_path / ("x" * 200)).health()


def test_silent_daemon_is_given_up_in_time(tmp_path: Path) -> None:
    """A daemon that accepts and says nothing costs the timeout, not for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(Unavailable, match=r"no answer within 0.2 s"):
            Client(tmp_path / "s", timeout_s=0.2).health()


def test_late_answer_is_not_taken_for_the_next(daemon: ScriptedDaemon) -> None:
    """After a timeout the connection is dropped: its answer may still come."""
    slow = threading.Event()

    def answer(_: Received) -> Session:
        slow.wait(60)
        return a_session()

    daemon.on("POST", "/v1/sessions", answer)
    daemon.on("GET", "/v1/sessions", SessionList(sessions=[]))
    client = Client(daemon.path)
    with pytest.raises(Unavailable, match="no answer"):
        client.open_session(OpenSession(name="reviewer"), timeout_s=0.2)
    slow.set()
    assert client.sessions() == []
    assert daemon.connections == 2


def test_full_listen_queue_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN from connect(2) is tried again until somebody accepts."""
    monkeypatch.setattr("agentcg.client.connection.CONNECT_TIMEOUT_S", 60.0)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(path)

        def serve() -> None:
            time.sleep(0.1)
            for _ in range(2):
                peer, _ = listener.accept()
                threading.Thread(target=_answer, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        assert Client(Path(path), timeout_s=60.0).sessions() == []
        waiting.close()


def _answer(peer: socket.socket) -> None:
    with peer:
        if peer.recv(4096):
            body = b'{"sessions":[]}'
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_queue_that_stays_full_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a place in the queue is bounded."""
    monkeypatch.setattr("agentcg.client.connection.CONNECT_TIMEOUT_S", 0.1)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        with pytest.raises(Unavailable, match="too busy"):
            Client(Path(path)).sessions()


def test_answer_that_is_not_http(tmp_path: Path) -> None:
    """Another program on the socket is unavailable, not a traceback."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def babble() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=babble, daemon=True).start()
        with pytest.raises(Unavailable, match="does not speak HTTP"):
            Client(tmp_path / "s").health()


def test_descriptors_are_not_lost(tmp_path: Path) -> None:
    """A hundred failures leave no descriptor behind."""
    client = Client(tmp_path / "absent")
    before = open_files()
    for _ in range(100):
        with pytest.raises(Unavailable):
            client.health()
    assert open_files() - before == set()
