//! gRPC, and TLS.

use futures::StreamExt as _;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::protocol::grpc::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::protocol::grpc::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::protocol::grpc::pb::{self, InferTensorContents, ModelInferRequest};

type Http2 = Client<HttpConnector, tonic::body::Body>;

fn channel(world: &World) -> (Http2, http::Uri) {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    (client, format!("http://{}", world.address).parse().unwrap())
}

fn client(world: &World) -> GrpcInferenceServiceClient<Http2> {
    let (client, origin) = channel(world);
    GrpcInferenceServiceClient::with_origin(client, origin)
}

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.into(),
        ..InferInputTensor::default()
    }
}

fn raw() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "echo".into(),
        id: "7".into(),
        inputs: vec![input("x", "FP32", &[1, 2]), input("s", "BYTES", &[1])],
        raw_input_contents: vec![
            Bytes::from_static(b"\x00\x00\xc0\x3f\x00\x00\x00\x40"),
            Bytes::from_static(b"\x02\x00\x00\x00hi"),
        ],
        ..ModelInferRequest::default()
    }
}

fn typed() -> ModelInferRequest {
    let mut request = ModelInferRequest { raw_input_contents: vec![], ..raw() };
    request.inputs[0].contents =
        Some(InferTensorContents { fp32_contents: vec![1.5, 2.0], ..Default::default() });
    request.inputs[1].contents =
        Some(InferTensorContents { bytes_contents: vec!["hi".into()], ..Default::default() });
    request
}

