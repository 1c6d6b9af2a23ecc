"""An application that never stops asking: chats, streams (some break off), and jobs for later.

Three at a time, so that a key limited to one request at once has some of them wait.
"""

import http.client
import itertools
import json
import os
import threading
import time
import urllib.error
import urllib.request
from typing import Any

PAUSE_S = 0.2


def ask(number: int) -> None:
    message = {"role": "user", "content": f"number {number}"}
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [message]}
    headers = {
        "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
        "Content-Type": "application/json",
    }
    if number % 3 == 0:
        body["stream"] = True
        if number % 2 == 0:
            body["model"] = "breaks-off"
    elif number % 3 == 1 and "LATER_KEY" in os.environ:
        headers |= {"Prefer": "respond-async", "Authorization": f"Bearer {os.environ['LATER_KEY']}"}
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
    except (urllib.error.URLError, http.client.HTTPException) as error:
        print(repr(error), flush=True)


def ask_always() -> None:
    for number in itertools.count():
        ask(number)
        time.sleep(PAUSE_S)


for _ in range(3):
    threading.Thread(target=ask_always).start()
