//! Whole objects: exported and imported, pinned and signed.

use super::*;
use crate::{
    FILE_LIST_PREDICATE, PolicyRequirement, PrivateKey, ReleaseSpec, SIGNATURE_PREDICATE, SignaturePolicy,
    differences, export, import, sign,
};

#[tokio::test]
async fn everything_leaves_and_comes_back_by_the_same_digests() {
    let (one, two, dir) = (World::new().await, World::new().await, tempfile::tempdir().unwrap());
    let child = one.image("acme/x", "", "layer", json!({})).await;
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": IMAGE_MANIFEST, "digest": child, "size": one.size(&child).await }] })
    .to_string();
    assert_eq!(one.put("acme/x", "1.0.0", &index).await.status, 201);
    let subject =
        json!({ "subject": { "mediaType": "x", "digest": Digest::of(&index), "size": index.len() } });
    let note = one.image("acme/x", "", "note", subject).await;
    let moved = export(&one.client(), &reference("acme/x:1.0.0"), dir.path()).await.unwrap();
    assert_eq!((moved.manifests, moved.blobs), (3, 3));
    export(&one.client(), &reference("acme/x:1.0.0"), dir.path()).await.unwrap();

    let moved = import(&two.client(), dir.path(), None).await.unwrap();
    assert_eq!((moved.names, moved.manifests, moved.blobs), (vec!["acme/x:1.0.0".to_owned()], 3, 3));
    for target in ["1.0.0", &child.to_string(), &note.to_string()] {
        let path = format!("/v2/acme/x/manifests/{target}");
        assert_eq!(two.get(&path).await.body, one.get(&path).await.body);
    }
    assert_eq!(
        two.get(&format!("/v2/acme/x/referrers/{}", Digest::of(&index))).await.json()["manifests"][0]["digest"],
        note.to_string()
    );
    import(&two.client(), dir.path(), Some("other/y")).await.unwrap();
    assert_eq!(two.get("/v2/other/y/manifests/1.0.0").await.body, index);

    // A layout is input: what is damaged does not come in.
    std::fs::write(dir.path().join("blobs/sha256").join(Digest::of("layer").hex()), "other").unwrap();
    let three = World::new().await;
    assert!(import(&three.client(), dir.path(), None).await.is_err());
    assert!(three.registry.list().await.unwrap().is_empty());
    for name in ["latest", "../x:t"] {
        let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "x", "digest": child, "size": 1, "annotations": { "org.opencontainers.image.ref.name": name } }] });
        std::fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
        assert_eq!(
            import(&three.client(), dir.path(), None).await.unwrap_err().kind(),
            ErrorKind::Invalid,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_release_pins_and_says_what_changed() {
    let world = World::new().await;
    let client = world.client();
    client.push_component("acme/scorer", Some("1.0.0"), component()).await.unwrap();
    client.push_model("acme/iris", Some("1"), "iris.onnx", "weights".into()).await.unwrap();
    client.push_model("acme/iris", Some("2"), "iris.onnx", "other weights".into()).await.unwrap();
    let recipe = |model: &str, rate: &str| ReleaseSpec {
        components: vec![reference("acme/scorer:1.0.0")],
        models: [("iris".to_owned(), reference(&format!("acme/iris:{model}")))].into(),
        pipeline: Some("[pipeline]".to_owned()),
        parameters: [("rate".to_owned(), rate.to_owned())].into(),
        data: [("train".to_owned(), Digest::of("rows"))].into(),
    };
    let first = client.create_release(&reference("releases/iris:1.0.0"), &recipe("1", "0.1")).await.unwrap();
    client.create_release(&reference("releases/iris:2.0.0"), &recipe("2", "0.2")).await.unwrap();
    let again = client.create_release(&reference("releases/iris:1.0.0"), &recipe("1", "0.1")).await.unwrap();
    assert_eq!(first, again, "the same parts are the same release");

    let (one, two) = (
        client.release(&reference("releases/iris:1.0.0")).await.unwrap(),
        client.release(&reference("releases/iris:2.0.0")).await.unwrap(),
    );
    assert_eq!(
        one.parts.iter().map(|part| part.role.as_str()).collect::<Vec<_>>(),
        ["component", "world", "model", "pipeline"]
    );
    let world_of = one.parts[1].world.as_deref().unwrap();
    assert!(world_of.contains("import wasi:cli/environment@0.2.12;"), "{world_of}");
    assert_eq!(one.parts[0].imports.iter().collect::<Vec<_>>(), ["wasi:cli/environment@0.2.12"]);
    assert_eq!(
        (&one.parameters["rate"], &one.data["train"]),
        (&"0.1".to_owned(), &Digest::of("rows").to_string())
    );
    assert!(differences(&one, &one).is_empty());
    let lines = differences(&one, &two);
    assert!(
        lines.len() == 2
            && lines[0].starts_with("weights of model 'iris' changed")
            && lines[1] == "parameter 'rate' changed: 0.1 is now 0.2",
        "{lines:?}"
    );
    assert_eq!(client.verify_release(&reference("releases/iris:1.0.0")).await.unwrap().0, 10);
    assert_eq!(client.release(&reference("acme/iris:1")).await.unwrap_err().kind(), ErrorKind::Invalid);
    let wrong = ReleaseSpec { components: vec![reference("acme/iris:1")], ..ReleaseSpec::default() };
    assert_eq!(
        client.create_release(&reference("releases/x:1"), &wrong).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn signatures_lie_beside_what_they_are_about() {
    let world = World::new().await;
    let client = world.client();
    let subject = world.image("a", "t", "layer", json!({})).await;
    let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
    let error = client.signatures("a", &subject, &[key.public()]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.chain().contains("is not signed"), "{error:?}");
    let bundle = sign(&key, "a", &subject, SIGNATURE_PREDICATE, json!({})).unwrap();
    let attached = client.attach("a", &subject, bundle.clone()).await.unwrap();
    let good = client.signatures("a", &subject, &[other.public(), key.public()]).await.unwrap();
    assert_eq!(
        (good.len(), good[0].signature, good[0].predicate_type.as_str()),
        (1, attached.signature, SIGNATURE_PREDICATE)
    );
    let error = client.signatures("a", &subject, &[other.public()]).await.unwrap_err();
    assert!(error.chain().contains("none of the keys"), "{error:?}");
    // A good signature of something else is none.
    let elsewhere = world.image("a", "u", "other layer", json!({})).await;
    assert_eq!(client.attach("a", &elsewhere, bundle).await.unwrap_err().kind(), ErrorKind::Denied);
    let moved = client.manifest("a", &attached.signature.to_string()).await.unwrap();
    let moved = String::from_utf8(moved.bytes.to_vec()).unwrap().replace(&subject.hex(), &elsewhere.hex());
    client.put_manifest("a", None, "", moved.into()).await.unwrap();
    let error = client.signatures("a", &elsewhere, &[key.public()]).await.unwrap_err();
    assert!(error.chain().contains("about something else"), "{error:?}");
    let actions = world.audited().await;
    let signed = ["artifact.signed", "artifact.pushed"];
    let pushed = ["tag.set", "artifact.pushed"];
    assert_eq!(actions, [pushed, signed, pushed, signed].concat());
}

#[tokio::test]
async fn a_list_of_files_is_a_signature_of_what_holds_them() {
    let world = World::new().await;
    let client = world.client();
    let key = PrivateKey::generate();
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [("weights.bin", "weights"), ("same.bin", "weights"), ("config.json", "{}")] {
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    let pushed = client.push_dataset("models/x", Some("1"), dir.path(), None).await.unwrap().pushed.digest;
    let bundle = client.sign_files("models/x", &pushed, &key).await.unwrap();
    let attached = client.attach("models/x", &pushed, bundle.clone()).await.unwrap();
    assert_eq!(attached.predicate_type, FILE_LIST_PREDICATE);
    let good = client.signatures("models/x", &pushed, &[key.public()]).await.unwrap();
    assert_eq!((good.len(), good[0].predicate_type.as_str()), (1, FILE_LIST_PREDICATE));
    // The same files elsewhere are signed by it too, others are not.
    let again = client.push_dataset("copies/x", None, dir.path(), None).await.unwrap().pushed.digest;
    client.attach("copies/x", &again, bundle.clone()).await.unwrap();
    std::fs::write(dir.path().join("config.json"), "[]").unwrap();
    let other = client.push_dataset("models/x", Some("2"), dir.path(), None).await.unwrap().pushed.digest;
    let error = client.attach("models/x", &other, bundle).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Denied && error.chain().contains("another 'config.json'"),
        "{error:?}"
    );
    // A policy may ask for it.
    let keys = vec![key.public().to_pem().unwrap()];
    let require = vec![PolicyRequirement {
        predicate: FILE_LIST_PREDICATE.to_owned(),
        keys,
        threshold: 1,
        max_age: None,
    }];
    let policy = SignaturePolicy { repository: "models/*".to_owned(), require };
    world.registry.set_policy(&policy).await.unwrap();
    world.registry.check_policy("models/x", &pushed).await.unwrap();
    assert!(world.registry.check_policy("models/x", &other).await.is_err());
    let nameless = world.image("a", "t", "layer", json!({})).await;
    assert_eq!(client.sign_files("a", &nameless, &key).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_core_module_of_a_component_lies_beside_it() {
    let world = World::new().await;
    let client = world.client();
    let pushed = client.push_component("acme/tool", Some("1.0.0"), component()).await.unwrap();
    let module = Bytes::from_static(b"\0asm\x01\0\0\0");
    client.attach_module("acme/tool", &pushed.digest, module.clone()).await.unwrap();
    let kind = "application/vnd.eyot.module.v1+wasm";
    let found = client.referrers("acme/tool", &pushed.digest.into(), Some(kind)).await.unwrap();
    let manifest = client.manifest("acme/tool", &found[0].digest.to_string()).await.unwrap();
    let layer = crate::Manifest::parse(&manifest.bytes).unwrap().layers[0].digest;
    assert_eq!(client.blob("acme/tool", &layer).await.unwrap(), module);
}
