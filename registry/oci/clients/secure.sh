#!/bin/bash
# curl, skopeo and buildah over TLS with a private authority, by Basic and by Bearer; who has no token,
# or does not know the authority, gets nothing.
# Takes the registry's address, the authority's PEM file and NAME:SECRET of a token that may pull and
# push. Exits non-zero, with a reason, on failure.
set -euo pipefail
registry=${1:?the address of a registry}
authority=${2:?a PEM file}
secret=${3:?NAME:SECRET}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "secure.sh: $*" >&2; exit 1; }
run() { "$@" >"$work/log" 2>&1 || fail "$*: $(tail -3 "$work/log")"; }
refused() { if "$@" >"$work/log" 2>&1; then fail "was let in: $*"; fi; }

mkdir "$work/trust" "$work/distrust"
cp "$authority" "$work/trust/ca.crt"

# Basic, the secret as Bearer, and what it is exchanged for.
status() { curl -sS -o "$work/body" -w '%{http_code}' --cacert "$authority" "$@"; }
base=https://$registry/v2/
[ "$(status "$base")" = 401 ] || fail "nobody is let in"
[ "$(status -u "$secret" "$base")" = 200 ] || fail "Basic is not let in"
[ "$(status -u "$secret-" "$base")" = 401 ] || fail "another secret is let in"
[ "$(status -H "Authorization: Bearer ${secret#*:}" "$base")" = 200 ] || fail "Bearer is not let in"
[ "$(status -u "$secret" "${base}token?service=eyot&scope=repository:clients/skopeo:pull")" = 200 ] || fail "no token is given"
token=$(sed -n 's/.*"token":"\([^"]*\)".*/\1/p' "$work/body")
[ "$(status -H "Authorization: Bearer $token" "${base}clients/skopeo/tags/list")" = 404 ] || fail "the token is not let in"
[ "$(status -H "Authorization: Bearer $token" "${base}clients/other/tags/list")" = 401 ] || fail "the token opens another repository"
[ "$(status --http2 -u "$secret" "$base")" = 200 ] || fail "HTTP/2 is not spoken"
curl -sS --cacert "$authority" -D - -o /dev/null --http2 "$base" | grep -qi "realm=\"https://$registry/v2/token\"" ||
    fail "the challenge names another place"

# An image made by hand.
printf 'hello' >"$work/file"
tar -C "$work" --mtime=@0 -cf "$work/layer" file
mkdir -p "$work/layout/blobs/sha256"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/layout/oci-layout"
digest() { sha256sum "$1" | cut -d' ' -f1; }
keep() { cp "$1" "$work/layout/blobs/sha256/$(digest "$1")"; }
descriptor() { printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s%s}' "$1" "$(digest "$2")" "$(stat -c %s "$2")" "${3:-}"; }
keep "$work/layer"
printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$(digest "$work/layer")" >"$work/config"
keep "$work/config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$(descriptor config.v1+json "$work/config")" "$(descriptor layer.v1.tar "$work/layer")" >"$work/manifest"
keep "$work/manifest"
printf '{"schemaVersion":2,"manifests":[%s]}' \
    "$(descriptor manifest.v1+json "$work/manifest" ',"annotations":{"org.opencontainers.image.ref.name":"one"}')" >"$work/layout/index.json"

if command -v skopeo >/dev/null; then
    to="docker://$registry/clients/skopeo:one"
    copy() { skopeo --insecure-policy copy --preserve-digests "$@" "oci:$work/layout:one" "$to"; }
    refused copy --dest-cert-dir "$work/trust"
    refused copy --dest-cert-dir "$work/trust" --dest-creds "$secret-"
    refused copy --dest-cert-dir "$work/distrust" --dest-creds "$secret"
    run copy --dest-cert-dir "$work/trust" --dest-creds "$secret"
    run skopeo --insecure-policy copy --preserve-digests --src-cert-dir "$work/trust" --src-creds "$secret" "$to" "oci:$work/out:one"
    grep -q "$(digest "$work/manifest")" "$work/out/index.json" || fail "skopeo pulled another manifest"
fi

if command -v buildah >/dev/null; then
    storage=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
    container=$("${storage[@]}" from scratch 2>"$work/log") || fail "buildah from scratch: $(tail -3 "$work/log")"
    run "${storage[@]}" copy "$container" "$work/file" /file
    run "${storage[@]}" commit "$container" local:one
    push() { "${storage[@]}" push "$@" local:one "docker://$registry/clients/buildah:one"; }
    refused push --cert-dir "$work/distrust" --creds "$secret"
    refused push --cert-dir "$work/trust"
    run push --cert-dir "$work/trust" --creds "$secret"
    run "${storage[@]}" pull --cert-dir "$work/trust" --creds "$secret" "docker://$registry/clients/buildah:one"
    run "${storage[@]}" rm "$container"
    run "${storage[@]}" rmi --all --force
fi
echo "secure.sh: ok"
