use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::protocol::compress::ContentCoding;

const INFER: &str = "/v2/models/echo/infer";
const JSON: &str = r#"{"inputs": [
    {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    {"name": "s", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}"#;

/// 1.5, 2.0, "hi".
const TENSORS: &[u8] = b"\x00\x00\xc0\x3f\x00\x00\x00\x40\x02\x00\x00\x00hi";

fn parts(answer: &Response<Bytes>) -> (Value, Vec<u8>) {
    let length = header(answer.headers(), "inference-header-content-length")
        .map(|text| text.parse::<usize>().unwrap());
    let (json, tensors) = answer.body().split_at(length.unwrap_or(answer.body().len()));
    (serde_json::from_slice(json).unwrap(), tensors.to_vec())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn tensors_are_binary_both_ways_where_that_is_wanted() {
    let world = World::new(|_| {}).await;
    world.activate(1, None, MINUTE);
    let length = JSON.len().to_string();
    let binary = [("Inference-Header-Content-Length", length.as_str())];
    let ask = async |json: &str, tensors: &[u8]| {
        let (length, body) = (json.len().to_string(), [json.as_bytes(), tensors].concat());
        let answer =
            world.send("POST", INFER, &[("Inference-Header-Content-Length", &length)], body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        answer
    };
    let answer = ask(JSON, TENSORS).await;
    assert_eq!(header(answer.headers(), "content-type"), Some("application/json"));
    assert_eq!(parts(&answer).0["outputs"][0]["data"], json!([1.5, 2.0]));

    let all = JSON.replacen('{', r#"{"parameters": {"binary_data_output": true}, "#, 1);
    let answer = ask(&all, TENSORS).await;
    assert_eq!(header(answer.headers(), "content-type"), Some("application/octet-stream"));
    let (json, tensors) = parts(&answer);
    assert_eq!(
        json["outputs"][1],
        json!({"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}})
    );
    assert_eq!(tensors, TENSORS);

    let one = GOOD.replacen(
        '{',
        r#"{"outputs": [{"name": "t", "parameters": {"binary_data": true}}, {"name": "y"}], "#,
        1,
    );
    let answer = world.send("POST", INFER, &[], one).await.unwrap();
    let (json, tensors) = parts(&answer);
    assert_eq!((json["outputs"][1]["data"].clone(), tensors.as_slice()), (json!([1.5, 2.0]), &TENSORS[8..]));

    for (headers, body, says) in [
        (&binary[..], &JSON.as_bytes()[..9], "Inference-Header-Content-Length is"),
        (
            &[("Inference-Header-Content-Length", "-1")],
            JSON.as_bytes(),
            "Inference-Header-Content-Length is \"-1\", not",
        ),
        (
            &[("Inference-Header-Content-Length", "x")],
            JSON.as_bytes(),
            "Inference-Header-Content-Length is \"x\", not",
        ),
        (
            &[("Inference-Header-Content-Length", "0")],
            TENSORS,
            "a raw binary request needs a model of one input",
        ),
        (&[], JSON.as_bytes(), "input 'x': its binary_data_size is 8, and 0 bytes are left"),
    ] {
        let answer = world.send("POST", INFER, headers, body.to_vec()).await.unwrap();
        let (json, _) = parts(&answer);
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{json}");
        assert!(json["error"].as_str().unwrap().starts_with(says), "{json}");
    }
}

#[tokio::test]
async fn bodies_are_compressed_both_ways_where_that_is_wanted() {
    let world = World::new(|config| config.max_body = ByteCount(1 << 20)).await;
    world.activate(1, None, MINUTE);
    let zeros = vec!["0"; 8000].join(",");
    let long = GOOD.replace("[1, 2]", "[4000, 2]").replace("[[1.5, 2]]", &format!("[{zeros}]"));
    for (name, coding) in
        [("gzip", ContentCoding::Gzip), ("deflate", ContentCoding::Deflate), ("zstd", ContentCoding::Zstd)]
    {
        let compressed = coding.compress(long.as_bytes()).unwrap();
        let headers = [("content-encoding", name), ("accept-encoding", name)];
        let answer = world.send("POST", INFER, &headers, compressed).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        assert_eq!(header(answer.headers(), "content-encoding"), Some(name));
        let plain = coding.decompress(answer.body(), 1 << 20).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap()["outputs"][0]["shape"], json!([4000, 2]));

        let small = world.send("POST", INFER, &[("accept-encoding", name)], GOOD).await.unwrap();
        assert_eq!(header(small.headers(), "content-encoding"), None, "not worth it");
        let bomb = coding.compress(&vec![b' '; 2 << 20]).unwrap();
        for (body, status) in
            [(bomb, StatusCode::PAYLOAD_TOO_LARGE), (Bytes::from(GOOD), StatusCode::BAD_REQUEST)]
        {
            let answer = world.send("POST", INFER, &[("content-encoding", name)], body).await.unwrap();
            assert_eq!(answer.status(), status, "{name}: {answer:?}");
        }
    }
    let answer = world.send("POST", INFER, &[("content-encoding", "br")], GOOD).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let short = Duration::from_millis(50);
    let world = World::new(|config| config.body_timeout = eyot_core::Period(short)).await;
    world.activate(1, None, MINUTE);
    for sent in [&GOOD[..0], &GOOD[..20]] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{sent}",
            GOOD.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The connection ends too, or this would wait for ever.
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("the request's body did not come within 50ms"), "{answer}");
    }
    let (status, _) = world.infer().await.unwrap();
    assert_eq!(status, StatusCode::OK, "who sends is answered");
}
