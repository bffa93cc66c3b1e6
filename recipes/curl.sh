#!/usr/bin/env bash
# Pushes rows with curl:   recipes/curl.sh [NAMESPACE/TABLE]
# FLOEBERG_URL says where to (http://127.0.0.1:8181), FLOEBERG_TOKEN with which token, if one is asked for.
#
# Each request is safe to send again, by curl as by whoever runs all of this a second time: its key is made of its rows, and what
# a key was written with once is not written again while the server keeps it (30 minutes).
set -euo pipefail
server="${FLOEBERG_URL:-http://127.0.0.1:8181}" table="${1:-shop/orders}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# push FILE QUERY [curl's arguments]: sends the rows of a file until there is an answer, which is shown.
push() {
    local file="$1" query="$2" status
    shift 2
    # Tried again is what keeps an answer away, and 429, 500, 503 and 504: after twice as long each time, or when the server
    # says. Other refusals are final.
    status="$(curl -sS -o "$folder/answer" -w '%{http_code}' --retry 8 --retry-all-errors --max-time 90 \
        -H 'Content-Type: application/x-ndjson' -H "Idempotency-Key: $(sha256sum < "$file" | cut -c 1-64)" \
        ${FLOEBERG_TOKEN:+-H "Authorization: Bearer $FLOEBERG_TOKEN"} "$@" \
        --data-binary "@$file" "$server/ingest/v1/$table$query")"
    cat "$folder/answer"
    echo
    # 200: the rows are in a snapshot. 202: they are in the server's log. 500 and 504: nobody knows yet. Others: not written.
    [ "$status" = 200 ] || [ "$status" = 202 ]
}

# The first rows make the table, which is partitioned as they say; for one that exists it has to be so.
cat > "$folder/first.ndjson" <<'ROWS'
{"id": 1, "at": "2024-01-01T10:00:00Z", "customer": "ann", "amount": 9.5}
{"id": 2, "at": "2024-01-01T23:59:59.5+01:00", "customer": "bob", "amount": 3}
ROWS
push "$folder/first.ndjson" '?partition_by=day(at)'

# A file that is compressed already.
for id in {3..22}; do
    printf '{"id": %d, "at": "2024-01-02T%02d:00:00Z", "customer": "eve", "amount": 0.25}\n' "$id" "$id"
done | gzip -n > "$folder/more.ndjson.gz"
push "$folder/more.ndjson.gz" '' -H 'Content-Encoding: gzip'

# What has to be fast: the answer (202) comes when the rows are in the server's log on its disk. They are committed some
# seconds later, or when somebody asks for it.
echo '{"id": 23, "at": "2024-01-03T08:00:00Z", "customer": "ann", "amount": 1}' > "$folder/fast.ndjson"
push "$folder/fast.ndjson" '?ack=wal'
curl -sS -X POST ${FLOEBERG_TOKEN:+-H "Authorization: Bearer $FLOEBERG_TOKEN"} "$server/ingest/v1/$table/flush"
echo

# Reading an answer: here how many rows were written, and whether all this had been answered before.
grep -o '"written":[0-9]*\|"duplicate":true' "$folder/answer"
