#!/bin/sh
# Publishes to a channel over the HTTP API, with curl: one message with a key, so that it may be sent again, and two at once.
#
#   examples/backend-publish/publish.sh [API [CHANNEL]]
set -eu
api=${1:-http://localhost:8080/rt}
channel=${2:-chat/lobby}

curl --silent --show-error --fail-with-body --retry 3 --json "{\"channel\":\"$channel\",\"data\":{\"text\":\"from curl\"},\"key\":\"curl-$$\"}" "$api/publish"
echo
curl --silent --show-error --fail-with-body --json "[{\"channel\":\"$channel\",\"data\":1},{\"channel\":\"$channel\",\"data\":2}]" "$api/publish"
echo
