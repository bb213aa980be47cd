"""Packs a built `eyot` and the Python SDK into a wheel. Usage: wheel.py BINARY VERSION FOLDER; prints its path.

The same inputs give the same bytes: entries are sorted and have the time of SOURCE_DATE_EPOCH, or of zip's beginning.
"""

import base64
import hashlib
import os
import re
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SDK = ROOT / "components" / "sdk" / "python"
MODULES = ("eyot.py", "eyot_client.py", "eyot_errors.py", "eyot_http.py", "eyot_values.py")
SUMMARY = "A serverless WebAssembly platform for machine learning: the program, the client and the guest SDK"
FIRST_ZIP_SECOND = 315532800


def platform_tag(binary):
    """The oldest machines that the program runs on, as pip knows them: those of the newest glibc that it asks for."""
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if not machine.startswith("linux_"):
        return machine
    major, minor = max((int(one), int(other)) for one, other in re.findall(rb"GLIBC_(\d+)\.(\d+)", binary))
    return f"manylinux_{major}_{minor}_{machine.removeprefix('linux_')}"


def metadata(version):
    readme = (ROOT / "README.md").read_text()
    head = [
        "Metadata-Version: 2.4", "Name: eyot", f"Version: {version}", f"Summary: {SUMMARY}",
        "License-Expression: Apache-2.0", "License-File: LICENSE", "Requires-Python: >=3.10",
        "Description-Content-Type: text/markdown",
    ]
    return ("\n".join(head) + "\n\n" + readme).encode()


def entry(name, executable=False):
    when = max(int(os.environ.get("SOURCE_DATE_EPOCH", 0)), FIRST_ZIP_SECOND)
    info = zipfile.ZipInfo(name, time.gmtime(when)[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    # A regular file of Unix; pip gives what is executable here its rights.
    info.create_system = 3
    info.external_attr = (0o100755 if executable else 0o100644) << 16
    return info


def record_line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def main(binary_path, version, folder):
    binary = Path(binary_path).read_bytes()
    tag = f"py3-none-{platform_tag(binary)}"
    about, program = f"eyot-{version}.dist-info", f"eyot-{version}.data/scripts/eyot"
    wheel = f"Wheel-Version: 1.0\nGenerator: eyot\nRoot-Is-Purelib: false\nTag: {tag}\n"
    files = {name: (SDK / name).read_bytes() for name in MODULES}
    files |= {
        program: binary,
        f"{about}/METADATA": metadata(version),
        f"{about}/WHEEL": wheel.encode(),
        f"{about}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    lines = [record_line(name, content) for name, content in sorted(files.items())]
    files[f"{about}/RECORD"] = "\n".join([*lines, f"{about}/RECORD,,", ""]).encode()
    path = Path(folder) / f"eyot-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", compresslevel=6) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(entry(name, executable=name == program), content)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
