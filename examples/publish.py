#!/usr/bin/env python3
"""Speaks the lines of standard input on one topic, each as a JSON string. Python's standard library alone.

    echo hello | examples/publish.py default.demo
    EARSHOT_TOKEN=... examples/publish.py shop.chat:room-42 < lines.txt

EARSHOT_URL is where Earshot answers (default http://localhost:8080).
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("EARSHOT_URL", "http://localhost:8080")
TOKEN = os.environ.get("EARSHOT_TOKEN")
ATTEMPTS = 5


def publish(topic_id, payload):
    """Returns the answer. Repeats only what Earshot says is safe to repeat."""
    request = urllib.request.Request(
        f"{URL}/api/v1/topics/{topic_id}/publish",
        data=json.dumps({"payload": payload}).encode(),
        headers={"Content-Type": "application/json"},
    )
    if TOKEN:
        request.add_header("Authorization", f"Bearer {TOKEN}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            problem = json.load(refusal)
            if not problem.get("retryable") or attempt == ATTEMPTS:
                sys.exit(f"{problem['code']}: {problem['detail']}")
            time.sleep(float(refusal.headers.get("Retry-After", "1")))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for line in sys.stdin:
        print(json.dumps(publish(sys.argv[1], line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
