//! The registry by tools that are built from the crates registry: wkg, and the `oci-client` crate.

use std::process::Command;

use eyot_tests::{component, path, tool};

use crate::registry::{Authority, succeeds};
use crate::world::{World, text};

#[test]
fn oci_client_over_http() {
    let (world, Some(program)) = (World::new(), tool("oci-client-check")) else { return };
    let server = world.up();
    succeeds("oci-client", Command::new(program).arg(server.api.trim_start_matches("http://")));
}

#[test]
fn oci_client_over_tls_with_basic_and_bearer() {
    let (world, Some(program)) = (World::new(), tool("oci-client-check")) else { return };
    let authority = Authority::new(&world);
    let minted = world.eyot.json(&["token", "create", "ci", "--scope", "repository:clients/*:pull,push"]);
    let secret = format!("ci:{}", minted.unwrap()["secret"].as_str().unwrap());
    let server = world.eyot.up_with(&authority.settings().each_ref().map(String::as_str)).unwrap();
    let mut command = Command::new(program);
    command.env("REGISTRY_SECRET", secret).env("REGISTRY_CA", &authority.ca);
    succeeds("oci-client", command.arg(server.api.strip_prefix("https://").unwrap()));
}

/// wkg with a configuration of its own, so that nobody's own one is read or written, and what that says of
/// the registry.
fn wkg(world: &World, registry: &str, oci: &str) -> Option<Command> {
    let config = format!(
        "default_registry = \"{registry}\"\n[registry.\"{registry}\"]\ntype = \"oci\"\n\
         [registry.\"{registry}\".oci]\n{oci}\n"
    );
    let mut command = Command::new(tool("wkg")?);
    // It leaves a lock file where it runs.
    command.current_dir(world.dir.path());
    command.env("WKG_CONFIG_FILE", world.write("registries.toml", config));
    command.env("HOME", world.dir.path()).env("XDG_CACHE_HOME", world.dir.path().join("cache"));
    Some(command)
}

const PLAIN: &str = "protocol = \"http\"";

#[test]
fn wkg_over_tls_with_a_private_authority() {
    let (world, package) = (World::new(), path("registry/oci/clients/wit"));
    let authority = Authority::new(&world);
    let minted = world.eyot.json(&["token", "create", "ci", "--scope", "repository:acme/*:pull,push"]);
    let secret = minted.unwrap()["secret"].as_str().unwrap().to_owned();
    let server = world.eyot.up_with(&authority.settings().each_ref().map(String::as_str)).unwrap();
    let registry = server.api.trim_start_matches("https://").replace("127.0.0.1", "localhost");
    let fetched = world.dir.path().join("fetched.wasm");
    let named = |secret: &str| format!("auth = {{ username = \"ci\", password = \"{secret}\" }}");
    for (oci, arguments, well) in [
        (named("wrong"), &["publish", text(&package)][..], false),
        (named(&secret), &["publish", text(&package)], true),
        (String::new(), &["get", "acme:shapes@1.2.0", "--output", text(&fetched)], false),
        (named(&secret), &["get", "acme:shapes@1.2.0", "--output", text(&fetched)], true),
    ] {
        let Some(mut command) = wkg(&world, &registry, &oci) else { return };
        let done = command.env("SSL_CERT_FILE", &authority.ca).args(arguments).output().unwrap();
        assert_eq!(done.status.success(), well, "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(std::fs::read(&fetched).unwrap().starts_with(b"\0asm"));
}

#[test]
fn wkg_publishes_and_resolves() {
    let world = World::new();
    let server = world.up();
    // What it asks for the discovery file by is a host's name.
    let registry = server.api.trim_start_matches("http://").replace("127.0.0.1", "localhost");
    let Some(wasm) = component("digits-image") else { return };
    let fetched = world.dir.path().join("fetched.wasm");
    world.eyot.json(&["push", text(&wasm), "--as", "acme/ours:2.0.0"]).unwrap();
    // It wants a version in the package of a component's world, which no component has: what it publishes
    // are packages of WIT, and components go by `wkg oci`.
    let (package, by_hand) = (path("registry/oci/clients/wit"), format!("{registry}/plain/handler:0.2.0"));
    let out = ["--output", text(&fetched)];
    for (arguments, same) in [
        (&["publish", text(&package)][..], false),
        (&["get", "acme:shapes@1.2.0", out[0], out[1], "--overwrite"], false),
        (&["oci", "push", &by_hand, text(&wasm), "--insecure", &registry], false),
        (&["oci", "pull", &by_hand, out[0], out[1], "--insecure", &registry], true),
        (&["get", "acme:ours@2.0.0", out[0], out[1], "--overwrite"], true),
    ] {
        let Some(mut command) = wkg(&world, &registry, PLAIN) else { return };
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        let is_same = || std::fs::read(&fetched).unwrap() == std::fs::read(&wasm).unwrap();
        assert!(!same || is_same(), "{arguments:?}");
    }
    // Its, by us: as a component with what it imports and exports.
    let seen = world.eyot.json(&["inspect", "plain/handler:0.2.0"]).unwrap();
    let ours = world.eyot.json(&["inspect", text(&wasm)]).unwrap();
    assert_eq!(seen["imports"], ours["imports"]);
    // A version that is out stays as it is, whoever pushes.
    let mut again = wkg(&world, &registry, PLAIN).unwrap();
    let other = component("testing-echo").unwrap();
    let target = format!("{registry}/acme/ours:2.0.0");
    let done = again.args(["oci", "push", &target, text(&other), "--insecure", &registry]).output().unwrap();
    assert!(!done.status.success(), "a version was over-written");
}
