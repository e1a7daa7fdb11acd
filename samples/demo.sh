#!/bin/sh
# Stops the campaigns of samples/campaigns.csv at a simulator that lives only as long as this script.
set -eu
cd "$(dirname "$0")/.."

# Whatever is set for real use must not reach the demo.
for name in $(env | sed -n 's/^\(BULKSTOP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
# Fictional; the simulator accepts only tokens that are signed with this secret.
export BULKSTOP_CLIENT_ID=cs-demo BULKSTOP_CLIENT_SECRET=demo-secret-that-opens-nothing-at-all
export BULKSTOP_CONFIG=/dev/null

folder=$(mktemp -d)
simulator=
clean_up() {
    if [ -n "$simulator" ]; then
        kill "$simulator" 2>/dev/null || :
        wait "$simulator" 2>/dev/null || :
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

mkfifo "$folder/address"
bulkstop simulate --quota 60/60s --latency 300 --sigma 0.3 >"$folder/address" 2>"$folder/said" &
simulator=$!
# The simulator writes its address when it is ready; if it fails, the pipe closes and there is nothing to read.
read -r host <"$folder/address" || { echo "demo: the simulator did not start" >&2; cat "$folder/said" >&2; exit 1; }

set -- bulkstop stop samples/campaigns.csv --host "$host" --concurrency 4 --yes -o demo.results.jsonl --overwrite
echo "\$ $*"
"$@"

echo
echo "\$ head -n 1 demo.results.jsonl"
head -n 1 demo.results.jsonl

cat <<'NEXT'

What to try next:
  make install                                          put bulkstop on the PATH
  bulkstop report demo.results.jsonl --check            sum these results up, and check that they are whole
  bulkstop stop samples/campaigns.csv --host api.example --dry-run
                                                        see the plan of a run; nothing is sent
  bulkstop simulate --quota 60/60s                      keep a simulator open, for tries of your own
NEXT
