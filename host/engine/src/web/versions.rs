//! How components are called by the versions of `wasi:http`.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use eyot_core::{Error, Result};
use wasmtime::component::Resource;
use wasmtime::{Store, error::Context as _};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p2, p3};

use super::alone::{Give, Handle};
use crate::guest::Guest;
use crate::pool::Start;

impl Start for p2::bindings::ProxyPre<Guest> {
    type Started = p2::bindings::Proxy;

    async fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<Self::Started> {
        self.instantiate_async(store).await
    }
}

/// `wasi:http/incoming-handler@0.2`.
impl Handle for p2::bindings::ProxyPre<Guest> {
    type Asked = (Resource<p2::types::HostIncomingRequest>, Resource<p2::types::HostResponseOutparam>);

    fn ask(store: &mut Store<Guest>, request: http::Request<WasiBody>, give: Give) -> Result<Self::Asked> {
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(p2::bindings::http::types::Scheme::Http, request);
        let request = request.map_err(|error| Error::invalid(format!("{error:#}")))?;
        let give = |given: std::result::Result<_, _>| {
            // Who asked may have gone.
            let _ = give.send(given.map_err(|code| p2::HttpError::from(code).to_string()));
        };
        let out = http.new_response_outparam_from_callback(give);
        Ok((request, out.map_err(|error| Error::internal(format!("{error:#}")))?))
    }

    async fn call(
        exports: &Self::Started,
        store: &mut Store<Guest>,
        (request, out): Self::Asked,
    ) -> wasmtime::Result<bool> {
        exports.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await?;
        // A body that nobody ends any more ends with its instance.
        let mut left = store.data_mut().http().table.iter_mut();
        Ok(!left.any(|resource| resource.is::<HostOutgoingBody>()))
    }
}

impl Start for p3::bindings::ServicePre<Guest> {
    type Started = p3::bindings::Service;

    async fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<Self::Started> {
        self.instantiate_async(store).await
    }
}

/// How a request's body came to the component's ears.
type Received = Pin<Box<dyn Future<Output = std::result::Result<(), wasmtime_wasi_http::Error>> + Send>>;

/// `wasi:http/handler@0.3`.
impl Handle for p3::bindings::ServicePre<Guest> {
    type Asked = (Resource<p3::Request>, Received, Give);

    fn ask(store: &mut Store<Guest>, request: http::Request<WasiBody>, give: Give) -> Result<Self::Asked> {
        let http = store.data_mut().http();
        let (request, received) = p3::Request::from_http(http.hooks, request);
        let request = http.table.push(request).map_err(|error| Error::internal(error.to_string()))?;
        Ok((request, Box::pin(received), give))
    }

    async fn call(
        exports: &Self::Started,
        store: &mut Store<Guest>,
        (request, received, give): Self::Asked,
    ) -> wasmtime::Result<bool> {
        let handler = exports.wasi_http_handler();
        let called = store.run_concurrent(async |guest| {
            let given = match handler.call_handle(guest, request).await? {
                Ok(response) => Ok(guest.with(|mut store| {
                    let response = store.data_mut().http().table.delete(response)?;
                    response.into_http(store, received)
                })?),
                Err(code) => Err(code.to_string()),
            };
            // Who asked may have gone.
            let _ = give.send(given);
            // It goes on after its answer has begun: it writes the rest of it, at least.
            poll_fn(|context| guest.poll_no_interesting_tasks(context)).await;
            // One that asks for no more calls just now may never be able to say otherwise, as it rests in between.
            let function = *handler.func_handle().func();
            let again = poll_fn(|context| {
                Poll::Ready(guest.poll_ready_for_concurrent_call(function, context).is_ready())
            });
            Ok(again.await)
        });
        called.await.context("the component's event loop ended")?
    }
}
