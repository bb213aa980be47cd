//! The route that shows what components print.

use std::convert::Infallible;
use std::pin::Pin;

use axum::extract::{Path, State};
use axum::response::sse::{self, KeepAlive, Sse};
use eyot_core::Permission;
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use crate::ApiServices;
use crate::answer::{ErrorResponse, QueryParameters};
use crate::deployments::scoped;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let read = AccessRule::Needs(Permission::DeploymentLogRead);
    RuledRoutes::new(services).path("/api/v1/deployments/{name}/logs", |path| path.get(read, logs))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsQuery {
    #[serde(default = "some")]
    tail: usize,
    #[serde(default)]
    follow: bool,
}

fn some() -> usize {
    100
}

type LogEvents =
    Sse<sse::KeepAliveStream<Pin<Box<dyn Stream<Item = Result<sse::Event, Infallible>> + Send>>>>;

async fn logs(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
    QueryParameters(wanted): QueryParameters<LogsQuery>,
) -> Result<LogEvents, ErrorResponse> {
    let name = scoped(&project, &name)?;
    services.deployments.get(&name).await?;
    let (lines, live) = services.logs.follow(name.as_str(), wanted.tail);
    let live = futures::stream::unfold(wanted.follow.then_some(live), |live| async move {
        let mut live = live?;
        loop {
            match live.recv().await {
                Ok(line) => return Some((line, Some(live))),
                // The reader is slow; what it missed is gone.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = futures::stream::iter(lines).chain(live).map(|line| {
        Ok(sse::Event::default()
            .json_data(&line)
            .unwrap_or_else(|_| sse::Event::default().comment("unreadable")))
    });
    let events: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
