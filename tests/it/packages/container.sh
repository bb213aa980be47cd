#!/bin/bash
# Builds the container file over a base that holds what `eyot` is linked with and nothing else, and runs the program
# in what comes of it. Takes the folder that `cargo xtask dist` wrote. Exits non-zero, with a reason, on failure.
set -euo pipefail
packages=${1:?the folder of the packages}
work=$(mktemp -d)
storage=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
cleanup() {
    "${storage[@]}" umount --all >/dev/null 2>&1 || true
    "${storage[@]}" rmi --all --force >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() { echo "container.sh: $*" >&2; exit 1; }
run() { "$@" >"$work/log" 2>&1 || fail "$*: $(tail -3 "$work/log")"; }

# As a base from a registry would: the loader and the libraries, where the loader looks for them.
mkdir -p "$work/base/tmp" "$work/base/data"
chmod 1777 "$work/base/tmp" "$work/base/data"
ldd "$packages/eyot" | grep -o '/[^ ]*' | while read -r library; do
    install -D "$library" "$work/base/$library"
done
container=$("${storage[@]}" from scratch)
run "${storage[@]}" copy "$container" "$work/base" /
run "${storage[@]}" commit "$container" localhost/base:here
run "${storage[@]}" build --pull=never --build-arg BASE=localhost/base:here \
    --file "$packages/Containerfile" --tag localhost/eyot:here "$packages"

said=$("${storage[@]}" inspect --type image --format \
    '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' localhost/eyot:here)
[ "$said" = "65532:65532 [/usr/bin/eyot] [up --set gateway.listen=0.0.0.0:8080]" ] || fail "the image is of $said"
container=$("${storage[@]}" from --pull=never localhost/eyot:here)
tree=$("${storage[@]}" mount "$container")
said=$(EYOT_DATA=/data HOME=/data chroot --userspec 65532:65532 "$tree" /usr/bin/eyot ls --json) || fail "eyot does not run"
[ "$said" = "[]" ] || fail "an empty folder holds $said"
echo "container.sh: ok"
