#!/bin/sh
# Asks for a ticket for ann. BACKEND_PASSWORD is the one whose hash Caddy has.
curl --silent --show-error --fail-with-body \
	--user "backend:$BACKEND_PASSWORD" \
	--json '{"user":"ann","roles":["editor"],"ttl_ms":30000}' \
	"${API:-http://localhost:8080/rt}/tickets"
