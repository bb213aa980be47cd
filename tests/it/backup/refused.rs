//! What is damaged, newer or in the way is named.

use eyot_core::Digest;
use eyot_tests::fixture;
use serde_json::json;

use super::{LEASE, Site, damage, push, snapshot};
use crate::world::{World, text};

#[test]
fn a_wrong_byte_of_a_backup_is_named() {
    let site = Site::new(World::new());
    let server = site.world.eyot.up_with(&[LEASE]).unwrap();
    push(&server, "acme/a", "1.0.0", &[1; 100_000]).unwrap();
    server.stop().unwrap();
    site.back_up();
    let blob = site.backup.join("registry/blobs/sha256").join(Digest::of([1; 100_000]).hex());
    let snapshot = snapshot(&site.backup);
    let cases = [
        (blob.clone(), 50_000),
        (snapshot.join("rows.db"), 5000),
        (snapshot.join("blobs.txt"), 10),
        (snapshot.join("key-values/default.db"), 20),
    ];
    for (number, (file, at)) in cases.iter().enumerate() {
        damage(file, *at);
        let restored = site.other(&format!("restored{number}"));
        let refused = restored.refused(&["restore", text(&site.backup)]).unwrap();
        assert_eq!(refused.kind, "corrupt", "{refused:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(refused.message.contains(name), "{refused:?}");
        assert_eq!(restored.refused(&["ls"]).unwrap().kind, "conflict", "it is not opened");
        damage(file, *at);
        // What was damaged is whole again: the same command goes on.
        restored.json(&["restore", text(&site.backup)]).unwrap();
        restored.json(&["ls"]).unwrap();
    }
    // A blob that is gone is named as well.
    std::fs::remove_file(&blob).unwrap();
    let refused = site.other("gone").refused(&["restore", text(&site.backup)]).unwrap();
    assert!(refused.message.contains(&Digest::of([1; 100_000]).to_string()), "{refused:?}");
    // One that is damaged where it comes from is no part of a backup, and the one before stays.
    let source = site.world.eyot.data().join("registry/blobs/sha256").join(blob.file_name().unwrap());
    damage(&source, 7);
    let refused = site.world.eyot.refused(&["backup", text(&site.backup)]).unwrap();
    assert_eq!(refused.kind, "corrupt", "{refused:?}");
    assert!(refused.message.contains(&Digest::of([1; 100_000]).to_string()), "{refused:?}");
    assert!(refused.hint.contains("gc --scrub"), "{refused:?}");
    site.world.eyot.refused(&["gc", "--scrub"]).unwrap();
    let report = site.back_up();
    assert_eq!(report["missing_blobs"], json!([Digest::of([1; 100_000]).to_string()]), "{report:#}");
}

#[test]
fn a_log_of_changes_that_was_changed_is_not_restored() {
    let site = Site::new(World::new());
    let eyot = &site.world.eyot;
    // A server that ends leaves everything in the one file.
    let server = site.world.up();
    eyot.json(&["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
    server.stop().unwrap();
    let file = eyot.data().join("eyot.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // The actor and the action of an entry, as they lie in its row.
    let at = bytes.windows(12).position(|found| found == b"localtag.set");
    bytes[at.expect("an entry says who pushed")] = b'L';
    std::fs::write(&file, bytes).unwrap();
    site.back_up();
    let refused = site.other("restored").refused(&["restore", text(&site.backup)]).unwrap();
    assert_eq!(refused.kind, "corrupt", "{refused:?}");
    assert!(refused.message.contains("entry 1 of the audit log of project 'default'"), "{refused:?}");
}

#[test]
fn what_is_no_place_for_a_backup_or_a_restore_is_refused_by_name() {
    let site = Site::new(World::new());
    let eyot = &site.world.eyot;
    let refused = eyot.refused(&["backup", text(&site.backup)]).unwrap();
    assert!(refused.kind == "not_found" && refused.message.contains("is no data folder"), "{refused:?}");
    let server = site.world.up();
    let other = site.world.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("photo.jpg"), "x").unwrap();
    let inside = eyot.data().join("backup");
    for (folder, kind, words) in [
        (&other, "conflict", "photo.jpg"),
        (&inside, "invalid", "lie in each other"),
        (&site.world.dir.path().to_owned(), "invalid", "lie in each other"),
    ] {
        let refused = eyot.refused(&["backup", text(folder)]).unwrap();
        assert_eq!(refused.kind, kind, "{refused:?}");
        assert!(refused.message.contains(words) && !refused.hint.is_empty(), "{refused:?}");
    }
    for command in ["backup", "restore"] {
        let refused = eyot.refused(&[command, text(&site.backup), "--server", &server.api]).unwrap();
        assert_eq!(refused.kind, "unsupported", "{refused:?}");
    }
    let refused = site.other("new").refused(&["restore", text(&other)]).unwrap();
    assert!(refused.kind == "not_found" && refused.message.contains("there is no backup"), "{refused:?}");
    site.back_up();
    let refused = eyot.refused(&["restore", text(&site.backup)]).unwrap();
    assert!(
        refused.kind == "conflict" && refused.message.contains("is open in another process"),
        "{refused:?}"
    );
    server.stop().unwrap();
    let refused = eyot.refused(&["restore", text(&site.backup)]).unwrap();
    assert!(refused.kind == "conflict" && refused.message.contains("is not empty"), "{refused:?}");
    eyot.json(&["ls"]).unwrap();

    // A newer Eyot's is neither read nor written over.
    let document = site.backup.join("backup.json");
    let newer = std::fs::read_to_string(&document).unwrap().replace("eyot.backup/1", "eyot.backup/2");
    std::fs::write(&document, &newer).unwrap();
    for refused in [
        site.other("newer").refused(&["restore", text(&site.backup)]).unwrap(),
        eyot.refused(&["backup", text(&site.backup)]).unwrap(),
    ] {
        assert_eq!(refused.kind, "unsupported", "{refused:?}");
        assert!(refused.message.contains("eyot.backup/2"), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&document).unwrap(), newer);
}
