//! What the registry finds out by itself about what others push.

use std::io::Write as _;

use super::*;

/// Pushes an image of some layers, as other tools do.
async fn push(world: &World, config: (&str, Vec<u8>), layers: &[(&str, Vec<u8>)], more: Value) -> Got {
    let mut described = Vec::new();
    for (kind, bytes) in std::iter::once(&(config.0, config.1)).chain(layers) {
        let digest = Digest::of(bytes);
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        assert_eq!(world.send("POST", &path, &[], bytes.clone()).await.status, 201);
        described.push(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }));
    }
    let config = described.remove(0);
    let mut manifest =
        json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": described });
    for (name, value) in more.as_object().unwrap() {
        manifest[name] = value.clone();
    }
    world.put("a", "t", &manifest.to_string()).await
}

async fn found(world: &World) -> (ArtifactKind, Digest) {
    let found = world.registry.artifact(&reference("a:t")).await.unwrap();
    (found.kind, found.content)
}

const WASM: &str = "application/vnd.wasm.config.v0+json";

#[tokio::test]
async fn malicious_component() {
    let world = World::new().await;
    let wasm = component().to_vec();
    let config = |component: Value| json!({ "architecture": "wasm", "os": "wasip2", "component": component });
    for (component, layer, says) in [
        (json!({ "imports": [], "exports": ["run"] }), wasm.clone(), "imports wasi:cli/environment@0.2.12"),
        (
            json!({ "imports": ["wasi:cli/environment@0.2.12"], "exports": ["run", "safe"] }),
            wasm.clone(),
            "lists the export safe",
        ),
        (json!({ "imports": [], "exports": [] }), b"\x7fELF".to_vec(), "no wasm component"),
        (json!({ "imports": [], "exports": [] }), wasm[..wasm.len() - 9].to_vec(), "no valid component"),
    ] {
        let config = config(component).to_string().into_bytes();
        let got = push(&world, (WASM, config), &[("application/wasm", layer)], json!({})).await;
        assert_eq!((got.status, got.code().as_str()), (400, "MANIFEST_INVALID"), "{says}: {:?}", got.body);
        let said = got.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(said.contains(says), "{said}");
    }
    assert!(world.registry.list().await.unwrap().is_empty());
    // What wkg writes: the truth, or nothing, and packages of WIT alone.
    let honest = json!({ "imports": ["wasi:cli/environment@0.2.12"], "exports": ["run"], "target": null });
    let package = wat::parse_str(r#"(component (type $t (component)) (export "types" (type $t)))"#).unwrap();
    for (component, layer) in
        [(honest, wasm.clone()), (Value::Null, wasm), (json!({ "exports": ["a:b/c"] }), package)]
    {
        let config = config(component).to_string().into_bytes();
        let got = push(&world, (WASM, config), &[("application/wasm", layer)], json!({})).await;
        assert_eq!(got.status, 201, "{:?}", got.body);
    }
}

#[tokio::test]
async fn spin_applications_are_the_component_in_them() {
    let world = World::new().await;
    let (wasm, other) = (component().to_vec(), wat::parse_str("(component)").unwrap());
    let layer = |bytes: &[u8]| ("application/vnd.wasm.content.layer.v1+wasm", bytes.to_vec());
    let locked =
        ("application/vnd.fermyon.spin.application.v1+config", b"{\"spin_lock_version\":1}".to_vec());
    let config = ("application/vnd.oci.image.config.v1+json", b"{\"architecture\":\"wasm\"}".to_vec());
    let push = |layers: Vec<(&'static str, Vec<u8>)>| {
        let (world, config) = (&world, config.clone());
        async move {
            let got = push(world, config, &layers, json!({})).await;
            assert_eq!(got.status, 201, "{:?}", got.body);
            found(world).await
        }
    };
    let data = ("application/vnd.wasm.content.layer.v1+data", b"page".to_vec());
    let one = push(vec![layer(&wasm), data, locked.clone()]).await;
    assert_eq!(one, (ArtifactKind::Component, Digest::of(&wasm)));
    assert_eq!(push(vec![layer(&wasm), layer(&other), locked]).await.0, ArtifactKind::Other);
}

#[tokio::test]
async fn kits_and_packed_models_are_the_model_in_them() {
    let world = World::new().await;
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("README.md", b"about".as_slice()), ("model/iris.onnx", b"weights")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let kit = "application/vnd.kitops.modelkit.config.v1+json";
    let pack = json!({ "artifactType": "application/vnd.cncf.model.manifest.v1+json" });
    for (config, kind, layer, more) in [
        (kit, "application/vnd.kitops.modelkit.model.v1.tar+gzip", gzip.clone(), json!({})),
        (kit, "application/vnd.kitops.modelkit.model.v1.tar", tar.clone(), json!({})),
        (
            "application/vnd.cncf.model.config.v1+json",
            "application/vnd.cncf.model.weight.v1.tar",
            tar,
            pack.clone(),
        ),
        (
            "application/vnd.cncf.model.config.v1+json",
            "application/vnd.cncf.model.weight.v1.tar+gzip",
            gzip,
            pack.clone(),
        ),
        (
            "application/vnd.cncf.model.config.v1+json",
            "application/vnd.cncf.model.weight.v1.tar+zstd",
            zstd,
            pack,
        ),
    ] {
        let code = ("application/vnd.kitops.modelkit.code.v1.tar", b"not looked at".to_vec());
        let got = push(&world, (config, b"{}".to_vec()), &[(kind, layer), code], more).await;
        assert_eq!(got.status, 201, "{kind}: {:?}", got.body);
        assert_eq!(found(&world).await, (ArtifactKind::Model, Digest::of("weights")), "{kind}");
    }
    // The unpacked model is kept by the manifest, and can be pulled by those who may pull that.
    world.registry.collect(crate::CollectionMode::Remove).await.unwrap();
    assert_eq!(world.get(&format!("/v2/a/blobs/{}", Digest::of("weights"))).await.body, "weights");
    let broken = [("application/vnd.kitops.modelkit.model.v1.tar+gzip", b"no gzip".to_vec())];
    assert_eq!(push(&world, (kit, b"{}".to_vec()), &broken, json!({})).await.status, 400);
}

#[tokio::test]
async fn a_model_says_what_it_takes_gives_and_weighs() {
    let world = World::new().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx/digits.onnx");
    let onnx = Bytes::from(std::fs::read(file).unwrap());
    let pushed = world.client().push_model("a", Some("t"), "digits.onnx", onnx).await.unwrap();
    let manifest = world.get(&format!("/v2/a/manifests/{}", pushed.digest)).await.json();
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = world.get(&format!("/v2/a/blobs/{config}")).await.json();
    assert_eq!(config["config"]["format"], "onnx", "{config}");
    assert!(
        config["config"]["paramSize"].is_string() && config["config"]["precision"].is_string(),
        "{config}"
    );
    let signature = manifest["annotations"]["dev.eyot.model.signature"].as_str().unwrap();
    let signature: Value = serde_json::from_str(signature).unwrap();
    assert_eq!(signature["inputs"][0]["name"], "pixels", "{signature}");
    assert_eq!(signature["inputs"][0]["type"], "float32", "{signature}");
}
