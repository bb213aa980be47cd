//! The Open Inference Protocol over gRPC, on the same port: requests are told apart by content type.

mod health;
mod messages;
mod service;

#[cfg(any(test, fuzzing))]
pub(crate) use messages::check_message_boundaries;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eyot_core::{Error, ErrorKind};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;

use crate::http::answers::client_message;
use crate::http::body::RequestBody;
use crate::protocol::grpc::pb::{self, grpc_inference_service_server::GrpcInferenceServiceServer};
use crate::protocol::too_large;
use crate::serving::state::GatewayState;
use messages::MessageBody;

/// Calls that other servers have and this has not, and why.
const UNOFFERED_CALLS: [(&str, &str); 5] = [
    ("SystemSharedMemory", "tensors in shared memory are not taken; send them in the request"),
    ("CudaSharedMemory", "tensors in shared memory are not taken; send them in the request"),
    ("TraceSetting", "what is traced is the server's configuration, which clients do not change"),
    ("LogSettings", "what is logged is the server's configuration, which clients do not change"),
    ("", "there is no such call"),
];

/// Whether a request is one of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Calls whose client may send messages for as long as it likes, with pauses in between.
const STREAMING_CALLS: [&str; 2] = ["ModelStreamInfer", "ServerReflectionInfo"];

/// Answers a call. What goes wrong is told in its status.
pub(crate) async fn answer(
    gateway: &Arc<GatewayState>,
    request: Request<RequestBody>,
    caller: SocketAddr,
) -> Response<Body> {
    let is_streaming = STREAMING_CALLS.iter().any(|call| request.uri().path().ends_with(call));
    let (body_timeout, max_body) = (gateway.config.body_timeout.0, gateway.config.max_body);
    let request = request.map(|body| MessageBody::new(body, body_timeout, max_body.0, is_streaming));
    let path = request.uri().path();
    let limit = usize::try_from(gateway.config.max_body.0).unwrap_or(usize::MAX);
    let (service, call) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    // What a service answers with cannot fail: errors are statuses.
    let answered = match service {
        "inference.GRPCInferenceService" if service::OFFERED_CALLS.contains(&call) => {
            let server = GrpcInferenceServiceServer::new(service::InferenceService {
                gateway: gateway.clone(),
                caller,
            })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate);
            // Python's clients say with every call that they take compressed answers, and would pay for it
            // with each: only who sends compressed gets compressed.
            let mut server = match request_encoding(request.headers()) {
                Some(coding) => server.send_compressed(coding),
                None => server,
            };
            server.call(request).await
        }
        "inference.GRPCInferenceService" => {
            let why =
                UNOFFERED_CALLS.iter().find(|(name, _)| call.starts_with(name)).map_or("", |(_, why)| *why);
            Ok(Status::unimplemented(format!("{call}: {why}")).into_http())
        }
        "grpc.health.v1.Health" => {
            HealthServer::new(health::HealthService(gateway.clone())).call(request).await
        }
        "grpc.reflection.v1.ServerReflection" => match files().build_v1() {
            Ok(mut server) => server.call(request).await,
            Err(error) => Ok(Status::internal(error.to_string()).into_http()),
        },
        "grpc.reflection.v1alpha.ServerReflection" => match files().build_v1alpha() {
            Ok(mut server) => server.call(request).await,
            Err(error) => Ok(Status::internal(error.to_string()).into_http()),
        },
        _ => {
            let services = "inference.GRPCInferenceService, grpc.health.v1.Health and grpc.reflection.v1.ServerReflection";
            Ok(Status::unimplemented(format!("there is no service '{service}'; there are {services}"))
                .into_http())
        }
    };
    let answer = answered.unwrap_or_else(|never| match never {});
    // What tonic says of a message that is too large when it is decompressed.
    match answer.headers().get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"11") => status(&too_large(max_body.0)).into_http(),
        _ => answer,
    }
}

/// How a request is compressed.
fn request_encoding(headers: &HeaderMap) -> Option<CompressionEncoding> {
    match headers.get("grpc-encoding")?.as_bytes() {
        b"gzip" => Some(CompressionEncoding::Gzip),
        b"deflate" => Some(CompressionEncoding::Deflate),
        _ => None,
    }
}

/// What reflection tells.
fn files() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// An error as gRPC tells it.
fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::TooLarge | ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Full => Code::ResourceExhausted,
        ErrorKind::Failed | ErrorKind::Internal => Code::Internal,
    };
    Status::new(code, client_message(error))
}

/// The digits of a `grpc-timeout`, at most.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// How long the client waits, by its `grpc-timeout`; none where the header says nothing of the kind.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout").map(HeaderValue::to_str)?.ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // Digits alone, eight at most, as the protocol has it: the standard library would take a sign, too.
    let is_number = digits.len() <= MAX_TIMEOUT_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("00000001n", Some(Duration::from_nanos(1))),
            ("0S", Some(Duration::ZERO)),
            ("+5S", None),
            ("-5S", None),
            (" 5S", None),
            ("5 S", None),
            ("5S ", None),
            ("0x5S", None),
            ("5.0S", None),
            ("5", None),
            ("S", None),
            ("5s", None),
            ("5SS", None),
            ("999999999S", None),
            ("000000001S", None),
            ("", None),
        ] {
            let headers = [("grpc-timeout", text)]
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            assert_eq!(grpc_timeout(&HeaderMap::from_iter(headers)), expected, "'{text}'");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }
}