#[tokio::test]
async fn every_call_answers_as_the_protocol_says() {
    let world = World::new(|config| config.model_control = true).await;
    world.activate(7, None, MINUTE);
    let mut client = client(&world);
    assert!(client.server_live(pb::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(pb::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let server = client.server_metadata(pb::ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!((server.name.as_str(), server.extensions.len()), ("eyot", metadata::EXTENSIONS.len()));
    let versions = [("echo", "", true), ("echo", "7", true), ("echo", "8", false), ("other", "", false)];
    for (name, version, ready) in versions {
        let request = pb::ModelReadyRequest { name: name.into(), version: version.into() };
        assert_eq!(client.model_ready(request).await.unwrap().into_inner().ready, ready, "{name} {version}");
    }
    let named = || ("echo".to_owned(), String::new());
    let (name, version) = named();
    let metadata =
        client.model_metadata(pb::ModelMetadataRequest { name, version }).await.unwrap().into_inner();
    assert_eq!(
        (metadata.versions.as_slice(), metadata.inputs[0].shape.as_slice()),
        (&["7".to_owned()][..], &[-1, 2][..])
    );
    let (name, version) = named();
    let config = client
        .model_config(pb::ModelConfigRequest { name, version })
        .await
        .unwrap()
        .into_inner()
        .config
        .unwrap();
    assert_eq!(config.input[0].data_type(), pb::DataType::TypeFp32);

    for request in [raw(), typed()] {
        let answer = client.model_infer(request).await.unwrap();
        assert!(answer.metadata().contains_key("eyot-prediction-id"));
        let answer = answer.into_inner();
        assert_eq!((answer.model_version.as_str(), answer.id.as_str()), ("7", "7"));
        assert_eq!(answer.raw_output_contents, raw().raw_input_contents);
        assert_eq!((answer.outputs[0].name.as_str(), answer.outputs[0].shape.as_slice()), ("y", &[1, 2][..]));
    }
    let (name, version) = named();
    let stats =
        client.model_statistics(pb::ModelStatisticsRequest { name, version }).await.unwrap().into_inner();
    assert_eq!(stats.model_stats[0].inference_count, 2);

    let index = client.repository_index(pb::RepositoryIndexRequest::default()).await.unwrap().into_inner();
    assert_eq!((index.models[0].name.as_str(), index.models[0].state.as_str()), ("echo", "READY"));
    let model_name = "echo".to_owned();
    client
        .repository_model_unload(pb::RepositoryModelUnloadRequest { model_name, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(client.model_infer(raw()).await.unwrap_err().code(), Code::NotFound);
    let model_name = "echo".to_owned();
    client
        .repository_model_load(pb::RepositoryModelLoadRequest { model_name, ..Default::default() })
        .await
        .unwrap();
    client.model_infer(raw()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_call_is_told_what_is_wrong() {
    let world = World::new(|_| {}).await;
    world.activate(7, None, MINUTE);
    let mut client = client(&world);
    type Change = fn(&mut ModelInferRequest);
    let cases: [(Change, Code, &str); 13] = [
        (|it| it.model_name = "other".into(), Code::NotFound, "there is no model 'other'"),
        (|it| it.model_version = "8".into(), Code::NotFound, "model 'echo' has no version '8'"),
        (
            |it| it.inputs[0].datatype = "FP64".into(),
            Code::InvalidArgument,
            "input 'x': FP64 of shape [1, 2] has 16 bytes, not 8",
        ),
        (
            |it| it.inputs[0].datatype = "fp32".into(),
            Code::InvalidArgument,
            "input 'x': 'fp32' is no datatype",
        ),
        (|it| it.inputs[0].shape = vec![-1, 2], Code::InvalidArgument, "input 'x': its shape holds -1"),
        (
            |it| it.inputs[0].shape = vec![2],
            Code::InvalidArgument,
            "input 'x' has the shape [-1, 2], not [2]",
        ),
        (|it| it.inputs[0].name = "z".into(), Code::InvalidArgument, "there is no input 'z'"),
        (|it| it.inputs[1].name = "x".into(), Code::InvalidArgument, "input 'x' is FP32, not BYTES"),
        (
            |it| it.raw_input_contents.truncate(1),
            Code::InvalidArgument,
            "there are 1 raw_input_contents for 2 inputs",
        ),
        (
            |it| it.raw_input_contents[1].truncate(5),
            Code::InvalidArgument,
            "input 's': the last BYTES element is cut off",
        ),
        (
            |it| it.inputs[0].contents = typed().inputs[0].contents.clone(),
            Code::InvalidArgument,
            "input 'x': it has contents, and",
        ),
        (
            |it| it.outputs = vec![InferRequestedOutputTensor { name: "q".into(), ..Default::default() }],
            Code::InvalidArgument,
            "there is no output 'q'",
        ),
        (
            |it| {
                drop(it.parameters.insert(
                    "triton_x".into(),
                    pb::InferParameter {
                        parameter_choice: Some(pb::infer_parameter::ParameterChoice::BoolParam(true)),
                    },
                ))
            },
            Code::InvalidArgument,
            "parameter 'triton_x' is reserved",
        ),
    ];
    for (change, code, says) in cases {
        let mut request = raw();
        change(&mut request);
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().starts_with(says), "{status:?}");
    }
    let contents: [(Change, &str); 4] = [
        (|it| it.inputs[0].contents = None, "input 'x': FP32 of shape [1, 2] has 2 elements, its contents 0"),
        (|it| it.inputs[0].datatype = "FP16".into(), "input 'x': FP16 has no typed contents"),
        (
            |it| it.inputs[0].datatype = "INT32".into(),
            "input 'x': its elements are in fp32_contents, those of INT32 belong into int_contents",
        ),
        (
            |it| {
                it.inputs[1] = InferInputTensor {
                    contents: Some(InferTensorContents { int_contents: vec![300], ..Default::default() }),
                    ..input("s", "INT8", &[1])
                }
            },
            "input 's': element 0 is 300, too large for INT8",
        ),
    ];
    for (change, says) in contents {
        let mut request = typed();
        change(&mut request);
        let status = client.model_infer(request).await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().starts_with(says), "{status:?}");
    }
    let large = ModelInferRequest { id: "x".repeat(5000), ..raw() };
    assert_eq!(client.model_infer(large).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn who_sends_compressed_is_answered_so_where_it_is_worth_it() {
    let world = World::new(|config| config.max_body = ByteCount(1 << 20)).await;
    world.activate(7, None, MINUTE);
    let rows = |count: i64| {
        let mut request = raw();
        request.inputs[0].shape = vec![count, 2];
        request.raw_input_contents[0] = vec![0; 8 * usize::try_from(count).unwrap()].into();
        request
    };
    for (coding, count, packed) in [
        (Some(CompressionEncoding::Gzip), 4000, Some("gzip")),
        (Some(CompressionEncoding::Deflate), 4000, Some("deflate")),
        (Some(CompressionEncoding::Gzip), 1, None),
        (None, 4000, None),
    ] {
        let mut client = client(&world).accept_compressed(CompressionEncoding::Gzip);
        client = client.accept_compressed(CompressionEncoding::Deflate);
        if let Some(coding) = coding {
            client = client.send_compressed(coding);
        }
        let answer = client.model_infer(rows(count)).await.unwrap();
        let compressed = answer.metadata().get("grpc-encoding").map(|it| it.to_str().unwrap().to_owned());
        let length = answer.into_inner().raw_output_contents[0].len();
        assert_eq!(length, 8 * usize::try_from(count).unwrap());
        if count > 1 {
            assert_eq!(compressed.as_deref(), packed, "{coding:?} {count}");
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_a_wrong_request() {
    let world = World::new(|_| {}).await;
    world.activate(7, None, MINUTE);
    let wrong = ModelInferRequest { id: "8".into(), inputs: vec![], raw_input_contents: vec![], ..raw() };
    let requests = futures::stream::iter([raw(), wrong, raw()]);
    let answers = client(&world).model_stream_infer(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
    let told: Vec<_> = answers
        .iter()
        .map(|it| (it.error_message.as_str(), it.infer_response.as_ref().unwrap().id.as_str()))
        .collect();
    assert_eq!(told, [("", "7"), ("input 'x' is missing; it is FP32 of shape [-1, 2]", "8"), ("", "7")]);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let world = World::new(|_| {}).await;
    let (client, origin) = channel(&world);
    for (path, says) in [
        (
            "inference.GRPCInferenceService/SystemSharedMemoryStatus",
            "SystemSharedMemoryStatus: tensors in shared memory are not taken",
        ),
        ("inference.GRPCInferenceService/LogSettings", "LogSettings: what is logged is the server's"),
        ("inference.GRPCInferenceService/Dance", "Dance: there is no such call"),
        ("a.B/C", "there is no service 'a.B'"),
    ] {
        let request = Request::post(format!("{origin}{path}")).header("content-type", "application/grpc");
        let answer = client.request(request.body(tonic::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12", "{path}");
        let told = answer.headers()["grpc-message"].to_str().unwrap().replace("%20", " ").replace("%27", "'");
        assert!(told.starts_with(says), "{told}");
    }
}

#[tokio::test]
async fn health_is_told_while_it_changes() {
    let world = World::new(|_| {}).await;
    let (client, origin) = channel(&world);
    let mut health = HealthClient::with_origin(client, origin);
    let of = |service: &str| HealthCheckRequest { service: service.into() };
    for service in ["", "inference.GRPCInferenceService"] {
        assert_eq!(health.check(of(service)).await.unwrap().into_inner().status, 1);
    }
    assert_eq!(health.check(of("echo")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = health.watch(of("echo")).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().status, 3, "unknown");
    world.activate(1, None, MINUTE);
    assert_eq!(watched.next().await.unwrap().unwrap().status, 1, "serving");
    world.stop.send(()).unwrap();
    assert_eq!(watched.next().await.unwrap().unwrap().status, 2, "not serving");
    assert!(watched.next().await.is_none());
    world.served.await.unwrap().unwrap();
}
