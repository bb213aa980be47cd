//! `GET /api/v1/events`: what changes, as it changes, in server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, Sse};
use eyot_access::{AccessStore, Caller};
use eyot_core::{Error, ErrorKind, Permission, ProjectName, Result};
use eyot_meta::{Event, EventListener, FeedItem};
use futures::Stream;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::ApiServices;
use crate::answer::{ErrorResponse, QueryParameters};
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// How long a stream is silent at most: proxies end those that are for longer.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long a listener is told on whose token, or place in the project, has been taken away.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// What an event is called after which a listener has missed some.
pub(crate) const RESET_TOPIC: &str = "reset";
/// Events of repositories, which not everybody may pull from.
const ARTIFACT_TOPICS: &str = "artifact.";
/// Events of who is there and what they may do, for those who manage that.
const PEOPLE_TOPICS: [&str; 4] = ["user.", "service.", "token.", "project."];

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let read = AccessRule::Needs(Permission::EventRead);
    RuledRoutes::new(services).path("/api/v1/events", |path| path.get(read, events))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Beginnings of topics up to a dot, with commas between; all of them where it is left out.
    #[serde(default)]
    topics: String,
    /// Begins after the event of that number.
    after: Option<i64>,
    /// Begins so many events before the newest.
    tail: Option<i64>,
    /// Whether the stream goes on with what happens.
    #[serde(default = "yes")]
    follow: bool,
}

fn yes() -> bool {
    true
}

type EventStream = Pin<Box<dyn Stream<Item = Result<sse::Event, Infallible>> + Send>>;

async fn events(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    QueryParameters(query): QueryParameters<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<EventStream>, ErrorResponse> {
    // What a browser says when it comes back counts more than the address, which it asks again as it was.
    let after = match (last_event_id(&headers)?, query.after, query.tail) {
        (Some(id), ..) | (None, Some(id), _) => Some(id),
        (None, None, Some(tail)) => Some(services.events.last_id(&project).await? - tail.max(0)),
        (None, None, None) => None,
    };
    let listener = services.events.listen(&project, after).await?;
    let topics = query.topics.split(',').map(str::trim).filter(|topic| !topic.is_empty());
    let listening = ListeningClient {
        listener,
        topics: topics.map(str::to_owned).collect(),
        caller,
        project,
        access: services.access.clone(),
        shown: headers,
        checked: Instant::now(),
        follow: query.follow,
    };
    let events: EventStream = Box::pin(futures::stream::unfold(listening, ListeningClient::next));
    Ok(Sse::new(events))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(said) = headers.get("last-event-id") else { return Ok(None) };
    let id = said.to_str().ok().and_then(|said| said.parse::<i64>().ok());
    id.map(Some).ok_or_else(|| {
        Error::invalid("the header Last-Event-ID is no number of an event")
            .hint("leave it out to begin with now")
    })
}

struct ListeningClient {
    listener: EventListener,
    topics: Vec<String>,
    caller: Caller,
    project: ProjectName,
    access: AccessStore,
    /// The headers by which it said who it is.
    shown: HeaderMap,
    /// When that was last found to be true.
    checked: Instant,
    follow: bool,
}

impl ListeningClient {
    /// The next event that it wants and may see.
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        let beat = Instant::now() + HEARTBEAT_INTERVAL;
        loop {
            if self.checked.elapsed() >= CHECK_INTERVAL && !self.is_still_allowed().await {
                return None;
            }
            let next_look = beat.min(self.checked + CHECK_INTERVAL);
            let item = match self.follow {
                true => timeout_at(next_look, self.listener.next()).await.map(|item| item.map(Some)),
                false => Ok(self.listener.next_kept().await),
            };
            let event = match item {
                Err(_) if Instant::now() < beat => continue,
                // A number without data tells nobody anything, and is where a client comes back to.
                Err(_) => sse::Event::default().id(self.listener.last_id().to_string()).comment("heartbeat"),
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(FeedItem::Reset))) => self.reset(),
                Ok(Ok(Some(FeedItem::Event(event)))) if self.wants(&event) => framed(&event),
                Ok(Ok(Some(FeedItem::Event(_)))) => continue,
                // The server ends, or its database is away: the client comes back.
                Ok(Err(error)) => {
                    tracing::debug!(error = %error.chain(), "a stream of events ended");
                    return None;
                }
            };
            return Some((Ok(event), self));
        }
    }

    /// Looks again at who listens: a stream outlives the token that opened it, and the place in the project.
    async fn is_still_allowed(&mut self) -> bool {
        self.checked = Instant::now();
        if self.caller.is_local() {
            return true;
        }
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        parts.headers = self.shown.clone();
        match self.access.authenticate(&parts).await {
            Ok(caller) => {
                self.caller = caller;
                self.caller.require(Permission::EventRead, &self.project).is_ok()
            }
            // A database that cannot be asked says nothing of anybody.
            Err(error) => error.kind() != ErrorKind::Denied,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let named = |topic: &String| {
            event
                .topic
                .strip_prefix(topic.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_of_people = PEOPLE_TOPICS.iter().any(|topic| event.topic.starts_with(topic));
        (self.topics.is_empty() || self.topics.iter().any(named))
            && (!is_of_people || self.caller.require(Permission::MemberManage, &event.project).is_ok())
            && (!event.topic.starts_with(ARTIFACT_TOPICS) || self.caller.may_pull(&event.subject))
    }

    fn reset(&self) -> sse::Event {
        let mut event = Event::new(RESET_TOPIC, "", serde_json::json!({}));
        event.id = self.listener.last_id();
        framed(&event)
    }
}

fn framed(event: &Event) -> sse::Event {
    let framed = sse::Event::default().id(event.id.to_string()).event(&event.topic);
    framed.json_data(event).unwrap_or_else(|_| sse::Event::default().comment("unreadable"))
}
