"""What applications of the shop run, in their own Python; see test_shop."""

from typing import Final

SDK: Final = """
import sys
from openai import OpenAI
client = OpenAI()
for model in sys.argv[1:]:
    messages = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model=model, messages=messages)
    print(whole.choices[0].message.content)
    stream = client.chat.completions.create(model=model, messages=messages, stream=True)
    parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    print("".join(parts).strip())
"""
MANY: Final = """
import collections, sys
from openai import OpenAI, OpenAIError
client, seen = OpenAI(max_retries=0), collections.Counter()
for _ in range(int(sys.argv[1])):
    try:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
        seen["ok"] += 1
    except OpenAIError as error:
        seen[str(getattr(error, "status_code", error))] += 1
import json; print(json.dumps(seen))
"""
JOBS: Final = """
import json, os, sys, urllib.request
def call(path, body=None, **headers):
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + path, body)
    request.add_header("Authorization", "Bearer " + os.environ["OPENAI_API_KEY"])
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    return json.load(urllib.request.urlopen(request, timeout=30))
if sys.argv[1] == "submit":
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "later"}]}
    for _ in range(int(sys.argv[2])):
        made = call("/chat/completions", json.dumps(body).encode(), Prefer="respond-async",
                    Content_Type="application/json")
        print(made["id"])
else:
    print(json.dumps({job["id"]: job["status"] for job in call("/jobs")["data"]}))
"""
LATER: Final = """
import json, os, sys, time, urllib.error, urllib.request
def call(path, body=None):
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + path, body)
    if body:
        request.add_header("Prefer", "respond-async")
    request.add_header("Authorization", "Bearer " + os.environ["OPENAI_API_KEY"])
    request.add_header("Content-Type", "application/json")
    return json.load(urllib.request.urlopen(request, timeout=60))
def has_queue():
    try:
        return "data" in call("/jobs")
    except urllib.error.HTTPError:
        return False
until = time.monotonic() + 60
while not has_queue() and time.monotonic() < until:  # its namespace is new to NATS
    time.sleep(0.2)
body = {"model": sys.argv[1], "messages": [{"role": "user", "content": "later"}]}
job = call("/chat/completions", json.dumps(body).encode())
while job["status"] in ("queued", "running", "retrying"):
    job = call("/jobs/" + job["id"] + "?wait=30")
print(job["response"]["body"]["choices"][0]["message"]["content"])
"""
# An application that reads its key anew for each request, until it has a new one.
READER: Final = """
import collections, time
from openai import OpenAI, OpenAIError
def key():
    return open("/key/api-key").read()
first, seen, until = key(), collections.Counter(), time.monotonic() + 170
with_new = 0
while with_new < 50 and time.monotonic() < until:
    now = key()
    try:
        OpenAI(api_key=now, max_retries=0).chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "x"}])
        seen["ok"] += 1
        with_new += now != first
    except OpenAIError as error:
        seen[str(error)] += 1
    time.sleep(0.05)
print(with_new)
import json; print(json.dumps(seen))
"""
PROPORTIONAL: Final = """
for line in open("/proc/1/smaps_rollup"):
    if line.startswith("Pss:"):
        print(line.split()[1])
"""
