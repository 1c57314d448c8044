# SPDX-License-Identifier: Apache-2.0
"""The protocol between host and guest survives any split and any dead peer."""

import contextlib
import itertools
from pathlib import Path

import pytest
from guestvm import frames as module
from guestvm.frames import (
    GREETING_MARK,
    NONCE_SIZE,
    PAYLOAD_MAX_BYTES,
    Decoder,
    Frame,
    FrameError,
    Greeting,
    Kind,
    encode,
    greeting,
)
from hypothesis import given
from hypothesis import strategies as st

kinds = st.sampled_from(Kind)
frames = st.lists(st.tuples(kinds, st.binary(max_size=200)), max_size=8)
nonces = st.binary(min_size=NONCE_SIZE, max_size=NONCE_SIZE)


def decode(decoder: Decoder, stream: bytes, cuts: list[int]) -> list[Greeting | Frame]:
    found: list[Greeting | Frame] = []
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        with contextlib.suppress(FrameError):  # rubbish may look like anything
            found += decoder.feed(stream[start:end])
    return found


@given(frames, nonces, st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_survive_any_split(
    sent: list[tuple[Kind, bytes]], nonce: bytes, cuts: list[int]
) -> None:
    """What is encoded after a greeting is decoded, however the stream is cut into pieces."""
    stream = greeting(nonce) + b"".join(encode(kind, payload) for kind, payload in sent)
    expected = [Greeting(nonce), *(Frame(kind, payload) for kind, payload in sent)]
    assert decode(Decoder(), stream, cuts) == expected


@given(st.binary(max_size=300), nonces, frames, st.lists(st.integers(0, 10_000), max_size=20))
def test_a_greeting_ends_whatever_came_before(
    rubbish: bytes, nonce: bytes, sent: list[tuple[Kind, bytes]], cuts: list[int]
) -> None:
    """After a peer died in the middle of a frame, the next session is understood in full."""
    unfinished = encode(Kind.STDIN, bytes(1000))[:-300]
    stream = greeting(bytes(NONCE_SIZE)) + unfinished + rubbish + greeting(nonce)
    stream += b"".join(encode(kind, payload) for kind, payload in sent)
    found = decode(Decoder(), stream, cuts)
    expected = [Greeting(nonce), *(Frame(kind, payload) for kind, payload in sent)]
    assert found[-len(expected) :] == expected


def test_nothing_is_decoded_before_a_greeting() -> None:
    """Frames of an earlier session's end are dropped."""
    assert Decoder().feed(encode(Kind.STDOUT, b"old")) == []


def test_the_mark_is_in_no_source_file() -> None:
    """Pushing the tool's own files cannot look like a greeting."""
    assert GREETING_MARK not in Path(module.__file__).read_bytes()


def test_a_frame_that_is_too_long_is_refused() -> None:
    """A header that announces more than the bound is an error, not an allocation."""
    decoder = Decoder()
    header = bytes([Kind.STDIN]) + (PAYLOAD_MAX_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(FrameError, match="bytes is announced"):
        decoder.feed(greeting(bytes(NONCE_SIZE)) + header)
    with pytest.raises(ValueError, match="at most"):
        encode(Kind.STDIN, bytes(PAYLOAD_MAX_BYTES + 1))


def test_a_decoder_goes_on_after_an_error() -> None:
    """The session is lost with a bad frame, the next greeting begins another."""
    decoder = Decoder()
    with pytest.raises(FrameError):
        decoder.feed(greeting(bytes(NONCE_SIZE)) + b"\x03\xff\xff\xff\xff")
    assert decoder.feed(greeting(b"12345678")) == [Greeting(b"12345678")]
