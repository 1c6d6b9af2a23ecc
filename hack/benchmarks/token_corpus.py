"""Texts of many kinds and languages, from what a Debian machine and its toolchains have installed.

Each source gives two streams, of different files: one to fit by, one to measure by. What a machine
lacks is left out; nothing is downloaded.
"""

import base64
import bz2
import gettext
import gzip
import json
import os
import random
import re
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path

STREAM_CHARACTERS = 400_000
FILES = 400
LANGUAGES = {
    "european": "cs da de es fi fr hr hu id it nl pl pt pt_BR ro sv tr vi",
    "cyrillic": "bg ru sr uk",
    "greek": "el",
    "chinese": "zh_CN zh_TW",
    "japanese": "ja",
    "korean": "ko",
    "arabic": "ar fa",
    "hebrew": "he",
    "indic": "bn hi ta te ml",
    "thai": "th",
    "georgian": "ka",
    "armenian": "hy",
}
STDLIB = sysconfig.get_path("stdlib")
MANUALS = "/usr/share/man"
FILE_SOURCES = {  # (kind, name): folders, endings
    ("english", "documentation"): (
        ("/usr/share/common-licenses", "/usr/share/perl", "/usr/local/go/src/compress"),
        ("", ".pod", ".txt", "txt.bz2"),
    ),
    ("code", "python"): ((STDLIB,), (".py",)),
    ("code", "go"): (("/usr/local/go/src",), (".go",)),
    ("code", "c"): (("/usr/include", "/usr/local/go"), (".h", ".c")),
    ("code", "javascript"): (("/usr/lib/node_modules",), (".js",)),
    ("code", "perl"): (("/usr/share/perl",), (".pm",)),
    ("code", "shell"): (("/usr/lib", "/usr/share/doc"), (".sh",)),
    ("code", "sql"): (("/usr/share",), (".sql",)),
    ("code", "css"): (("/usr/share", "/usr/lib/node_modules"), (".css",)),
    ("markup", "html"): (("/usr/share/doc", "/usr/local/go"), (".html",)),
    ("markup", "xml"): (("/usr/share/mime", "/usr/share/glib-2.0", "/usr/share/xml"), (".xml",)),
    ("markdown", "markdown"): (("/usr/lib/node_modules", "/usr/local/go"), (".md",)),
    ("markdown", "restructured"): (("/usr/share/doc",), (".rst", ".rst.gz")),
    ("json", "as found"): (("/usr/lib/node_modules", STDLIB, "/usr/local/go"), (".json",)),
    ("logs", "logs"): (("/var/log",), (".log",)),
}

Text = tuple[str, str]  # name, content
Corpus = dict[tuple[str, str], tuple[str, str]]  # (kind, source): to fit by, to measure by


def build_corpus() -> Corpus:
    found = {source: _halve(_read_files(*where)) for source, where in FILE_SOURCES.items()}
    found["english", "manuals"] = _halve(_read_manuals(Path(MANUALS)))
    for kind, languages in LANGUAGES.items():
        for language in languages.split():
            found[kind, language] = _halve(_read_language(language))
    found["json", "minified"] = _halve(_minify(*FILE_SOURCES["json", "as found"]))
    first, second = (
        _make(random.Random(seed), found["english", "manuals"][seed]) for seed in (0, 1)
    )
    found |= {source: (first[source], second[source]) for source in first}
    return {source: pair for source, pair in found.items() if min(map(len, pair)) > 4_000}


def _halve(texts: Iterator[Text]) -> tuple[str, str]:
    """File by file to the shorter side; those of one name, which may be copies, to the same."""
    halves: tuple[list[str], list[str]] = ([], [])
    sizes = [0, 0]
    sides: dict[str, int] = {}
    for name, text in texts:
        side = sides.setdefault(name, int(sizes[1] < sizes[0]))
        if sizes[side] < STREAM_CHARACTERS:
            halves[side].append(text[:STREAM_CHARACTERS])
            sizes[side] += len(text)
    return "\n".join(halves[0]), "\n".join(halves[1])


