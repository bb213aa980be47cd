#!/bin/bash
# What a client without a library does: a blob in chunks, a manifest, ranges, a referrer, deletion.
# Takes the registry's address, as in 127.0.0.1:8090. Exits non-zero, with a reason, on failure.
set -euo pipefail
registry=${1:?the address of a registry}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=clients/curl
base=http://$registry/v2/$name

fail() { echo "curl.sh: $*" >&2; exit 1; }
# Sends a request and fails unless the status is as expected; headers and body stay in files.
ask() {
    local expected=$1
    shift
    local got
    got=$(curl -sS -o "$work/body" -D "$work/headers" -w '%{http_code}' "$@")
    [ "$got" = "$expected" ] || fail "$* answered $got, not $expected: $(head -c 500 "$work/body")"
}
header() { tr -d '\r' <"$work/headers" | sed -n "s/^$1: //Ip" | tail -1; }
digest() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }
absolute() { case $1 in http*) echo "$1" ;; *) echo "http://$registry$1" ;; esac; }

head -c 300000 /dev/urandom >"$work/layer"
printf '{}' >"$work/config"
ask 202 -X POST "$base/blobs/uploads/"
split -b 100000 "$work/layer" "$work/chunk."
from=0
for chunk in "$work"/chunk.*; do
    to=$((from + $(stat -c %s "$chunk") - 1))
    ask 202 -X PATCH -H "Content-Range: $from-$to" --data-binary @"$chunk" "$(absolute "$(header location)")"
    [ "$(header range)" = "0-$to" ] || fail "the range is '$(header range)', not 0-$to"
    from=$((to + 1))
done
upload=$(absolute "$(header location)")
ask 416 -X PATCH -H "Content-Range: 7-8" --data-binary xx "$upload"
ask 201 -X PUT "$upload?digest=$(digest "$work/layer")"
ask 201 -X POST --data-binary @"$work/config" "$base/blobs/uploads/?digest=$(digest "$work/config")"
ask 400 -X POST --data-binary other "$base/blobs/uploads/?digest=$(digest "$work/config")"

ask 206 -H 'Range: bytes=1000-1999' "$base/blobs/$(digest "$work/layer")"
cmp -s "$work/body" <(tail -c +1001 "$work/layer" | head -c 1000) || fail "the range has other bytes"
ask 200 "$base/blobs/$(digest "$work/layer")"
cmp -s "$work/body" "$work/layer" || fail "the blob has other bytes"

manifest() {
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/x","digest":"%s","size":2},"layers":[{"mediaType":"application/x","digest":"%s","size":300000}]%s}' \
        "$(digest "$work/config")" "$(digest "$work/layer")" "$1"
}
manifest '' >"$work/manifest"
type='Content-Type: application/vnd.oci.image.manifest.v1+json'
ask 201 -X PUT -H "$type" --data-binary @"$work/manifest" "$base/manifests/first"
[ "$(header docker-content-digest)" = "$(digest "$work/manifest")" ] || fail "the manifest has another digest"
ask 200 -I "$base/manifests/first"
manifest ",\"artifactType\":\"application/note\",\"subject\":{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$(digest "$work/manifest")\",\"size\":$(stat -c %s "$work/manifest")}" >"$work/note"
ask 201 -X PUT -H "$type" --data-binary @"$work/note" "$base/manifests/$(digest "$work/note")"
[ "$(header oci-subject)" = "$(digest "$work/manifest")" ] || fail "the subject is not named"
ask 200 "$base/referrers/$(digest "$work/manifest")?artifactType=application/note"
grep -q "$(digest "$work/note")" "$work/body" || fail "the referrer is not listed"
ask 200 "$base/tags/list"
grep -q '"first"' "$work/body" || fail "the tag is not listed"
ask 202 -X DELETE "$base/manifests/$(digest "$work/note")"
ask 202 -X DELETE "$base/manifests/first"
ask 404 "$base/manifests/first"
ask 202 -X DELETE "$base/manifests/$(digest "$work/manifest")"
ask 404 "$base/manifests/$(digest "$work/manifest")"
echo "curl.sh: ok"
