//! Formats that leave the registry: their golden files, and what a newer Eyot may have added to them.

use super::*;
use crate::ReleaseSpec;
use crate::manifest::IMAGE_INDEX;

#[tokio::test]
async fn a_release_is_read_with_fields_of_later_ones_and_refused_when_it_is_newer() {
    let world = World::new().await;
    let client = world.client();
    client.push_model("acme/iris", Some("1"), "iris.onnx", "weights".into()).await.unwrap();
    let spec = ReleaseSpec {
        models: [("iris".to_owned(), reference("acme/iris:1"))].into(),
        pipeline: Some("[pipeline]\nname = \"iris\"\n".to_owned()),
        parameters: [("rate".to_owned(), "0.1".to_owned())].into(),
        data: [("train".to_owned(), Digest::of("rows"))].into(),
        ..ReleaseSpec::default()
    };
    client.create_release(&reference("releases/iris:1"), &spec).await.unwrap();
    let index = client.fetch(&reference("releases/iris:1")).await.unwrap().bytes;
    let golden = include_str!("formats/release-1.json").trim_end();
    assert_eq!(String::from_utf8(index.to_vec()).unwrap(), golden);
    let release = client.release(&reference("releases/iris:1")).await.unwrap();

    let mut later: Value = serde_json::from_str(golden).unwrap();
    later["annotations"]["dev.eyot.release.approved-by"] = json!("somebody");
    later["manifests"][0]["annotations"]["dev.eyot.release.stage"] = json!("canary");
    let put = async |tag: &str, index: &Value| {
        client.put_manifest("releases/iris", Some(tag), IMAGE_INDEX, index.to_string().into()).await.unwrap();
        client.release(&reference(&format!("releases/iris:{tag}"))).await
    };
    let read = put("later", &later).await.unwrap();
    assert_eq!(
        (&read.parts, &read.parameters, &read.data),
        (&release.parts, &release.parameters, &release.data)
    );

    later["annotations"]["dev.eyot.kind"] = json!("application/vnd.eyot.release.v2+json");
    let error = put("newer", &later).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.chain().contains("release.v2+json"), "{error:?}");
    later["annotations"]["dev.eyot.kind"] = json!("application/vnd.example");
    assert_eq!(put("other", &later).await.unwrap_err().kind(), ErrorKind::Invalid);
}
