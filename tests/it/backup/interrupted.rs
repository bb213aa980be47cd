//! What is killed, or has no room, leaves what was there before, and nothing that looks whole.

use eyot_tests::Eyot;
use serde_json::json;

use super::{HeldSnapshot, LEASE, Site, push, snapshot};
use crate::disk_full::SmallDisk;
use crate::world::{World, text};

#[test]
fn a_backup_that_is_killed_leaves_the_one_before() {
    let site = Site::new(World::new());
    let eyot = &site.world.eyot;
    let arguments = ["backup", text(&site.backup)];
    let server = eyot.up_with(&[LEASE]).unwrap();
    push(&server, "acme/a", "1.0.0", &vec![1; 20 << 20]).unwrap();
    let partial = |folder: &str| {
        let folder = site.backup.join(folder);
        move || std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some())
    };
    // The first one is none until it is whole.
    site.cut_off(eyot, &arguments, partial("snapshots"));
    let refused = site.other("none").refused(&["restore", text(&site.backup)]).unwrap();
    assert_eq!(refused.kind, "not_found", "{refused:?}");
    assert!(refused.message.contains("cut off before it was whole"), "{refused:?}");
    site.back_up();
    for round in 0..8_u8 {
        push(&server, "acme/a", &format!("2.{round}.0"), &vec![round + 2; 12 << 20]).unwrap();
        let kept = std::fs::read(site.backup.join("backup.json")).unwrap();
        let snapshots = || std::fs::read_dir(site.backup.join("snapshots")).unwrap().count();
        let mut looks = 0;
        site.cut_off(eyot, &arguments, || {
            looks += 1;
            // At the first sight of a new snapshot, of a partial blob, or some time later.
            match round % 4 {
                0 => snapshots() > 1,
                1 => partial("registry/tmp")() && looks > 1,
                more => snapshots() > 1 && looks > usize::from(more) * 3000,
            }
        });
        let restored = site.restored(&format!("restored{round}"));
        assert_eq!(restored.json(&["verify"]).unwrap()["damaged"], json!([]));
        let versions = restored.json(&["ls"]).unwrap().as_array().unwrap().len();
        // It was whole before the kill, or it is the one before.
        let is_before = std::fs::read(site.backup.join("backup.json")).unwrap() == kept;
        assert!(
            versions >= 1 && (is_before || versions == usize::from(round) + 2),
            "{versions} in round {round}"
        );
    }
    site.back_up();
    snapshot(&site.backup);
    server.stop().unwrap();
    assert_eq!(site.restored("last").json(&["ls"]).unwrap(), eyot.json(&["ls"]).unwrap());
}

#[test]
fn a_server_that_ends_does_not_wait_for_a_backup() {
    let world = World::new();
    // Longer than a test may take.
    let server = world.eyot.up_with(&["gateway.drain=10m"]).unwrap();
    let held = HeldSnapshot::take(&server);
    server.stop().unwrap();
    drop(held);
}

#[test]
fn what_a_killed_server_left_of_a_snapshot_is_removed() {
    let site = Site::new(World::new());
    let server = site.world.up();
    let held = HeldSnapshot::take(&server);
    server.kill().unwrap();
    drop(held);
    let left = site.world.eyot.data().join("snapshot");
    assert!(left.exists());
    site.world.eyot.json(&["ls"]).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_folder_into_which_a_restore_was_killed_is_opened_by_nobody() {
    let site = Site::new(World::new());
    let server = site.world.eyot.up_with(&[LEASE]).unwrap();
    for number in 0..5_u8 {
        push(&server, "acme/a", &format!("{number}.0.0"), &vec![number; 10 << 20]).unwrap();
    }
    site.back_up();
    server.stop().unwrap();
    let restored = site.other("restored");
    let arguments = ["restore", text(&site.backup)];
    let blobs = restored.data().join("registry/blobs/sha256");
    let count = || std::fs::read_dir(&blobs).map_or(0, Iterator::count);
    for wanted in [0, 1, 3, 5, 9] {
        site.cut_off(&restored, &arguments, || {
            restored.data().join("restoring").exists() && count() >= wanted
        });
        if !restored.data().join("restoring").exists() {
            // It was done before it could be killed.
            assert!(wanted > 3);
            break;
        }
        for command in [&["ls"][..], &["up", "--set", "api.listen=127.0.0.1:0"]] {
            let refused = restored.refused(command).unwrap();
            assert_eq!(refused.kind, "conflict", "{refused:?}");
            assert!(refused.message.contains("did not end"), "{refused:?}");
            assert!(refused.hint.contains("eyot restore"), "{refused:?}");
        }
    }
    if restored.data().join("restoring").exists() {
        restored.json(&arguments).unwrap();
    }
    assert_eq!(restored.json(&["ls"]).unwrap(), site.world.eyot.json(&["ls"]).unwrap());
    assert_eq!(restored.json(&["verify"]).unwrap()["damaged"], json!([]));
}

#[test]
fn a_full_disk_leaves_the_backup_before() {
    let site = Site::new(World::new());
    let Some(_disk) = SmallDisk::mount(&site.backup, 24) else { return };
    let backup = site.backup.join("eyot");
    let site = Site { backup, ..site };
    let eyot = &site.world.eyot;
    let server = eyot.up_with(&[LEASE]).unwrap();
    push(&server, "acme/a", "1.0.0", &vec![1; 9 << 20]).unwrap();
    site.back_up();
    push(&server, "acme/a", "2.0.0", &vec![2; 40 << 20]).unwrap();
    let refused = eyot.refused(&["backup", text(&site.backup)]).unwrap();
    assert_eq!(refused.kind, "full", "{refused:?}");
    let restored = site.restored("restored");
    assert_eq!(restored.json(&["ls"]).unwrap().as_array().unwrap().len(), 1);
    // There is no room for the data folder either.
    let small = Eyot::new(site.backup.parent().unwrap().join("data")).unwrap();
    let refused = small.refused(&["restore", text(&site.backup)]).unwrap();
    assert_eq!(refused.kind, "full", "{refused:?}");
    assert_eq!(small.refused(&["ls"]).unwrap().kind, "conflict");
    server.stop().unwrap();
}
