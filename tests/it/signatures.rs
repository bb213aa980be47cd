//! Signatures that other tools make and read.

use eyot_tests::{fixture, python};

use crate::world::{World, step, text};

/// The program `model_signing`, or why it is missing.
fn model_signing() -> Option<std::process::Command> {
    let mut python = python()?;
    python.args(["-m", "model_signing"]);
    Some(python)
}

#[test]
fn model_signing_verifies_ours_and_we_verify_its() {
    let world = World::new();
    let (Some(mut verify), Some(mut again)) = (model_signing(), model_signing()) else { return };
    let Some(mut sign) = model_signing() else { return };
    let folder = world.dir.path().join("model");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for (file, content) in [("weights.bin", "weights"), ("sub/config.json", "{}")] {
        std::fs::write(folder.join(file), content).unwrap();
    }
    let [ours, theirs, signature] = ["ours", "theirs", "model.sig"].map(|name| world.dir.path().join(name));
    for key in [&ours, &theirs] {
        world.eyot.json(&["key", "generate", text(key)]).unwrap();
    }
    let [private, public, other, known] =
        [(&ours, "key"), (&ours, "pub"), (&theirs, "key"), (&theirs, "pub")]
            .map(|(key, ending)| key.with_extension(ending));
    let name = "models/signed:1.0.0";
    world.eyot.json(&["push", text(&folder), "--as", name]).unwrap();

    // Ours, by it: over the files that were pulled, and over none that changed.
    let key = ["--key", text(&private), "--files", "--out", text(&signature)];
    world.eyot.json(&[&["sign", name], &key[..]].concat()).unwrap();
    let pulled = world.dir.path().join("pulled");
    world.eyot.json(&["pull", name, text(&pulled)]).unwrap();
    let arguments = ["--signature", text(&signature), "--public_key", text(&public)];
    let done = verify.args(["verify", "key", text(&pulled)]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    std::fs::write(pulled.join("weights.bin"), "others").unwrap();
    let done = again.args(["verify", "key", text(&pulled)]).args(arguments).output().unwrap();
    assert!(!done.status.success(), "it found nothing wrong with a changed file");

    // Its, by us.
    let refused = world.eyot.refused(&["verify", name, "--key", text(&known)]).unwrap();
    assert_eq!(refused.kind, "denied");
    let made = ["--private_key", text(&other), "--signature", text(&signature)];
    let done = sign.args(["sign", "key", text(&folder)]).args(made).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    world.eyot.json(&["sign", name, "--bundle", text(&signature)]).unwrap();
    let good = world.eyot.json(&["verify", name, "--key", text(&known)]).unwrap();
    assert_eq!(good[0]["predicate_type"], "https://model_signing/signature/v1.0");
    std::fs::write(folder.join("weights.bin"), "others").unwrap();
    world.eyot.json(&["push", text(&folder), "--as", "models/signed:2.0.0"]).unwrap();
    let refused = world.eyot.refused(&["sign", "models/signed:2.0.0", "--bundle", text(&signature)]).unwrap();
    assert!(refused.message.contains("another 'weights.bin'"), "{refused:?}");
}

#[test]
fn a_run_says_how_its_model_came_about() {
    let world = World::new();
    if !world.push("digits-steps") {
        return;
    }
    let run = world.digits();
    let outputs = &step(&run, "register")["outputs"];
    let source = outputs["source"].as_str().unwrap();
    let key = world.eyot.data().join("builder.pub");
    let good = world.eyot.json(&["verify", source, "--key", text(&key)]).unwrap();
    assert_eq!(good[0]["predicate_type"], "https://slsa.dev/provenance/v1");
    // What it says can be demanded before the model is deployed.
    let policy = ["policy", "set", "models/*", "--predicate", "https://slsa.dev/provenance/v1", "--key"];
    world.eyot.json(&[&policy[..], &[text(&key)]].concat()).unwrap();
    let server = world.up();
    world.eyot.json(&["deploy", source, "--name", "digits"]).unwrap();
    let other = text(&fixture("iris-forest")).to_owned();
    let refused = world.eyot.refused(&["push", &other, "--as", "models/iris:1.0.0"]).unwrap();
    assert!(refused.kind == "denied" && refused.message.contains("provenance"), "{refused:?}");
    server.stop().unwrap();
}
