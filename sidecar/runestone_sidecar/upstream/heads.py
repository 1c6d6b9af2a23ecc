"""What an answer's head and framing may be: bounds, and no protocol that nobody asked for."""

from runestone_sidecar.upstream.faults import BadResponse, HeadTooLarge, Phase, UpstreamFault

MAX_HEAD_BYTES = 64 * 1024  # names, values and framing since the last byte of a body
MAX_HEADERS = 256


def judge_head(
    status: int, headers: list[tuple[bytes, bytes]], overhead_bytes: int
) -> UpstreamFault | None:
    if len(headers) > MAX_HEADERS:
        return HeadTooLarge(f"more than {MAX_HEADERS} headers")
    if overhead_bytes > MAX_HEAD_BYTES and _size(headers) > MAX_HEAD_BYTES:
        return HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes")
    if status < 100 or status == 101:
        return BadResponse(Phase.HEAD, f"status {status}")
    return None


def overgrown(*, within_body: bool) -> UpstreamFault:
    if within_body:  # chunk extensions or trailers without end
        return BadResponse(Phase.BODY, f"{MAX_HEAD_BYTES} bytes of framing and no body")
    return HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes")


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)
