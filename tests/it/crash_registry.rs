//! kill -9 at random moments of pushes, deletions and collections: what was acknowledged is there, what
//! is served is right, and the store verifies clean.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_core::Digest;
use eyot_tests::{Server, wait_until};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use ureq::Agent;

use crate::world::World;

/// Kills of each of the two worlds that run side by side.
const KILLS: usize = 100;
/// Tags of a client. They are pushed over, and deleted, again and again.
const TAGS: usize = 4;
/// Leases end so soon that a collection finds what was deleted moments ago; the back end that starts
/// fastest.
const SETTINGS: [&str; 3] =
    ["registry.lease=20ms", "registry.immutable-tags=none", "inference.backend=tract"];

#[test]
fn two_hundred_kills_lose_nothing_that_was_acknowledged() {
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || survive(seed));
        }
    });
}

fn survive(seed: u64) {
    let world = World::new();
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut clients: Vec<Client> = (0..2).map(|number| Client::new(number, chance.random())).collect();
    for kill in 0..KILLS {
        let server = world.eyot.up_with(&SETTINGS).unwrap();
        clients.iter_mut().for_each(|client| client.check(&server, &format!("seed {seed}, kill {kill}")));
        let begun = AtomicUsize::new(0);
        let (requests, spins) = (chance.random_range(0..40), chance.random_range(0..100_000));
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| client.work(&server.api, &begun));
            }
            scope.spawn(|| collect(&server.api));
            // It dies a moment after some request began, whichever that is and whatever it was doing.
            wait_until("enough requests began", || begun.load(Ordering::Relaxed) >= requests);
            (0..spins).for_each(|_| std::hint::spin_loop());
            server.signal_kill();
        });
    }
    let server = world.eyot.up_with(&SETTINGS).unwrap();
    clients.iter_mut().for_each(|client| client.check(&server, &format!("seed {seed}, at the end")));
    let acknowledged: usize = clients.iter().map(|client| client.acknowledged).sum();
    assert!(acknowledged > KILLS, "only {acknowledged} pushes and deletions were acknowledged");
    server.stop().unwrap();
    let verified = world.eyot.json(&["verify"]).unwrap();
    assert_eq!(verified["damaged"], json!([]), "seed {seed}: {verified}");
    world.eyot.text(&["audit", "verify"]).unwrap();
}

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

