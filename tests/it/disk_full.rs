//! A disk without room: said clearly, nothing is lost, and what is freed can be used again.

use std::path::{Path, PathBuf};

use eyot_core::Digest;
use serde_json::json;

use eyot_tests::{Eyot, wait_until};

/// A small file system in memory; gone when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only root may mount one.
    pub(crate) fn mount(at: &Path, mebibytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let done = mount.output().is_ok_and(|output| output.status.success());
        if !done {
            eyot_tests::needed(None::<()>, "no small disk to fill: this user may not mount one");
        }
        done.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_and_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(&dir.path().join("disk"), 48) else { return };
    let eyot = Eyot::new(dir.path().join("disk/data")).unwrap();
    let server = eyot.up_with(&["registry.lease=1ms", "inference.backend=tract"]).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let uploads = format!("{}/v2/full/blobs/uploads/", server.api);
    let blob = |number: u8| vec![number; 6 << 20];
    let push = |bytes: &[u8]| {
        let mut answer = agent.post(&format!("{uploads}?digest={}", Digest::of(bytes))).send(bytes).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let (mut kept, mut refused) = (Vec::new(), None);
    for number in 1..20 {
        let bytes = blob(number);
        let (status, said) = push(&bytes);
        if status != 201 {
            refused = Some((status, said));
            break;
        }
        put_manifest(&agent, &server.api, number, &bytes);
        kept.push(number);
    }
    let (status, said) = refused.expect("48 MiB hold no 19 blobs of 6");
    assert_eq!(status, 507, "{said}");
    for words in ["is full", "make room on the disk"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(kept.len() >= 2, "{kept:?}");
    // An upload in pieces is told as well, and can be ended.
    let started = agent.post(&uploads).send_empty().unwrap();
    let upload = format!("{}{}", server.api, started.headers()["location"].to_str().unwrap());
    let mut answer = agent.patch(&upload).send(blob(99).repeat(4)).unwrap();
    assert_eq!(answer.status().as_u16(), 507, "{}", answer.body_mut().read_to_string().unwrap());
    assert_eq!(agent.delete(&upload).call().unwrap().status().as_u16(), 204);
    // What is there can be read, and deleted.
    for number in &kept {
        let answer = server.api_get(&format!("/v2/full/blobs/{}", Digest::of(blob(*number)))).unwrap();
        assert!(answer.status == 200 && answer.body == blob(*number), "{number}: {}", answer.status);
    }
    let gone = kept.remove(0);
    let manifest = format!("{}/v2/full/manifests/{}", server.api, Digest::of(manifest(gone, &blob(gone))));
    assert_eq!(agent.delete(&manifest).call().unwrap().status().as_u16(), 202);
    // Until the lease has ended; then there is room again.
    wait_until("the lease has ended", || eyot.json(&["gc"]).unwrap()["blobs"] != json!(0));
    assert_eq!(push(&blob(50)).0, 201);
    server.stop().unwrap();
    assert_eq!(eyot.json(&["verify"]).unwrap()["damaged"], json!([]));
}

/// Takes every byte that is left; gone when dropped.
struct Filler(PathBuf);

impl Filler {
    fn take_all(at: PathBuf) -> Self {
        use std::io::Write as _;
        let mut file = std::fs::File::create(&at).unwrap();
        for length in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; length]).is_ok() {}
        }
        Self(at)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn once_there_is_room_again_everything_works_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(&dir.path().join("disk"), 64) else { return };
    let eyot = Eyot::new(dir.path().join("disk/data")).unwrap();
    let server = eyot.up_with(&["registry.lease=1ms", "inference.backend=tract"]).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let blob = vec![7; 1000];
    let push = || {
        let url = format!("{}/v2/full/blobs/uploads/?digest={}", server.api, Digest::of(&blob));
        agent.post(&url).send(&blob).unwrap().status().as_u16()
    };
    let token = |name: &str| {
        let url = format!("{}/api/v1/tokens", server.api);
        // Of a length that takes pages: what fits into the file's own slack would be no test.
        let scopes: Vec<_> = (0..400).map(|number| format!("repository:{name}{number}:pull")).collect();
        let body = json!({ "name": name, "scopes": scopes });
        agent
            .post(&url)
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!((push(), token("before")), (201, 200));
    put_manifest(&agent, &server.api, 1, &blob);
    let filler = Filler::take_all(dir.path().join("disk/filler"));
    // More often than the pool has connections.
    let refused = (0..24).filter(|number| token(&format!("t{number}")) == 507).count();
    assert!(refused >= 16, "{refused} of 24");
    assert_eq!(push(), 507);
    drop(filler);
    for number in 0..24 {
        assert_eq!(token(&format!("after{number}")), 200);
    }
    assert_eq!(push(), 201);
    put_manifest(&agent, &server.api, 2, &blob);
    let manifest = format!("{}/v2/full/manifests/t1", server.api);
    assert_eq!(agent.delete(&manifest).call().unwrap().status().as_u16(), 202);
    eyot.json(&["gc"]).unwrap();
    server.stop().unwrap();
    assert_eq!(eyot.json(&["verify"]).unwrap()["damaged"], json!([]));
}

fn manifest(number: u8, bytes: &[u8]) -> String {
    let of = |bytes: &[u8]| json!({ "mediaType": "x/y", "digest": Digest::of(bytes), "size": bytes.len() });
    json!({ "schemaVersion": 2, "config": of(bytes), "layers": [], "annotations": { "n": number.to_string() } })
        .to_string()
}

fn put_manifest(agent: &ureq::Agent, api: &str, number: u8, bytes: &[u8]) {
    let url = format!("{api}/v2/full/manifests/t{number}");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let answer = agent.put(&url).header("content-type", kind).send(manifest(number, bytes)).unwrap();
    assert_eq!(answer.status().as_u16(), 201);
}
