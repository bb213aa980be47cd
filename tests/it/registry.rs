//! Strangers' tools against the registry of a real server: the scripts of registry/oci/clients.

use std::process::Command;

use eyot_tests::{path, program, python};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::world::{World, text};

fn script(name: &str) -> std::path::PathBuf {
    path("registry/oci/clients").join(name)
}

pub(crate) fn succeeds(name: &str, command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn skopeo_oras_and_curl_push_and_pull() {
    let world = World::new();
    let server = world.up();
    let address = server.api.trim_start_matches("http://");
    for (tool, name) in [("skopeo", "skopeo.sh"), ("curl", "curl.sh")] {
        if program(tool).is_some() {
            succeeds(name, Command::new("bash").arg(script(name)).arg(address));
        }
    }
    if let Some(mut python) = python() {
        succeeds("oras_client.py", python.arg(script("oras_client.py")).arg(address));
    }
    drop(server);
    assert_eq!(world.eyot.json(&["verify"]).unwrap()["damaged"], serde_json::json!([]));
}

/// An authority of one's own, and a certificate for 127.0.0.1 and localhost from it; the files' paths.
pub(crate) struct Authority {
    pub(crate) ca: String,
    cert: String,
    key: String,
}

impl Authority {
    pub(crate) fn new(world: &World) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority of one's own");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let issuer = Issuer::new(params, ca_key);
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self {
            ca: world.write("ca.pem", ca.pem()),
            cert: world.write("cert.pem", cert.pem()),
            key: world.write("key.pem", key.serialize_pem()),
        }
    }

    /// Options of a server with this certificate that serves nobody who shows no token.
    pub(crate) fn settings(&self) -> [String; 3] {
        [
            format!("api.tls-cert={}", self.cert),
            format!("api.tls-key={}", self.key),
            "registry.anonymous=none".to_owned(),
        ]
    }
}

#[test]
fn over_tls_with_tokens_and_a_private_authority() {
    let world = World::new();
    let authority = Authority::new(&world);
    let minted =
        world.eyot.json(&["token", "create", "ci", "--scope", "repository:*:pull,push,delete"]).unwrap();
    let secret = format!("ci:{}", minted["secret"].as_str().unwrap());
    let server = world.eyot.up_with(&authority.settings().each_ref().map(String::as_str)).unwrap();
    let address = server.api.strip_prefix("https://").unwrap();
    if program("curl").is_some() && program("skopeo").is_some() && program("buildah").is_some() {
        let mut bash = Command::new("bash");
        bash.arg(script("secure.sh")).args([address, authority.ca.as_str(), secret.as_str()]);
        succeeds("secure.sh", &mut bash);
    }
    if let Some(mut python) = python() {
        python.env("REQUESTS_CA_BUNDLE", &authority.ca).env("REGISTRY_SECRET", &secret);
        succeeds("oras_client.py", python.arg(script("oras_client.py")).arg(address));
    }
    own_commands(&world, &server.api, &authority, minted["secret"].as_str().unwrap());
    assert!(!server.log().contains(secret.strip_prefix("ci:").unwrap()), "the log tells a secret");
    server.stop().unwrap();
}

/// Eyot's own client: from anywhere with the authority and the token, and on the data folder with
/// neither, as it knows the certificate.
fn own_commands(world: &World, api: &str, authority: &Authority, secret: &str) {
    let model = eyot_tests::fixture("digits");
    let push = |arguments: &[&str], token: Option<&str>| {
        let mut all = vec!["push", text(&model), "--as", "own/digits:1.0.0", "--json"];
        all.extend(arguments);
        let mut command = world.eyot.command(&all);
        command.envs(token.map(|token| ("EYOT_TOKEN", token)));
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let ca = format!("api.ca={}", authority.ca);
    let remote = ["--server", api];
    let trusting = ["--server", api, "--set", &ca];
    for (arguments, token, says) in [
        (&remote[..], Some(secret), "is not trusted"),
        (&trusting, None, "takes a token"),
        (&trusting, Some("eyot_other"), "not known"),
    ] {
        let (done, said) = push(arguments, token);
        assert!(!done && said.contains(says), "{arguments:?} {says}: {said}");
    }
    let (done, said) = push(&trusting, Some(secret));
    assert!(done, "{said}");
    let (done, said) = push(&[], Some(secret));
    assert!(done, "on the data folder itself: {said}");
}

#[test]
fn the_control_plane_says_which_file_is_no_certificate() {
    let world = World::new();
    let authority = Authority::new(&world);
    let nothing = world.write("nothing.pem", "nothing");
    for (cert, key, says) in [
        (&nothing, &authority.key, "nothing.pem holds no certificates"),
        (&authority.cert, &nothing, "nothing.pem holds no private key"),
        (&authority.ca, &authority.key, "do not belong together"),
    ] {
        let (cert, key) = (format!("api.tls-cert={cert}"), format!("api.tls-key={key}"));
        let ports = ["--set", "api.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
        let refused = world.eyot.refused(&[&["up", "--set", &cert, "--set", &key], &ports[..]].concat());
        let refused = refused.unwrap();
        assert!(refused.kind == "invalid" && refused.message.contains(says), "{refused:?}");
    }
}
