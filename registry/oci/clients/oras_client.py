#!/usr/bin/env python3
"""The oras client pushes files, pulls them back and lists tags; with a second address, by another
registry too. Takes the registry's address, and another registry's if there is one. With NAME:SECRET in
REGISTRY_SECRET it speaks TLS, to a registry that REQUESTS_CA_BUNDLE lets it trust, and shows the secret.
Exits non-zero, with a reason, on failure."""

import os
import sys
import tempfile

import oras.client


def fail(reason):
    sys.exit(f"oras_client.py: {reason}")


def check(registry, content):
    secret = os.environ.get("REGISTRY_SECRET")
    client = oras.client.OrasClient(hostname=registry, insecure=not secret, tls_verify=bool(secret))
    if secret:
        client.auth.set_basic_auth(*secret.split(":", 1))
    target = f"{registry}/clients/oras:one"
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        with open("file.txt", "wb") as file:
            file.write(content)
        pushed = client.push(files=["file.txt:application/x"], target=target, manifest_annotations={"note": "one"})
        if pushed.status_code not in (200, 201):
            fail(f"the push answered {pushed.status_code}: {pushed.text}")
        os.mkdir("out")
        pulled = client.pull(target=target, outdir="out")
        if len(pulled) != 1:
            fail(f"{len(pulled)} files came back")
        with open(pulled[0], "rb") as file:
            if file.read() != content:
                fail("other bytes came back")
        if "one" not in client.get_tags(target):
            fail("the tag is not listed")
        os.chdir("/")
        return client.get_manifest(target)


def main():
    if len(sys.argv) < 2:
        fail("the address of a registry is missing")
    content = os.urandom(3_000_000)
    manifests = [check(registry, content) for registry in sys.argv[1:3]]
    if any(manifest["layers"] != manifests[0]["layers"] for manifest in manifests):
        fail("two registries hold other layers of the same push")
    print("oras_client.py: ok")


main()
