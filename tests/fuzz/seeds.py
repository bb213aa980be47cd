"""Writes what the corpora begin with, into `corpus/` beside this file. Names say what a file is."""

import gzip
import io
import json
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "onnx"
DIGEST = "sha256:" + "a" * 64


def write(target, seeds):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def models():
    names = ["add-fp32", "defaults", "external", "heavy", "iris-forest", "passed", "pick", "sequence", "shapeless"]
    return {name: (FIXTURES / f"{name}.onnx").read_bytes() for name in names}


def archive(names):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"bytes"))
    return raw.getvalue()


def manifest(**more):
    layer = {"mediaType": "application/x", "digest": DIGEST, "size": 4, "annotations": {"a": "b"}}
    whole = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": layer,
        "layers": [layer, layer], "annotations": None,
    }
    return json.dumps({**whole, **more})


def component():
    """The binary form of `(component (export "a" (func ...)))`'s beginning: preamble, a core module, a type, a name."""
    preamble = bytes([0, 0x61, 0x73, 0x6D, 0x0D, 0, 1, 0])
    module = bytes([0, 0x61, 0x73, 0x6D, 1, 0, 0, 0])
    function = bytes([1, 0x40, 1, 1, ord("x"), 0x79, 0, 0x79])
    section = lambda number, content: bytes([number, len(content)]) + content
    return preamble + section(1, module) + section(7, function) + section(0, b"\x01n\x00")


def main():
    write("texts", {
        "reference": "a/b-c/d_e:1.0.0", "by-digest": f"a@{DIGEST}", "digest": DIGEST, "name": "digits", "size": "64 MiB",
        "size-plain": "240 B", "period": "1m30s", "period-small": "250us", "time": "2026-11-30T12:00:00.5+01:00",
    })
    write("settings", {
        "sections": '[gateway]\nlisten = "127.0.0.1:8080"\nmax-body = "64 MiB"\nprediction-log = 0.5\n',
        "tables": '[[registry.mirror]]\nprefix = "a"\nurl = "https://b"\n[[registry.quota]]\nproject = "c"\nbytes = "1 GiB"\n',
        "grants": '[component]\nname = "a"\nversion = "0.1.0"\nlanguage = "rust"\n[component.grants]\nsqlite = ["default"]\n',
        "nothing": "",
    })
    write("values", {
        "list": '{"list":"u8"}\n"AAEC"', "option": '{"option":{"option":"string"}}\n{"some":null}', "number": '"u64"\n"7"',
        "artifact": f'{{"list":"artifact"}}\n["{DIGEST}"]', "bool": '"bool"\ntrue',
        "record": '{"record":[{"name":"a","type":"f64"}]}\n{"a":1.5}',
    })
    nested = '{"list":{"tuple":["f32",{"variant":[{"name":"a","type":{"option":"char"}},{"name":"b","type":null}]}]}}'
    result = '{"result":{"ok":{"list":"u8"},"err":{"enum":["x","y"]}}}'
    write("reflection", {
        "artifact": f'{{"list":"artifact"}}\n["{DIGEST}"]', "bytes": '{"list":"u8"}\n"AAEC"', "number": '"s64"\n-7',
        "option": '{"option":{"option":"string"}}\n{"some":null}', "single": '"f32"\n1e300',
        "record": '{"record":[{"name":"a","type":"f64"},{"name":"b","type":{"flags":["r","w"]}}]}\n{"a":"NaN","b":["w"]}',
        "nested": nested + '\n[[0.1,{"a":"\u00e9"}],[2,"b"]]', "result": result + '\n{"err":"y"}', "ok": result + '\n{"ok":[1]}',
    })
    write("model", models())
    write("onnx_header", models())
    write("manifest", {
        "image": manifest(), "with-subject": manifest(subject={"mediaType": "a/b", "digest": DIGEST, "size": 1}),
        "index": json.dumps({"schemaVersion": 2, "manifests": []}),
    })
    one, long_names = archive(["a/model.onnx"]), archive(["x" * 300 + ".onnx", "README.md"])
    write("archive", {"one": one, "long-names": long_names, "gzip": gzip.compress(one, mtime=0), "empty": archive([])})
    write("component", {"types": component(), "module": component()[10:18]})
    write("headers", {
        "challenge": 'Bearer realm="https://a/token",service="b",scope="repository:c:pull,push"', "basic": "Basic realm=x",
        "range": "bytes=0-99", "last": "bytes=-5", "open": "bytes=5-", "several": "bytes=0-1,3-4", "content": "bytes 0-9/10",
    })
    write("number", {
        "one": "1", "negative": "-0.0", "long": "12345678901234567890.123456789012345678901234567890", "small": "4.9e-324",
        "large": "1.7976931348623159e308", "half-way": "1.00000005960464477539062500000001", "exponent": "1E+2",
    })
    write("request", {
        "flat": '{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2.5]}]}',
        "nested": '{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT64","data":[[1,-2]]}],"outputs":[{"name":"y"}]}',
        "texts": '{"id":"a","inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["\\u00e9"]}],"parameters":{"timeout":5}}',
        "words": '{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[NaN]}]}',
    })
    head = '{"inputs":[{"name":"x","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}}]}'.encode()
    write("binary_request", {"one": len(head).to_bytes(2, "little") + head + b"\x01\x00\x02\x00", "none": b"\x02\x00{}"})
    write("call", {"seconds": "5S", "hours": "99999999H", "message": b"\x00\x00\x00\x00\x02ab", "two": b"\x00\x00\x00\x00\x00" * 2})


if __name__ == "__main__":
    main()
