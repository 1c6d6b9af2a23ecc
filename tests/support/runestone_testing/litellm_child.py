"""Runs in litellm's own environment: chat requests in, a JSON line each, and what came of them out.

A line in is the keyword arguments of litellm.completion. A line out is {"reply": …}, a whole
completion or a list of chunks, or {"error": …, "status": …}.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

# Before the import, or it fetches its price list.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}

import litellm

OUT = sys.stdout
sys.stdout = sys.stderr  # it prints hints


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        reply = litellm.completion(**request)
        if request.get("stream"):
            return {"reply": [chunk.model_dump(mode="json") for chunk in reply]}
        return {"reply": reply.model_dump(mode="json")}
    except Exception as error:
        return {"error": str(error), "status": getattr(error, "status_code", None)}


def main() -> None:
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # litellm leaves streams to the collector, which closes them where it runs: within a call of
    # their connection pool that is a deadlock. So it runs between the requests alone.
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=OUT, flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
