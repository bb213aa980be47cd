#!/bin/bash
# skopeo copies an image in, out, and to another registry and back, by the same digests.
# Takes the registry's address and, for the way to another one, docker-registry's or a like one's.
# Exits non-zero, with a reason, on failure.
set -euo pipefail
registry=${1:?the address of a registry}
other=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "skopeo.sh: $*" >&2; exit 1; }
digest() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }
run() { skopeo --insecure-policy "$@" >"$work/log" 2>&1 || fail "skopeo $*: $(tail -3 "$work/log")"; }

# An image layout of two images in an index, made by hand: no other registry is needed.
layout=$work/layout
mkdir -p "$layout/blobs/sha256"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
keep() { cp "$1" "$layout/blobs/sha256/$(sha256sum "$1" | cut -d' ' -f1)"; }
descriptor() { printf '{"mediaType":"%s","digest":"%s","size":%s%s}' "$1" "$(digest "$2")" "$(stat -c %s "$2")" "${3:-}"; }
children=
for architecture in amd64 arm64; do
    mkdir -p "$work/root"
    head -c 200000 /dev/urandom >"$work/root/file"
    tar -C "$work/root" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$work/layer" file
    keep "$work/layer"
    printf '{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]}}' "$architecture" "$(digest "$work/layer")" >"$work/config"
    keep "$work/config"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$(descriptor application/vnd.oci.image.config.v1+json "$work/config")" \
        "$(descriptor application/vnd.oci.image.layer.v1.tar "$work/layer")" >"$work/manifest"
    keep "$work/manifest"
    children=$children${children:+,}$(descriptor application/vnd.oci.image.manifest.v1+json "$work/manifest" ",\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}")
done
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' "$children" >"$work/index"
keep "$work/index"
printf '{"schemaVersion":2,"manifests":[%s]}' \
    "$(descriptor application/vnd.oci.image.index.v1+json "$work/index" ',"annotations":{"org.opencontainers.image.ref.name":"one"}')" >"$layout/index.json"
expected=$(digest "$work/index")

same() {
    local found
    found=$(skopeo --insecure-policy inspect --raw --tls-verify=false "docker://$1" | sha256sum | cut -d' ' -f1)
    [ "sha256:$found" = "$expected" ] || fail "$1 is sha256:$found, not $expected"
}
copy() { run copy --all --preserve-digests --src-tls-verify=false --dest-tls-verify=false "$1" "$2"; }

copy "oci:$layout:one" "docker://$registry/clients/skopeo:one"
same "$registry/clients/skopeo:one"
copy "docker://$registry/clients/skopeo:one" "oci:$work/out:one"
grep -q "$expected" "$work/out/index.json" || fail "the layout that came out has another index"
copy "docker://$registry/clients/skopeo:one" "docker://$registry/clients/skopeo-copy:two"
same "$registry/clients/skopeo-copy:two"
skopeo list-tags --tls-verify=false "docker://$registry/clients/skopeo" | grep -q '"one"' || fail "the tag is not listed"
if [ -n "$other" ]; then
    copy "docker://$registry/clients/skopeo:one" "docker://$other/clients/skopeo:one"
    same "$other/clients/skopeo:one"
    copy "docker://$other/clients/skopeo:one" "docker://$registry/clients/skopeo-back:one"
    same "$registry/clients/skopeo-back:one"
fi
run delete --tls-verify=false "docker://$registry/clients/skopeo-copy:two"
if skopeo --insecure-policy inspect --raw --tls-verify=false "docker://$registry/clients/skopeo-copy:two" >/dev/null 2>&1; then
    fail "what was deleted is there"
fi
echo "skopeo.sh: ok"
