//! Attestations that are required before a manifest is tagged or deployed.

use super::*;
use crate::{PolicyRequirement, PrivateKey, SIGNATURE_PREDICATE, SignaturePolicy, sign};
use eyot_core::{Clock as _, Period, SystemClock, Timestamp};
use eyot_meta::sql;
use std::time::Duration;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn requirement(predicate: &str, keys: &[&PrivateKey], threshold: usize) -> PolicyRequirement {
    let keys = keys.iter().map(|key| key.public().to_pem().unwrap()).collect();
    PolicyRequirement { predicate: predicate.to_owned(), keys, threshold, max_age: None }
}

async fn demand(world: &World, require: Vec<PolicyRequirement>) {
    let policy = SignaturePolicy { repository: "acme/*".to_owned(), require };
    world.registry.set_policy(&policy).await.unwrap();
}

async fn say(world: &World, key: &PrivateKey, subject: &Digest, predicate: &str, what: Value) {
    let bundle = sign(key, "acme/x", subject, predicate, what).unwrap();
    world.client().attach("acme/x", subject, bundle).await.unwrap();
}

#[tokio::test]
async fn a_tag_names_only_what_enough_keys_attest() {
    let world = World::new().await;
    let [a, b, c, other] = std::array::from_fn(|_| PrivateKey::generate());
    let before = world.image("acme/x", "old", "old layer", json!({})).await;
    demand(
        &world,
        vec![requirement(SIGNATURE_PREDICATE, &[&a, &b, &c], 2), requirement(PROVENANCE, &[&c], 1)],
    )
    .await;
    let manifest = world.manifest("acme/x", "layer", json!({})).await;
    let digest = Digest::of(&manifest);
    let tagged = || world.put("acme/x", "new", &manifest);
    let refused = |got: Got, says: &str| {
        assert_eq!((got.status, got.code().as_str()), (403, "DENIED"), "{:?}", got.body);
        let said = got.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(
            said.contains(says) && said.contains(&digest.to_string()) && said.contains("'acme/*'"),
            "{said}"
        );
    };
    refused(tagged().await, "wants 2 of 3 keys");
    assert_eq!(
        world.put("acme/x", &digest.to_string(), &manifest).await.status,
        201,
        "by digest it comes in"
    );
    say(&world, &a, &digest, SIGNATURE_PREDICATE, json!({})).await;
    // Twice by one key is one key; a stranger's is none; of something else is none.
    say(&world, &a, &digest, SIGNATURE_PREDICATE, json!({ "again": true })).await;
    say(&world, &other, &digest, SIGNATURE_PREDICATE, json!({})).await;
    say(&world, &b, &before, SIGNATURE_PREDICATE, json!({})).await;
    refused(tagged().await, "1 did");
    say(&world, &b, &digest, SIGNATURE_PREDICATE, json!({})).await;
    refused(tagged().await, PROVENANCE);
    say(&world, &c, &digest, PROVENANCE, json!({})).await;
    assert_eq!(tagged().await.status, 201);
    world.registry.check_policy("acme/x", &digest).await.unwrap();
    assert_eq!(world.registry.check_policy("acme/x", &before).await.unwrap_err().kind(), ErrorKind::Denied);
    // Other repositories have their own rules: here none.
    world.image("other/x", "t", "layer", json!({})).await;
    world.registry.remove_policy("acme/*").await.unwrap();
    world.registry.check_policy("acme/x", &before).await.unwrap();
    let mut said = world.audited().await;
    said.retain(|action| action.starts_with("policy."));
    assert_eq!(said, ["policy.set", "policy.removed"]);
}

#[tokio::test]
async fn a_statement_may_be_too_old() {
    let world = World::new().await;
    let key = PrivateKey::generate();
    let wanted = PolicyRequirement {
        max_age: Some(Period(Duration::from_secs(3600))),
        ..requirement(SIGNATURE_PREDICATE, &[&key], 1)
    };
    let digest = world.image("acme/x", "", "layer", json!({})).await;
    demand(&world, vec![wanted]).await;
    let at = |seconds: i64| Timestamp(SystemClock.now().0 + seconds * 1000).to_rfc3339();
    say(&world, &key, &digest, SIGNATURE_PREDICATE, json!({ "signedAt": at(-7200) })).await;
    let error = world.registry.check_policy("acme/x", &digest).await.unwrap_err();
    assert!(error.chain().contains("and 1 older than 1h"), "{error:?}");
    // That it was signed tomorrow makes it no younger than its arrival.
    say(&world, &key, &digest, SIGNATURE_PREDICATE, json!({ "signedAt": at(86_400) })).await;
    world.registry.check_policy("acme/x", &digest).await.unwrap();
    let query = "UPDATE manifests SET created_at = created_at - 7200000 WHERE subject IS NOT NULL";
    sql(query).execute(&world.registry.0.db).await.unwrap();
    assert!(world.registry.check_policy("acme/x", &digest).await.is_err());
}

#[tokio::test]
async fn policies_that_cannot_be_met_or_ask_for_nothing_are_refused() {
    let world = World::new().await;
    let key = PrivateKey::generate();
    let good = requirement(SIGNATURE_PREDICATE, &[&key], 1);
    for (repository, require) in [
        ("", vec![good.clone()]),
        ("a", vec![]),
        ("a", vec![PolicyRequirement { threshold: 0, ..good.clone() }]),
        ("a", vec![PolicyRequirement { threshold: 2, ..good.clone() }]),
        ("a", vec![PolicyRequirement { threshold: 2, ..requirement(SIGNATURE_PREDICATE, &[&key, &key], 2) }]),
        ("a", vec![PolicyRequirement { keys: vec!["nonsense".to_owned()], ..good }]),
    ] {
        let policy = SignaturePolicy { repository: repository.to_owned(), require };
        assert_eq!(
            world.registry.set_policy(&policy).await.unwrap_err().kind(),
            ErrorKind::Invalid,
            "{policy:?}"
        );
    }
    assert!(world.registry.policies().await.unwrap().is_empty());
}
