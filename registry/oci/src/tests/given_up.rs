//! Clients that go away in the middle: whatever a request had come to, what is held in memory says the same
//! as the database and the store.

use std::time::Duration;

use eyot_core::Period;
use eyot_test_services::give_up_after;
use tower::ServiceExt as _;

use super::*;
use crate::CollectionMode;

/// A repository with what a request needs: an image under two tags, one of its own for each try.
struct Set {
    repository: String,
    image: Digest,
    layer: Digest,
    /// Pushed, and used by no manifest.
    loose: Digest,
    next: String,
    upload: String,
}

async fn set(world: &World, name: &str) -> Set {
    let repository = format!("acme/{name}");
    let layer = format!("layer of {name}");
    let image = world.image(&repository, "moving", &layer, json!({})).await;
    let next = world.manifest(&repository, &format!("next layer of {name}"), json!({})).await;
    let loose = world.blob(&repository, &format!("loose {name}")).await;
    let started = world.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], Body::empty()).await;
    let upload = started.header("location").to_owned();
    let got = world.send("PATCH", &upload, &[], "some ").await;
    assert_eq!(got.status, 202);
    Set { repository, image, layer: Digest::of(layer), loose, next, upload }
}

impl Set {
    /// Everything that can be asked of it.
    fn questions(&self) -> Vec<String> {
        let Self { repository, image, layer, loose, next, .. } = self;
        let next = Digest::of(next);
        let whole = Digest::of("some more");
        vec![
            format!("/v2/{repository}/manifests/moving"),
            format!("/v2/{repository}/manifests/{image}"),
            format!("/v2/{repository}/manifests/{next}"),
            format!("/v2/{repository}/blobs/{layer}"),
            format!("/v2/{repository}/blobs/{loose}"),
            format!("/v2/{repository}/blobs/{whole}"),
            format!("/v2/{repository}/tags/list"),
            format!("/v2/{repository}/referrers/{image}"),
            "/v2/other/tags/list".to_owned(),
            format!("/v2/other/blobs/{layer}"),
        ]
    }

    async fn answers(&self, transport: &Transport) -> Vec<(String, u16, String, Bytes)> {
        let mut answers = Vec::new();
        for question in self.questions() {
            let request = Request::get(&question).body(Body::empty()).unwrap();
            let (parts, body) = transport.send(request).await.unwrap().into_parts();
            let digest = parts.headers.get("docker-content-digest");
            let digest = digest.map(|digest| digest.to_str().unwrap().to_owned()).unwrap_or_default();
            answers.push((question, parts.status.as_u16(), digest, read_body(body, 8 << 20).await.unwrap()));
        }
        answers
    }
}

type Ask = fn(&Set) -> (&'static str, String, String);

/// Every request that changes something.
const REQUESTS: [(&str, Ask); 11] = [
    ("an upload is started", |set| ("POST", format!("/v2/{}/blobs/uploads/", set.repository), String::new())),
    ("a blob at once", |set| {
        let digest = Digest::of("some more");
        ("POST", format!("/v2/{}/blobs/uploads/?digest={digest}", set.repository), "some more".to_owned())
    }),
    ("a blob is mounted", |set| {
        let Set { repository, layer, .. } = set;
        ("POST", format!("/v2/other/blobs/uploads/?mount={layer}&from={repository}"), String::new())
    }),
    ("a chunk", |set| ("PATCH", set.upload.clone(), "more".to_owned())),
    ("the last chunk", |set| {
        ("PUT", format!("{}?digest={}", set.upload, Digest::of("some more")), "more".to_owned())
    }),
    ("an upload is ended", |set| ("DELETE", set.upload.clone(), String::new())),
    ("a tag is moved", |set| ("PUT", format!("/v2/{}/manifests/moving", set.repository), set.next.clone())),
    ("a manifest by its digest, with tags", |set| {
        let digest = Digest::of(&set.next);
        ("PUT", format!("/v2/{}/manifests/{digest}?tag=moving&tag=new", set.repository), set.next.clone())
    }),
    ("a tag is deleted", |set| ("DELETE", format!("/v2/{}/manifests/moving", set.repository), String::new())),
    ("a manifest is deleted", |set| {
        ("DELETE", format!("/v2/{}/manifests/{}", set.repository, set.image), String::new())
    }),
    ("a blob is deleted", |set| {
        ("DELETE", format!("/v2/{}/blobs/{}", set.repository, set.loose), String::new())
    }),
];

/// Has the last transaction end, and compares what is answered with what is answered by a registry that has
/// nothing in memory.
async fn agrees(world: &World, set: &Set, what: &str) {
    drop(world.registry.0.db.begin().await.unwrap());
    let config = world.registry.0.settings.config.clone();
    let settings = RegistrySettings::new(&config).with_clock(world.clock.clone());
    let db = world.registry.0.db.clone();
    let access = open_access(db.clone(), &config, world.clock.clone()).await;
    let fresh = Registry::new(world.store.clone(), db, access, None, settings).await.unwrap();
    let (here, truth) =
        (set.answers(&world.transport).await, set.answers(&Transport::local(router(fresh))).await);
    for (here, truth) in here.iter().zip(&truth) {
        assert_eq!(here, truth, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_leaves_one_truth() {
    let world = World::new().await;
    for (what, ask) in REQUESTS {
        for polls in 0.. {
            let set = set(&world, &format!("{}/{polls}", what.replace([' ', ','], "-"))).await;
            // Everything is in memory now.
            set.answers(&world.transport).await;
            let (method, path, body) = ask(&set);
            let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
            let answer = router(world.registry.clone()).oneshot(request);
            let ended = give_up_after(polls, answer).await;
            agrees(&world, &set, &format!("{what}, given up after {polls} polls")).await;
            if let Some(answer) = ended {
                let status = answer.unwrap().status();
                assert!(status.is_success(), "{what}: {status}");
                assert!(polls > 1, "{what} was given up in the middle");
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_administrator_that_goes_away_at_any_moment_leaves_one_truth() {
    let config = || Config { lease: Period(Duration::from_millis(1)), ..Config::default() };
    let world = World::with(config()).await;
    let registry = &world.registry;
    for polls in 0.. {
        let set = set(&world, &format!("collected-{polls}")).await;
        set.answers(&world.transport).await;
        world.send("DELETE", &format!("/v2/{}/manifests/{}", set.repository, set.image), &[], "").await;
        world.clock.advance(Duration::from_millis(3));
        let ended = give_up_after(polls, registry.collect(CollectionMode::Remove)).await;
        agrees(&world, &set, &format!("a collection, given up after {polls} polls")).await;
        if ended.is_some() {
            break;
        }
    }
}
