//! Statements in the form of OpenSSF Model Signing 1.0, as `model_signing` writes and reads them: a list
//! of every file with its digest. Their subject is no manifest but the hash of the files' digests, so
//! that they hold of the files wherever those are.

use bytes::Bytes;
use eyot_core::{Digest, Digester, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    InTotoStatement, PrivateKey, STATEMENT_TYPE, StatementSubject, invalid_signature, sign_statement,
};
use crate::tree::FileTree;

/// The predicate type of a list of files.
pub const FILE_LIST_PREDICATE: &str = "https://model_signing/signature/v1.0";
/// What stands for the file in the list of a model that is one file and no folder.
const SINGLE_FILE_NAME: &str = ".";

#[derive(Deserialize)]
struct FileListing {
    serialization: ListingSerialization,
    resources: Vec<ListedFile>,
}

#[derive(Deserialize)]
struct ListingSerialization {
    method: String,
}

#[derive(Serialize, Deserialize)]
struct ListedFile {
    name: String,
    algorithm: String,
    digest: String,
}

/// A bundle that lists files under the name of a model.
pub(super) fn sign(key: &PrivateKey, name: &str, files: &FileTree) -> Result<Bytes> {
    let mut root = Digester::new();
    let mut resources = Vec::new();
    for (path, file) in &files.files {
        root.update(file.digest.as_bytes());
        resources.push(ListedFile {
            name: path.clone(),
            algorithm: "sha256".to_owned(),
            digest: file.digest.hex(),
        });
    }
    let subject = StatementSubject {
        name: name.to_owned(),
        digest: [("sha256".to_owned(), root.finish().hex())].into(),
    };
    let statement = InTotoStatement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: vec![subject],
        predicate_type: FILE_LIST_PREDICATE.to_owned(),
        predicate: json!({
            "serialization":
                { "method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": [] },
            "resources": resources,
        }),
    };
    // It knows a key by the hash of the file that holds it, not by that of the key.
    let hint = Digest::of(key.public().to_pem()?).hex();
    sign_statement(key, &statement, hint)
}

/// Fails with `Denied` when the list is not of exactly these files.
pub(super) fn is_about(statement: &InTotoStatement, files: &FileTree) -> Result<()> {
    let listing: FileListing = serde_json::from_value(statement.predicate.clone())
        .map_err(|error| invalid_signature("lists no files").because(error))?;
    if listing.serialization.method != "files" {
        return Err(invalid_signature(&format!(
            "is over '{}', not over whole files",
            listing.serialization.method
        )));
    }
    let mut root = Digester::new();
    for resource in &listing.resources {
        let digest = (resource.algorithm == "sha256").then(|| format!("sha256:{}", resource.digest));
        let digest = digest.and_then(|text| text.parse::<Digest>().ok());
        let digest =
            digest.ok_or_else(|| invalid_signature(&format!("has no sha256 of '{}'", resource.name)))?;
        root.update(digest.as_bytes());
        let found = match files.files.iter().next() {
            Some((_, only)) if resource.name == SINGLE_FILE_NAME && files.files.len() == 1 => Some(only),
            _ => files.files.get(&resource.name),
        };
        match found {
            Some(found) if found.digest == digest => {}
            Some(_) => return Err(invalid_signature(&format!("is of another '{}'", resource.name))),
            None => return Err(invalid_signature(&format!("lists '{}', which is not there", resource.name))),
        }
    }
    let listed =
        |path: &String| listing.resources.iter().any(|one| one.name == *path || one.name == SINGLE_FILE_NAME);
    if let Some(path) = files.files.keys().find(|path| !listed(path)) {
        return Err(invalid_signature(&format!("does not list '{path}'")));
    }
    let said = statement.subject.first().and_then(|subject| subject.digest.get("sha256"));
    if listing.resources.is_empty() || said != Some(&root.finish().hex()) {
        return Err(invalid_signature("lists other files than those that its subject is the hash of"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::attestation::{AttestedManifest, parse_bundle, verify};
    use crate::tree::FileEntry;

    fn files(of: &[(&str, &str)]) -> AttestedManifest {
        let leaf = |text: &str| FileEntry { digest: Digest::of(text), size: text.len() as u64 };
        let files = of.iter().map(|(path, text)| ((*path).to_owned(), leaf(text))).collect();
        AttestedManifest { digest: Digest::of("manifest"), files: FileTree::new(files) }
    }

    #[test]
    fn a_list_holds_of_exactly_the_files_that_were_signed() {
        let key = PrivateKey::generate();
        let signed = files(&[("a.bin", "a"), ("sub/b.bin", "b")]);
        let bundle = sign(&key, "model", &signed.files).unwrap();
        assert_eq!(verify(&bundle, &signed, &[key.public()]).unwrap().predicate_type, FILE_LIST_PREDICATE);
        for (attested, why) in [
            (files(&[("a.bin", "a")]), "which is not there"),
            (files(&[("a.bin", "a"), ("sub/b.bin", "c")]), "another 'sub/b.bin'"),
            (files(&[("a.bin", "a"), ("sub/b.bin", "b"), ("c", "")]), "does not list 'c'"),
            (files(&[]), "which is not there"),
        ] {
            let error = verify(&bundle, &attested, &[key.public()]).unwrap_err().chain();
            assert!(error.contains(why), "{error}");
        }
        assert!(verify(&bundle, &signed, &[PrivateKey::generate().public()]).is_err());
    }

    #[test]
    fn a_list_that_contradicts_itself_is_none() {
        let key = PrivateKey::generate();
        let attested = files(&[("a.bin", "a"), ("b.bin", "b")]);
        let bundle = sign(&key, "model", &attested.files).unwrap();
        let spoil = |spoil: fn(&mut InTotoStatement)| {
            let mut statement = parse_bundle(&bundle).unwrap().statement;
            spoil(&mut statement);
            is_about(&statement, &attested.files).unwrap_err().chain()
        };
        for (error, why) in [
            (spoil(|one| one.predicate["resources"] = json!([])), "does not list 'a.bin'"),
            (spoil(|one| one.predicate["resources"][0]["algorithm"] = json!("md5")), "no sha256"),
            (spoil(|one| one.predicate["resources"][0]["digest"] = json!("")), "no sha256"),
            (spoil(|one| one.predicate["serialization"]["method"] = json!("shards")), "not over whole files"),
            (spoil(|one| one.predicate = json!(null)), "lists no files"),
            (spoil(|one| one.subject.clear()), "hash of"),
            (spoil(|one| one.subject[0].digest.clear()), "hash of"),
        ] {
            assert!(error.contains(why), "{error}");
        }
        assert!(is_about(&parse_bundle(&bundle).unwrap().statement, &attested.files).is_ok());
    }

    #[test]
    fn a_model_of_one_file_may_be_listed_as_itself() {
        let key = PrivateKey::generate();
        let itself = files(&[(SINGLE_FILE_NAME, "weights")]);
        let bundle = sign(&key, "model.onnx", &itself.files).unwrap();
        assert!(verify(&bundle, &files(&[("model.onnx", "weights")]), &[key.public()]).is_ok());
        assert!(verify(&bundle, &files(&[("model.onnx", "other")]), &[key.public()]).is_err());
        let two = files(&[("model.onnx", "weights"), ("more", "weights")]);
        assert!(verify(&bundle, &two, &[key.public()]).is_err());
    }
}
