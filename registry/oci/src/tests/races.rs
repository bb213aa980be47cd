//! What those who push and pull one tag at the same time may see of each other.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Something that was done to the tag, between two moments of one clock.
struct Done {
    began: u64,
    ended: u64,
    digest: String,
}

/// Every read must be explained by one order of all that was done, in which nothing comes before what had
/// ended when it began: a read answers a write that was not certainly over-written when it began, and that
/// had begun when it ended.
fn explains(writes: &[Done], read: &Done) -> bool {
    writes.iter().filter(|write| write.digest == read.digest).any(|write| {
        let is_over_it = |other: &Done| other.began > write.ended && other.ended < read.began;
        write.began < read.ended && !writes.iter().any(is_over_it)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_is_one_register_for_all_who_move_and_read_it() {
    const WRITERS: u32 = 4;
    const EACH: u32 = 15;
    let world = Arc::new(World::new().await);
    let clock = Arc::new(AtomicU64::new(0));
    let first = world.image("a", "moving", "first", json!({})).await.to_string();
    let tick = |clock: &AtomicU64| clock.fetch_add(1, Ordering::SeqCst);
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut manifests = Vec::new();
        for number in 0..EACH {
            manifests.push(world.manifest("a", &format!("layer {writer} {number}"), json!({})).await);
        }
        let (world, clock) = (world.clone(), clock.clone());
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for manifest in manifests {
                let began = tick(&clock);
                assert_eq!(world.put("a", "moving", &manifest).await.status, 201);
                done.push(Done { began, ended: tick(&clock), digest: Digest::of(&manifest).to_string() });
            }
            done
        }));
    }
    let mut readers = Vec::new();
    for _ in 0..WRITERS {
        let (world, clock) = (world.clone(), clock.clone());
        readers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for _ in 0..4 * EACH {
                let began = tick(&clock);
                let got = world.get("/v2/a/manifests/moving").await;
                let digest = got.header("docker-content-digest").to_owned();
                assert_eq!(
                    Digest::of(&got.body).to_string(),
                    digest,
                    "the bytes of one, the name of another"
                );
                done.push(Done { began, ended: tick(&clock), digest });
            }
            done
        }));
    }
    let mut writes = vec![Done { began: 0, ended: 0, digest: first }];
    for writer in writers {
        writes.extend(writer.await.unwrap());
    }
    let write = |digest: &str| writes.iter().find(|write| write.digest == digest).unwrap();
    for reader in readers {
        let reads = reader.await.unwrap();
        for read in &reads {
            assert!(explains(&writes, read), "{} was over-written before it was read", read.digest);
        }
        for pair in reads.windows(2) {
            let [before, after] = [&pair[0], &pair[1]].map(|read| write(&read.digest));
            assert!(after.ended >= before.began, "a reader saw {} after {}", after.digest, before.digest);
        }
    }
    // Once all is done everybody sees the same.
    let last = tick(&clock);
    let read = world.get("/v2/a/manifests/moving").await.header("docker-content-digest").to_owned();
    assert!(explains(&writes, &Done { began: last, ended: last + 1, digest: read }));
}
