#!/usr/bin/env python3
"""Prints what is spoken on one or many topics, over server-sent events. Python's standard library alone.

    examples/listen.py default.demo
    EARSHOT_TOKEN=... examples/listen.py shop.prices shop.chat:room-42

EARSHOT_URL is where Earshot answers (default http://localhost:8080).
"""

import http.client
import json
import os
import random
import sys
import time
import urllib.parse

URL = urllib.parse.urlsplit(os.environ.get("EARSHOT_URL", "http://localhost:8080"))
TOKEN = os.environ.get("EARSHOT_TOKEN")
# A comment comes every 15 s: silence beyond this means that the connection is dead.
SILENCE_SECONDS = 25


def connect(topic_ids):
    """Opens the stream and returns (connection, response)."""
    door = http.client.HTTPSConnection if URL.scheme == "https" else http.client.HTTPConnection
    connection = door(URL.netloc, timeout=SILENCE_SECONDS)
    query = urllib.parse.urlencode([("topic_id", topic_id) for topic_id in topic_ids])
    headers = {"Accept": "text/event-stream"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    connection.request("GET", f"/api/v1/subscribe?{query}", headers=headers)
    return connection, connection.getresponse()


def frames(response):
    """The JSON frames of a stream. An event here is one `data:` line; comments and `retry:` are not for us."""
    for line in response:
        if line.startswith(b"data: "):
            yield json.loads(line[len(b"data: ") :])


def show(frame):
    kind = frame["type"]
    if kind == "message":
        print(f"{frame['topic_id']} {frame['publisher_id']}: {json.dumps(frame['payload'], ensure_ascii=False)}", flush=True)
    elif kind == "gap":
        missed = frame.get("missed", "some messages, nobody knows how many,")
        print(f"{frame['topic_id']}: missed {missed} ({frame['reason']})", file=sys.stderr)
    elif kind == "error":
        print(f"{frame.get('topic_id', '')} {frame['code']}: {frame['message']}", file=sys.stderr)
    elif kind == "unsubscribed":
        print(f"{frame['topic_id']}: unsubscribed ({frame['reason']})", file=sys.stderr)


def main():
    topic_ids = sys.argv[1:]
    if not topic_ids:
        sys.exit(__doc__)
    failures = 0
    while True:
        wait = random.uniform(0, min(30, 0.5 * 2**failures))
        try:
            connection, response = connect(topic_ids)
            if response.status != 200:
                problem = json.load(response)
                print(f"{problem['code']}: {problem['detail']}", file=sys.stderr)
                if not problem["retryable"]:
                    sys.exit(1)
                failures += 1
            else:
                told = False
                for frame in frames(response):
                    show(frame)
                    if frame["type"] == "subscribed":
                        failures = 0
                    # The gateway goes away: it serves on until it ends the stream; then go elsewhere at once.
                    if frame["type"] == "reconnect":
                        told = True
                        wait = 0 if frame["closes_in_ms"] > 0 else frame["delay_ms"] / 1000
                    if frame["type"] == "error" and frame["code"] == "token_expired":
                        sys.exit(1)
                if not told:
                    print("connection lost: the stream ended", file=sys.stderr)
            connection.close()
        except (OSError, http.client.HTTPException) as trouble:
            print(f"connection lost: {trouble!r}", file=sys.stderr)
            failures += 1
        time.sleep(wait)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
