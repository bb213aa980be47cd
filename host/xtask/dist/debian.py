"""Packs a built `eyot` as a package of Debian. Usage: debian.py BINARY VERSION FOLDER; prints its path.

Such a package is an `ar` archive of two tar files, so that no tool of Debian's is needed to make one. The same inputs
give the same bytes: entries are sorted, owned by root, and have the time of SOURCE_DATE_EPOCH, or 1970.
"""

import gzip
import hashlib
import io
import os
import platform
import re
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TIME = int(os.environ.get("SOURCE_DATE_EPOCH", 0))
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SETTINGS = "etc/eyot/eyot.toml"

CONTROL = """Package: eyot
Version: {version}
Architecture: {architecture}
Maintainer: The Eyot authors <eyot@localhost>
Installed-Size: {kibibytes}
Depends: libc6 (>= {glibc}), libgcc-s1
Section: science
Priority: optional
Description: serverless WebAssembly platform for machine learning
 One program is registry, pipeline engine, tracking store and prediction
 server. Pipeline steps and model handlers are WASI components.
 .
 The service eyot is installed and not started: systemctl enable --now eyot
"""

# The unit is known at once, and a removed one stops; nothing is started that nobody asked for.
# With DPKG_ROOT it is another system that is installed into, whose services do not run.
SYSTEMD = """#!/bin/sh
set -e
systemd() { if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi; }
"""
AFTER_INSTALL = f"""{SYSTEMD}systemd daemon-reload
# One that ran is the new one from now on.
if [ "$1" = configure ] && [ -n "$2" ]; then systemd try-restart eyot.service; fi
"""
BEFORE_REMOVAL = f"""{SYSTEMD}if [ "$1" = remove ]; then systemd disable --now eyot.service; fi
"""
AFTER_REMOVAL = f"""{SYSTEMD}systemd daemon-reload
if [ "$1" = purge ]; then rm -rf "$DPKG_ROOT/var/lib/eyot" "$DPKG_ROOT/var/lib/private/eyot"; fi
"""


def tar(files):
    """A compressed tar of files by path, each with its content and mode, and of their folders."""
    raw = io.BytesIO()
    folders = {str(parent) for path in files for parent in Path(path).parents}
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folders | set(files)):
            content, mode = files.get(path, (None, 0o755))
            info = tarfile.TarInfo("./" if path == "." else f"./{path}")
            info.mtime, info.mode, info.uname, info.gname = TIME, mode, "root", "root"
            if content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            archive.addfile(info, content and io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=TIME)


def member(name, content):
    """One file of an `ar` archive."""
    head = f"{name:<16}{TIME:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)


def control(version, architecture, files, binary):
    """What the package manager reads: the description, sums of all files, what is the user's to change, scripts."""
    newest = max((int(one), int(other)) for one, other in re.findall(rb"GLIBC_(\d+)\.(\d+)", binary))
    kibibytes = sum(len(content) for content, _ in files.values()) // 1024
    described = CONTROL.format(
        version=version, architecture=architecture, kibibytes=kibibytes, glibc=".".join(map(str, newest))
    )
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {path}\n" for path, (content, _) in sorted(files.items()))
    return {
        "control": (described.encode(), 0o644),
        "md5sums": (sums.encode(), 0o644),
        "conffiles": (f"/{SETTINGS}\n".encode(), 0o644),
        "postinst": (AFTER_INSTALL.encode(), 0o755),
        "prerm": (BEFORE_REMOVAL.encode(), 0o755),
        "postrm": (AFTER_REMOVAL.encode(), 0o755),
    }


def main(binary_path, version, folder):
    binary = Path(binary_path).read_bytes()
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        sys.exit(f"no architecture of Debian is known for {platform.machine()}; {', '.join(ARCHITECTURES)} are")
    files = {
        "usr/bin/eyot": (binary, 0o755),
        "usr/lib/systemd/system/eyot.service": ((HERE / "eyot.service").read_bytes(), 0o644),
        SETTINGS: ((HERE / "eyot.toml").read_bytes(), 0o644),
        "usr/share/doc/eyot/copyright": ((ROOT / "LICENSE").read_bytes(), 0o644),
        "usr/share/doc/eyot/README.md": ((ROOT / "README.md").read_bytes(), 0o644),
    }
    package = b"!<arch>\n" + member("debian-binary", b"2.0\n")
    package += member("control.tar.gz", tar(control(version, architecture, files, binary)))
    package += member("data.tar.gz", tar(files))
    path = Path(folder) / f"eyot_{version}_{architecture}.deb"
    path.write_bytes(package)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