def _read_files(folders: tuple[str, ...], endings: tuple[str, ...]) -> Iterator[Text]:
    paths = sorted(path for folder in folders for path in _walk(folder, endings))
    random.Random(1).shuffle(paths)
    for path in paths[:FILES]:
        opened = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
        try:
            with opened(path, "rt", encoding="utf-8") as file:  # type: ignore[operator]
                text = file.read()
        except (OSError, UnicodeDecodeError):
            continue
        if len(text) > 200:
            yield path.name, text


def _walk(folder: str, endings: tuple[str, ...]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in names if name.endswith(endings))


def _read_language(language: str) -> Iterator[Text]:
    yield from _read_manuals(Path(MANUALS, language))
    for path in sorted(Path("/usr/share/locale", language, "LC_MESSAGES").glob("*.mo")):
        if not path.name.startswith("iso"):
            try:
                catalogue = gettext.GNUTranslations(path.open("rb"))
            except (OSError, UnicodeDecodeError):
                continue
            messages = getattr(catalogue, "_catalog").values()  # noqa: B009  # no other way to all
            yield path.name, "\n".join(m for m in messages if isinstance(m, str) and len(m) > 30)
    tutor = Path(f"/usr/share/vim/vim90/tutor/tutor.{language.lower()}.utf-8")
    if tutor.exists():
        yield tutor.name, tutor.read_text("utf-8")


def _read_manuals(folder: Path) -> Iterator[Text]:
    paths = sorted(path for path in folder.glob("man[1578]/*.gz") if path.exists())
    random.Random(1).shuffle(paths)
    for path in paths[:FILES]:
        try:
            yield path.name, _strip_roff(gzip.decompress(path.read_bytes()).decode())
        except (OSError, UnicodeDecodeError):
            continue


def _strip_roff(text: str) -> str:
    text = re.sub(r"^[.'](?:B|I|BI|BR|IR|RB|RI|SM) (.*)$", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^[.'].*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\f(?:\[[^]]*\]|\(..|.)", "", text)
    for escaped, plain in (("\\-", "-"), ("\\&", ""), ("\\(aq", "'"), ("\\e", "\\")):
        text = text.replace(escaped, plain)
    return re.sub(r"\n{3,}", "\n\n", text)


def _minify(folders: tuple[str, ...], endings: tuple[str, ...]) -> Iterator[Text]:
    for name, text in _read_files(folders, endings):
        try:
            yield name, json.dumps(json.loads(text), separators=(",", ":"))
        except ValueError:
            continue


def _make(rng: random.Random, prose: str) -> dict[tuple[str, str], str]:
    """What no file has much of; `prose` goes into some of it."""
    faces = ("😀", "😂", "🎉", "👍", "🔥", "✅", "❌", "🚀", "💡", "📌", "→", "•", "—", "…", "❤️")
    words = prose[:200_000].split(" ")
    return {
        ("logs", "service"): "\n".join(_make_log_line(rng) for _ in range(1_000)),
        ("numbers", "table"): "\n".join(
            f"{row},{rng.gauss(0, 100):.4f},{rng.randrange(10 ** rng.randint(1, 9))},{rng.random()}"
            for row in range(5_000)
        ),
        ("numbers", "digits"): "".join(rng.choices("0123456789", k=100_000)),
        ("opaque", "base64"): base64.b64encode(rng.randbytes(150_000)).decode(),
        ("opaque", "base64 of text"): base64.b64encode(prose[:150_000].encode()).decode(),
        ("opaque", "hex"): rng.randbytes(100_000).hex(),
        ("opaque", "uuid"): "\n".join(
            str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(3_000)
        ),
        ("emoji", "prose"): " ".join(
            f"{word} {rng.choice(faces)}" if rng.random() < 0.1 else word for word in words
        ),
    }


def _make_log_line(rng: random.Random) -> str:
    address = ".".join(str(rng.randrange(256)) for _ in range(4))
    return (
        f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randrange(24):02}:"
        f"{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(1000):03}Z "
        f"{rng.choice(('INFO', 'WARN', 'ERROR', 'DEBUG'))} {rng.choice(('http', 'db', 'auth'))} "
        f"{rng.choice(('request done', 'timeout', 'connected', 'cannot read'))} {address}:"
        f"{rng.randrange(65536)} status={rng.choice((200, 404, 500))} "
        f"took={rng.random() * 1000:.2f}ms id={rng.getrandbits(64):016x}"
    )
