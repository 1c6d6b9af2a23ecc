"""How far the sidecar's estimate of tokens is off, beside real tokenizers; the weights that fit.

Wants a virtual environment of its own, never the project's: numpy, tiktoken and tokenizers, and a
folder with the vocabularies as `litellm`'s wheel has them (litellm/litellm_core_utils/tokenizers).

    python -m venv V; V/bin/pip install numpy tiktoken tokenizers
    V/bin/pip download --no-deps litellm
    unzip -j litellm-*.whl '*/tokenizers/*' -d VOCABULARIES
    PYTHONPATH=sidecar:hack V/bin/python -m benchmarks.token_estimate VOCABULARIES [--fit]
"""

import argparse
import importlib
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.token_corpus import Corpus, build_corpus
from runestone_sidecar.upstream import text_tokens

SHORTEST, LONGEST = 200, 100_000  # bytes, about
FIT_SAMPLES, MEASURE_SAMPLES = 60, 40  # of each source
PINNED = {"full width": 0.4}  # about a token each; in the corpus a mark of Taiwan's prose instead
# What is asked for much counts for more than what is only on the machine.
SHARE = defaultdict(lambda: 1.0, english=6.0, code=6.0, european=6.0, json=3.0, chinese=2.0)
MUCH_USED = frozenset(("de", "es", "fr", "it", "pt", "pt_BR", "ru", "zh_CN"))  # of their kind
SHARE |= {"markdown": 2.0, "japanese": 1.5, "cyrillic": 1.5, "logs": 1.5}

Count = Callable[[str], int]
Sample = tuple[str, str, str]  # kind, source, text


def load_tokenizers(folder: Path) -> dict[str, Count]:
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    tiktoken = importlib.import_module("tiktoken")
    tokenizers = importlib.import_module("tokenizers")
    claude = tokenizers.Tokenizer.from_file(str(folder / "anthropic_tokenizer.json"))

    def load(name: str) -> Count:
        encoding = tiktoken.get_encoding(name)
        return lambda text: len(encoding.encode_ordinary(text))

    return {
        "o200k_base": load("o200k_base"),
        "cl100k_base": load("cl100k_base"),
        "claude-2": lambda text: len(claude.encode(text).ids),
    }


def draw_samples(corpus: Corpus, side: int, samples: int) -> list[Sample]:
    """Lengths spread evenly over the orders of magnitude."""
    rng = random.Random(side)
    drawn = []
    for (kind, name), streams in corpus.items():
        stream = streams[side]
        for _ in range(samples):
            length = min(len(stream), int(SHORTEST * (LONGEST / SHORTEST) ** rng.random()))
            start = rng.randrange(len(stream) - length + 1)
            text = stream[start : start + length]
            drawn.append((kind, name, text.encode()[:LONGEST].decode(errors="ignore")))
    return drawn


def count_features(text: str) -> list[float]:
    sample = text_tokens.take_sample(text)
    data = sample.encode("utf-8", "replace")
    scale = len(text) / len(sample)
    counts = (*text_tokens.count_marks(data), *text_tokens.count_scripts(data))
    return [count * scale for count in counts]


def fit(samples: list[Sample], count: Count) -> list[float]:
    """The least relative error, each sample by its kind's share: least squares, weighed again."""
    np = importlib.import_module("numpy")
    of_kind: defaultdict[str, int] = defaultdict(int)
    for kind, name, _ in samples:
        of_kind[kind] += 4 if name in MUCH_USED else 1
    shares = np.array(
        [SHARE[kind] / of_kind[kind] * (4 if name in MUCH_USED else 1) for kind, name, _ in samples]
    )
    shares *= len(samples) / shares.sum()
    rows = np.array([np.array(count_features(text)) / count(text) for _, _, text in samples])
    pins = [0.0] * len(text_tokens.MARK_WEIGHTS) + [
        PINNED.get(s[0], 0.0) for s in text_tokens.SCRIPTS
    ]
    wanted = 1 - rows @ np.array(pins)
    rows *= np.array([not pin for pin in pins])
    norms = np.sqrt((rows**2).mean(axis=0)) + 1e-12
    rows /= norms
    ridge = 1e-5 * len(samples) * np.eye(rows.shape[1])
    weights, solution = shares, np.zeros(rows.shape[1])
    for _ in range(30):
        weighed = rows * weights[:, None]
        solution = np.linalg.solve(weighed.T @ rows + ridge, weighed.T @ wanted)
        weights = shares / np.maximum(np.abs(rows @ solution - wanted), 0.04)
    return [round(float(weight), 3) for weight in solution / norms + np.array(pins)]


def adopt(weights: Sequence[float]) -> None:
    marks = len(text_tokens.MARK_WEIGHTS)
    changed: Any = text_tokens
    changed.MARK_WEIGHTS = tuple(weights[:marks])
    changed.SCRIPTS = tuple(
        (*script[:3], weight)
        for script, weight in zip(text_tokens.SCRIPTS, weights[marks:], strict=True)
    )
    print("MARK_WEIGHTS =", changed.MARK_WEIGHTS)
    print("SCRIPTS =", *changed.SCRIPTS, sep="\n  ")


def report(samples: list[Sample], name: str, count: Count) -> None:
    errors = defaultdict(list)
    for kind, _, text in samples:
        error = text_tokens.estimate_text(text) / count(text) - 1
        errors[kind].append(error)
        errors["ALL"].append(error)
    print(f"\n{name}: kind, samples, bias, and the relative error: median, p90, p99")
    for kind, found in sorted(errors.items()):
        sizes = sorted(map(abs, found))
        bias = sorted(found)[len(found) // 2]
        median, p90, p99 = (sizes[int(len(sizes) * q)] for q in (0.5, 0.9, 0.99))
        print(f"{kind:10} {len(found):5} {bias:+7.1%} {median:6.1%} {p90:6.1%} {p99:6.1%}")


def report_cost(text: str) -> None:
    for characters in (100, 512, 1_000, 10_000, 100_000):
        piece, rounds = text[:characters], 500
        spent_s = []
        for _ in range(5):
            started = time.process_time()
            for _ in range(rounds):
                text_tokens.estimate_text(piece)
            spent_s.append((time.process_time() - started) / rounds)
        print(f"{len(piece):7,} characters: {min(spent_s) * 1e6:6.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vocabularies", type=Path)
    parser.add_argument("--fit", action="store_true", help="find the weights anew, to be copied")
    arguments = parser.parse_args()
    counts = load_tokenizers(arguments.vocabularies)
    corpus = build_corpus()
    print(len(corpus), "sources:", *(f"{kind}/{name}" for kind, name in corpus))
    if arguments.fit:
        adopt(fit(draw_samples(corpus, 0, FIT_SAMPLES), counts["o200k_base"]))
    samples = draw_samples(corpus, 1, MEASURE_SAMPLES)
    for name, count in counts.items():
        short = [sample for sample in samples if name != "claude-2" or len(sample[2]) < 10_000]
        report(short, name, count)
    report_cost(corpus["english", "manuals"][0])


if __name__ == "__main__":
    main()
