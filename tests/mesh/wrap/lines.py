"""Answers each line: `upper`, `rev`, `slow`, `jitter`, `hang`; notes what it got in the file LOG, if that is named."""
import os
import random
import sys
import time

mode, log = sys.argv[1], os.environ.get("LOG")
for line in sys.stdin:
    text = line.rstrip("\n")
    if log:
        with open(log, "a") as file:
            file.write(line)
    if mode == "hang":
        continue
    if mode == "slow":
        time.sleep(4)
    if mode == "jitter":
        time.sleep(random.random() / 20)
    print({"upper": text.upper(), "rev": text[::-1]}.get(mode, text), flush=True)
