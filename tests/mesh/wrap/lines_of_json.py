"""Answers lines of JSON: `echo`, `digest` (of the input), `random` (so many bytes); notes what it got in the file LOG."""
import base64
import hashlib
import json
import os
import sys

for line in sys.stdin:
    call = json.loads(line)
    if "cancel" in call:
        continue
    given = call["input"]
    if sys.argv[1] == "echo":
        with open(os.environ["LOG"], "a") as file:
            file.write(json.dumps([call["message"], given]) + "\n")
        reply = call["message"]
    elif sys.argv[1] == "digest":
        data = base64.b64decode(given["$bytes"]) if isinstance(given, dict) else given.encode()
        reply = f"{hashlib.sha256(data).hexdigest()} {len(data)}"
    else:
        data = os.urandom(int(call["message"]))
        with open(os.environ["LOG"], "a") as file:
            file.write(hashlib.sha256(data).hexdigest() + "\n")
        reply = {"$bytes": base64.b64encode(data).decode()}
    print(json.dumps({"id": call["id"], "reply": reply}), flush=True)
