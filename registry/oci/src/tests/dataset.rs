//! Directories, and what of them travels.

use super::*;

fn write(dir: &Path, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64 / 32 + 1)
        .flat_map(|number| *Digest::of(format!("{seed} {number}")).as_bytes())
        .take(length)
        .collect()
}

#[tokio::test]
async fn a_new_version_travels_as_what_is_new() {
    let world = World::new().await;
    let client = world.client();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large = noise(9 << 20, 1);
    write(
        here.path(),
        &[
            ("rows/a.csv", b"1,2".to_vec()),
            ("b.csv", b"3".to_vec()),
            ("same.csv", b"3".to_vec()),
            ("large", large.clone()),
        ],
    );
    let first = client.push_dataset("data/rows", Some("1"), here.path(), None).await.unwrap();
    assert_eq!((first.files, first.transferred_bytes), (4, (9 << 20) + 4), "the same bytes travel once");
    let pulled = client.pull_files(&reference("data/rows:1"), there.path()).await.unwrap();
    assert_eq!((pulled.files, pulled.transferred_bytes), (4, (9 << 20) + 5));
    let again = client.push_dataset("data/rows", Some("1"), here.path(), None).await.unwrap();
    assert_eq!((again.pushed.digest, again.transferred_bytes), (first.pushed.digest, 0));

    let mut changed = large;
    changed.splice(4_000_000..4_000_000, noise(500, 2));
    write(here.path(), &[("large", changed.clone()), ("new.csv", b"new".to_vec())]);
    let second = client
        .push_dataset("data/rows", Some("2"), here.path(), Some(&reference("data/rows:1")))
        .await
        .unwrap();
    assert!((500..3 << 20).contains(&second.transferred_bytes), "{}", second.transferred_bytes);
    let pulled = client.pull_files(&reference("data/rows:2"), there.path()).await.unwrap();
    assert!((500..3 << 20).contains(&pulled.transferred_bytes), "{}", pulled.transferred_bytes);
    assert!(std::fs::read(there.path().join("large")).unwrap() == changed);
    assert_eq!(std::fs::read(there.path().join("new.csv")).unwrap(), b"new");
    // Other tools pull every file as a layer, whole.
    let manifest = world.get("/v2/data/rows/manifests/2").await.json();
    assert_eq!(manifest["artifactType"], "application/vnd.eyot.dataset.v1+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 4);
    // What is damaged here is made right, whatever its pieces are.
    std::fs::write(there.path().join("large"), noise(5 << 20, 3)).unwrap();
    client.pull_files(&reference("data/rows:2"), there.path()).await.unwrap();
    assert!(std::fs::read(there.path().join("large")).unwrap() == changed);
}

#[tokio::test]
async fn what_is_no_data_set_is_not_pushed_nor_pulled() {
    let world = World::new().await;
    let client = world.client();
    let dir = tempfile::tempdir().unwrap();
    let push = || client.push_dataset("data/x", Some("1"), dir.path(), None);
    assert!(push().await.unwrap_err().chain().contains("holds no files"));
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
    assert!(push().await.unwrap_err().chain().contains("neither a file nor a folder"));
    world.image("data/x", "image", "layer", json!({})).await;
    let error = client.pull_files(&reference("data/x:image"), dir.path()).await.unwrap_err();
    assert!(error.chain().contains("holds no files that have names"), "{error:?}");
    assert!(world.get("/v2/data/x/manifests/1").await.status == 404);
}

#[tokio::test]
async fn parts_are_copied_only_from_blobs_of_the_same_repository() {
    let world = World::new().await;
    world.image("a", "t", "layer", json!({})).await;
    world.image("b", "t", "secret", json!({})).await;
    let started = world.send("POST", "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let upload = started.header("location").to_owned();
    let (own, foreign) = (Digest::of("layer"), Digest::of("secret"));
    for (query, status) in [
        (format!("eyot-copy={foreign}&offset=0&length=6"), 404),
        (format!("eyot-copy={own}&offset=0&length=6"), 416),
        (format!("eyot-copy={own}&offset=18446744073709551615&length=2"), 416),
        (format!("eyot-copy={own}&offset=0&length=0"), 416),
        (format!("eyot-copy={own}&offset=x&length=1"), 400),
        (format!("eyot-copy={own}"), 400),
        (format!("eyot-copy={own}&offset=1&length=3"), 202),
    ] {
        let got = world.send("PATCH", &format!("{upload}?{query}"), &[], Body::empty()).await;
        assert_eq!(got.status, status, "{query}: {:?}", got.body);
    }
    let done = world.send("PUT", &format!("{upload}?digest={}", Digest::of("aye")), &[], Body::empty()).await;
    assert_eq!(done.status, 201, "{:?}", done.body);
}
