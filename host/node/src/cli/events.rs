use std::time::Duration;

use clap::Args;
use eyot_api::EventsFrom;
use eyot_core::{ErrorKind, Result};
use eyot_meta::Event;
use futures::StreamExt as _;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone};
use crate::session::{ApiSession, no_server};
use crate::visible::visible;

/// Between two attempts to reach a server that went away.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Shows what changed on the server: deployments, runs, models, artifacts.
///
/// Each event has a number, which rises without gaps; with --follow none is missed or repeated, also when the server is
/// away for a while. Events are kept for api.events-kept.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot events\n  eyot events --follow --topic deployment --topic model\n  \
    eyot events --after 1200 --json"
)]
pub(crate) struct EventsCommand {
    /// Only those whose topic is this, or begins with it up to a dot, as in `deployment`; may be given again.
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Begins after the event of that number.
    #[arg(long, value_name = "NUMBER", conflicts_with = "tail")]
    after: Option<i64>,
    /// How many of the last events are looked at first.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    tail: u32,
    /// Goes on with the events that come, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
}

impl EventsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if self.follow {
            return self.follow(global, output).await;
        }
        let session = ApiSession::open(global).await?;
        let mut events = session.client().server_events(&self.topics, self.first(), false).await?;
        while let Some(event) = events.next().await {
            self.print(&event?, output)?;
        }
        Ok(())
    }

    fn first(&self) -> EventsFrom {
        self.after.map_or(EventsFrom::Tail(self.tail), EventsFrom::After)
    }

    /// Prints what comes; a server that ended is waited for.
    async fn follow(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let mut session = ApiSession::running(global).await?.ok_or_else(no_server)?;
        let mut from = self.first();
        loop {
            let mut events = session.client().server_events(&self.topics, from, true).await?;
            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) if error.kind() == ErrorKind::Unavailable => break,
                    Err(error) => return Err(error),
                };
                from = EventsFrom::After(event.id);
                self.print(&event, output)?;
            }
            output.note(
                "the stream of events ended; going on after the last one as soon as the server is back",
            );
            let mut attempts = tokio::time::interval(RETRY_INTERVAL);
            session = loop {
                attempts.tick().await;
                match ApiSession::running(global).await {
                    Ok(Some(session)) => break session,
                    Err(error) if error.kind() != ErrorKind::Unavailable => return Err(error),
                    _ => {}
                }
            };
        }
    }

    fn print(&self, event: &Event, output: &CommandOutput) -> Result<()> {
        if output.is_json() {
            return output.event(event);
        }
        let head = output.paint(TextTone::Dim, &format!("{} {}", event.id, event.created));
        let topic = output.paint(TextTone::Strong, &event.topic);
        output.text(&format!(
            "{head} {topic} {} {}",
            visible(&event.subject),
            visible(&event.payload.to_string())
        ))
    }
}