/// Collects until the server is gone.
fn collect(api: &str) {
    let agent = agent();
    let url = format!("{api}/api/v1/registry/collections");
    wait_until("the server is gone", || {
        agent.post(&url).header("content-type", "application/json").send(r#"{"mode":"remove"}"#).is_err()
    });
}

/// A client and what it knows of its tags.
struct Client {
    repository: String,
    chance: ChaCha8Rng,
    /// Counts its manifests, so that no two are the same.
    pushed: usize,
    acknowledged: usize,
    /// What each tag may name: one thing, or two while nobody knows whether a request was done.
    tags: BTreeMap<String, Vec<Option<Digest>>>,
}

/// The server is gone.
struct Gone;

impl From<ureq::Error> for Gone {
    fn from(_: ureq::Error) -> Self {
        Self
    }
}

impl Client {
    fn new(number: usize, seed: u64) -> Self {
        let tags = (0..TAGS).map(|tag| (format!("t{tag}"), vec![None])).collect();
        let chance = ChaCha8Rng::seed_from_u64(seed);
        Self { repository: format!("crash/{number}"), chance, pushed: 0, acknowledged: 0, tags }
    }

    /// Pushes and deletes until the server is gone.
    fn work(&mut self, api: &str, begun: &AtomicUsize) {
        let agent = agent();
        loop {
            begun.fetch_add(1, Ordering::Relaxed);
            let tag = format!("t{}", self.chance.random_range(0..TAGS));
            let there = self.tags[&tag].last().cloned().flatten();
            let done = match there {
                Some(digest) if self.chance.random_bool(0.4) => self.delete(&agent, api, &tag, digest),
                _ => self.push(&agent, api, &tag, begun),
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn push(&mut self, agent: &Agent, api: &str, tag: &str, begun: &AtomicUsize) -> Result<(), Gone> {
        self.pushed += 1;
        // Of a few contents, so that what one client deletes the other pushes again.
        let layer = vec![self.chance.random_range(b'a'..=b'd'); self.chance.random_range(1..4) * 70_000];
        for bytes in [b"{}".as_slice(), &layer] {
            begun.fetch_add(1, Ordering::Relaxed);
            let uploads = format!("{api}/v2/{}/blobs/uploads/", self.repository);
            if self.chance.random_bool(0.5) {
                agent.post(&format!("{uploads}?digest={}", Digest::of(bytes))).send(bytes)?;
            } else {
                let started = agent.post(&uploads).send_empty()?;
                let upload = format!("{api}{}", started.headers()["location"].to_str().unwrap());
                let (one, other) = bytes.split_at(bytes.len() / 2);
                agent.patch(&upload).send(one)?;
                begun.fetch_add(1, Ordering::Relaxed);
                agent.put(&format!("{upload}?digest={}", Digest::of(bytes))).send(other)?;
            }
        }
        let manifest = self.manifest(&layer);
        let digest = Digest::of(&manifest);
        let url = format!("{api}/v2/{}/manifests/{tag}", self.repository);
        self.change(tag, Some(digest), 201, || {
            let put = agent.put(&url).header("content-type", "application/vnd.oci.image.manifest.v1+json");
            Ok(put.send(&manifest)?.status().as_u16())
        })
    }

    fn manifest(&self, layer: &[u8]) -> String {
        let of = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() });
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": of("application/vnd.test.config", b"{}"),
            "layers": [of("application/vnd.test.layer", layer)],
            "annotations": { "number": format!("{} of {}", self.pushed, self.repository) },
        })
        .to_string()
    }

    fn delete(&mut self, agent: &Agent, api: &str, tag: &str, digest: Digest) -> Result<(), Gone> {
        let target = if self.chance.random_bool(0.5) { digest.to_string() } else { tag.to_owned() };
        let url = format!("{api}/v2/{}/manifests/{target}", self.repository);
        self.change(tag, None, 202, || Ok(agent.delete(&url).call()?.status().as_u16()))
    }

    /// Does something to a tag. Until it is acknowledged the tag may be as it was or as it will be.
    fn change(
        &mut self,
        tag: &str,
        becomes: Option<Digest>,
        success: u16,
        work: impl FnOnce() -> Result<u16, Gone>,
    ) -> Result<(), Gone> {
        let Some(known) = self.tags.get_mut(tag) else { return Ok(()) };
        known.push(becomes);
        let status = work()?;
        if status == success {
            *known = vec![becomes];
            self.acknowledged += 1;
        } else {
            // A blob's lease ended before the manifest came: nothing was promised.
            assert_eq!(status, 404, "{tag}");
            known.pop();
        }
        Ok(())
    }

    /// Every tag names what it may, and all of that is there, byte for byte.
    fn check(&mut self, server: &Server, when: &str) {
        for (tag, known) in &mut self.tags {
            let path = format!("/v2/{}/manifests/{tag}", self.repository);
            let answer = server.api_get(&path).unwrap();
            let found = match answer.status {
                200 => Some(Digest::of(&answer.body)),
                404 => None,
                status => panic!("{when}: {path} is answered {status}: {}", answer.text()),
            };
            assert!(known.contains(&found), "{when}: {path} is {found:?}, not of {known:?}");
            *known = vec![found];
            if found.is_none() {
                continue;
            }
            let manifest: Value = answer.json();
            for blob in [&manifest["config"], &manifest["layers"][0]] {
                let digest = blob["digest"].as_str().unwrap();
                let path = format!("/v2/{}/blobs/{digest}", self.repository);
                let answer = server.api_get(&path).unwrap();
                assert_eq!(answer.status, 200, "{when}: {path}: {}", answer.text());
                assert_eq!(Digest::of(&answer.body).to_string(), digest, "{when}: {path}");
            }
        }
    }
}
