"""The faults and bad inputs that a sidecar must survive, by number: what is done, what is wanted.

Every one has a test whose id begins with its number (`test_A1_…`, or a parameter's id `A1-…`);
hack/fault-table writes down which, and how they ended.
"""

import re
from typing import Final

SECTIONS: Final = {
    "A": "HTTP and JSON",
    "B": "Authorization",
    "C": "Provider",
    "E": "NATS",
    "F": "Client",
    "G": "Security across parts",
    "H": "Time and limits",
}

FAULTS: Final[dict[str, tuple[str, str]]] = {
    "A1": ("a body over the limit, by Content-Length", "413 before it is read"),
    "A2": ("the same chunked, without a length", "413 at the limit, memory bounded"),
    "A3": ("100,000 brackets or braces deep", "400 at once"),
    "A4": ("a number of a megabyte, 1e999, 5,000 digits", "400, no stall"),
    "A5": ("invalid UTF-8, lone surrogates, UTF-16, a BOM", "400 or on its way unchanged"),
    "A6": ("NaN and Infinity", "400"),
    "A7": ("a key twice (model)", "what is authorized is what is sent"),
    "A8": ("fields of the wrong type", "400 that names the param"),
    "A9": ("no body, null, an array, trailing garbage", "400"),
    "A10": ("JSONTestSuite", "what is no JSON refused with 400, never a 5xx"),
    "A11": ("another or no Content-Type", "415 or 400"),
    "A12": ("Content-Encoding: gzip", "415"),
    "A13": ("headers byte by byte", "cut at the deadline, others served"),
    "A14": ("a body byte by byte", "cut at the deadline, others served"),
    "A15": ("an answer that is not read", "cut at the deadline, others served"),
    "A16": ("Expect: 100-continue, then silence", "408, closed"),
    "A17": ("framing to smuggle by, and broken header lines", "400, closed"),
    "A18": ("no Host, two, a bad one", "400"),
    "A19": ("a URL of 100 kB, 10,000 headers, one of 1 MB", "414 or 431"),
    "A20": ("tricks with the path or the form of the target", "404 or 400, nothing internal"),
    "B1": ("no key", "401"),
    "B2": ("another scheme", "401"),
    "B3": ("bearer in lower case", "accepted"),
    "B4": ("two Authorization headers", "400"),
    "B5": ("the key in the query or in the body", "401"),
    "B6": ("a key that is no ASCII, a megabyte, or has control characters", "401, clean log"),
    "B7": ("a near miss against a random key", "no difference in time"),
    "B8": ("a key revoked while its stream runs", "the stream ends well, then 401"),
    "B9": ("a key past its time, by the clock", "401"),
    "B10": ("a rotated key", "old and new serve during the overlap"),
    "B11": ("two ApiKeys of one key", "the second grants nothing"),
    "B12": ("what belongs to another tenant", "404, the same as for what is not there"),
    "C1": ("connection refused", "another provider, or 502"),
    "C2": ("a SYN without an answer", "another provider, or 504"),
    "C3": ("a name that does not resolve", "another provider, or 502"),
    "C4": ("TLS: expired, wrong host, self-signed, cut", "the key is never sent"),
    "C5": ("429 with Retry-After in seconds", "honoured"),
    "C6": ("429 with Retry-After as a date", "honoured"),
    "C7": ("429 with Retry-After-Ms", "honoured"),
    "C8": ("Retry-After of a day, negative, garbage", "capped or ignored"),
    "C9": ("500, then an answer", "one 200"),
    "C10": ("401 or 403 from the provider", "502 and an alarm, never a 401 to the client"),
    "C11": ("400, 404, 422 from the provider", "handed on, not retried"),
    "C12": ("silence before the first byte", "another provider at the deadline"),
    "C13": ("silence within a stream", "an error frame at the deadline"),
    "C14": ("a reset within a stream", "an error frame, no [DONE]"),
    "C15": ("a clean end without a finish", "an error frame, no retry"),
    "C16": ("a cut within a character or an object", "an error frame"),
    "C17": ("event streams in all their spellings", "understood"),
    "C18": ("a line of 200 MB", "cut at the line's bound"),
    "C19": ("a byte a second", "kept within the total limit"),
    "C20": ("a page, JSON for a stream, a stream for JSON", "another provider, or 502"),
    "C21": ("odd errors, codings, redirects, garbage after the end", "bounded, no key elsewhere"),
    "C22": ("a kept connection closed as we write", "once more, only if nothing came back"),
    "E1": ("NATS down at the start", "served at once, joined when it is there"),
    "E2": ("NATS killed, told to go, or frozen", "noticed within seconds, found again"),
    "E4": ("NATS restarted with its store", "limits hold, shared again"),
    "E5": ("NATS restarted without its store", "limits hold, shared again"),
    "F1": ("the client leaves within a stream", "the provider's connection closes within 1 s"),
    "F2": ("the client leaves before the first byte", "the same"),
    "F3": ("the client leaves a plain call", "the same"),
    "F4": ("the client closes its sending half", "the answer comes all the same"),
    "F5": ("the client resets", "as F1"),
    "F6": ("200 clients stop reading large streams", "the provider is paused, memory bounded"),
    "F7": ("pipelined requests", "answered in order"),
    "F8": ("thousands of idle connections", "held"),
    "F9": ("no more files", "503 or a pause, and it recovers"),
    "G8": ("api_base and the like in a body", "never reach routing"),
    "G9": ("client headers for the provider", "never get there"),
    "G10": ("line ends in models and metadata", "no header or log line split"),
    "G11": ("the provider's own headers", "filtered"),
    "H1": ("the clock jumps", "no free window, no lock"),
    "H2": ("bursts round a window's edge", "no double admission"),
    "H3": ("all of the load at one of several replicas", "all of the limit, and no more"),
    "H4": ("no NATS to share limits by", "each goes on with its part, within the limit"),
    "H5": ("a stream cut before its usage came", "charged for what was sent"),
    "H6": ("a limit lowered live", "in force at the next request"),
}

_NUMBERED: Final = re.compile(r"(?:::test_|\[|-)([ABCEFGH]\d{1,2})(?=[_\-\]])")


def fault_of(nodeid: str) -> str | None:
    """The number that a test's id names."""
    found = _NUMBERED.search(nodeid)
    return found[1] if found and found[1] in FAULTS else None
