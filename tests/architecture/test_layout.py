"""The shape of the tree: what no linter says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from runestone_testing.order import in_order

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    path
    for folder in ("sidecar", "operator", "tests", "hack")
    for path in (ROOT / folder).rglob("*.py")
)
SOURCES = [path for path in PACKAGES if path.is_relative_to(ROOT / "sidecar")] + [
    path for path in PACKAGES if path.is_relative_to(ROOT / "operator")
]
MAX_MODULE_LINES = 400
MAX_DOCSTRING_LINES = 6


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_folder_shadows_a_stdlib_module() -> None:
    roots = [ROOT, ROOT / "sidecar", ROOT / "operator", ROOT / "tests", ROOT / "tests/support"]
    packages = [path.parent for root in roots for path in root.glob("*/__init__.py")]
    assert [path for path in packages if path.name in sys.stdlib_module_names] == []


def test_tests_are_not_packages() -> None:
    inits = set((ROOT / "tests").rglob("__init__.py"))
    assert {path for path in inits if "support" not in path.parts} == set()


def test_modules_are_small() -> None:
    lines = {relative(path): len(path.read_text().splitlines()) for path in PACKAGES}
    assert {name: count for name, count in lines.items() if count > MAX_MODULE_LINES} == {}


def docstring_lines(path: Path) -> int:
    """Those with prose: blank lines and the drawn tree of an errors module are free."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return len([line for line in docstring.splitlines() if line.strip() and line[0] not in "├└│ "])


def test_modules_say_what_they_are_in_a_few_lines() -> None:
    lines = {relative(path): docstring_lines(path) for path in SOURCES}
    assert {name: n for name, n in lines.items() if not 1 <= n <= MAX_DOCSTRING_LINES} == {}


def test_package_files_hold_a_docstring_alone() -> None:
    inits = [path for path in SOURCES if path.name == "__init__.py"]
    assert inits
    assert [relative(path) for path in inits if len(ast.parse(path.read_text()).body) != 1] == []


def test_nothing_is_mocked() -> None:
    banned = ["unittest" + ".mock", "mo" + "cker", "Magic" + "Mock"]  # ruff bans the import alone
    found = {relative(path): [w for w in banned if w in path.read_text()] for path in PACKAGES}
    assert {name: words for name, words in found.items() if words} == {}


def test_dialects_are_strangers() -> None:
    """`anthropic_request` is Anthropic's own; what dialects share is named here."""
    folder = ROOT / "sidecar/runestone_sidecar/upstream/dialects"
    package = "runestone_sidecar.upstream.dialects."
    shared = {"base", "exact_json", "fields", "provider_error", "splice", "tap", "user_id"}
    seen: set[tuple[str, str]] = set()
    for path in folder.glob("*.py"):
        imports = [
            n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)
        ]
        names = {node.module or "" for node in imports}
        others = {name.removeprefix(package) for name in names if name.startswith(package)}
        seen |= {(path.stem.partition("_")[0], name.partition("_")[0]) for name in others - shared}
    assert seen
    assert {pair for pair in seen if pair[0] != pair[1]} == set()


def tracked_files() -> list[Path]:
    """What belongs to the project: by git where this is a checkout, else all that is not made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return [path for path in (ROOT / name for name in names) if path.is_file()]
    ignored = {".venv", "__pycache__"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not ignored & set(path.parts)
        and not path.name.startswith(".coverage")
    ]


def test_nothing_names_the_machine_it_was_written_on() -> None:
    words = [
        rb"(?<![\w.$}])/" + folder + rb"/"
        for folder in (b"wo" + b"rk", b"ro" + b"ot", b"ho" + b"me/\\w+", b"Us" + b"ers/\\w+")
    ]
    pattern = re.compile(b"|".join(words))
    found = [
        f"{relative(path)}: {match.group().decode()}"
        for path in tracked_files()
        if (match := pattern.search(path.read_bytes()))
    ]
    assert found == []


def test_locks_name_no_registry() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    assert [relative(path) for path in locks if "://" in path.read_text()] == []


def test_tests_that_take_their_time_run_first() -> None:
    """Else one worker is alone with them at the end."""
    long, short, many = "tests/integration/test_a.py", "tests/x/test_b.py", "tests/x/test_c.py"
    tests = [many, short, many, long, many, long]
    assert in_order(tests) == [long, short, many]
