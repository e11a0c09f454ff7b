#!/bin/sh
# Speaks one message with curl and prints what became of it.
#
#   examples/publish.sh default.demo '{"text":"hi"}'
#
# EARSHOT_URL is where Earshot answers (default http://localhost:8080); EARSHOT_TOKEN is a token, where one is needed:
#   EARSHOT_TOKEN=$(npm run --silent token -- alice --publish 'shop.*') examples/publish.sh shop.prices '{"EURUSD":1.0842}'
set -eu

topic=${1:?"usage: publish.sh <topic id> <payload as JSON>"}
payload=${2:?"usage: publish.sh <topic id> <payload as JSON>"}

# The token goes in by a file descriptor: arguments can be seen by everybody on the machine.
authorization() {
  if [ -n "${EARSHOT_TOKEN:-}" ]; then printf 'header = "Authorization: Bearer %s"\n' "$EARSHOT_TOKEN"; fi
}

# receipt "gateway" counts what was really written; without it the answer comes a round trip sooner.
authorization | curl --silent --show-error --config - \
  "${EARSHOT_URL:-http://localhost:8080}/api/v1/topics/$topic/publish" \
  --data-binary "{\"payload\":$payload,\"receipt\":\"gateway\"}"
echo
