//! The one way of every request, whatever its door: [`serve`].

use std::future::Future;
use std::sync::Arc;

use eyot_core::{Error, Result};

use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::exchange::Exchange;
use crate::serving::state::GatewayState;

/// What a door does with a request: the steps of [`serve`], in their order.
pub(crate) trait RequestWork: Send + Sized {
    /// What was asked, decoded.
    type Input: Send;
    /// What was asked, fit for the revision that answers it.
    type Call: Send;
    type Answer: Send;
    type Failure: From<Error> + Send;
    /// What the client is told, of an answer or of a failure.
    type Response: Send;

    fn gateway(&self) -> &GatewayState;

    /// The name of the deployment that is asked for, as the client has it.
    fn name(&self) -> &str;

    /// The deployment that is asked for.
    fn find(&self) -> Result<Arc<DeploymentEntry>> {
        self.gateway().endpoint(self.name())
    }

    /// Refuses what is wrong before anything of the body was read. It counts against no revision.
    fn check(&mut self, _deployment: &DeploymentEntry) -> Result<(), Self::Failure> {
        Ok(())
    }

    /// Receives and decodes the request. What is wrong with it counts against the revision that stands for its
    /// deployment.
    fn read(
        &mut self,
        exchange: &mut Exchange,
        deployment: &DeploymentEntry,
    ) -> impl Future<Output = Result<Self::Input, Self::Failure>> + Send;

    /// The revision that answers.
    fn select(&self, deployment: &DeploymentEntry, input: &Self::Input) -> Result<Arc<ServingRevision>>;

    /// Checks what was asked against the revision, and shortens the deadline where the client waits less long.
    fn prepare(
        &mut self,
        exchange: &mut Exchange,
        revision: &ServingRevision,
        input: Self::Input,
    ) -> Result<Self::Call>;

    /// Does the work, now that the revision has room, and makes the answer.
    fn run(
        self,
        exchange: &mut Exchange,
        revision: Arc<ServingRevision>,
        call: Self::Call,
    ) -> impl Future<Output = Result<Self::Answer, Self::Failure>> + Send;

    /// Tells the client, and ends the exchange: at once, or with the last part of an answer that is made as it goes
    /// out.
    fn respond(exchange: Exchange, attempted: Result<Self::Answer, Self::Failure>) -> Self::Response;
}

/// Serves a request. However it ends, and whether its client still waits or not, those who watch are told once.
pub(crate) async fn serve<W: RequestWork>(mut exchange: Exchange, work: W) -> W::Response {
    let attempted = attempt(&mut exchange, work).await;
    W::respond(exchange, attempted)
}

async fn attempt<W: RequestWork>(exchange: &mut Exchange, mut work: W) -> Result<W::Answer, W::Failure> {
    let found = work.gateway().refuse_when_draining().and_then(|()| work.find());
    let deployment = found.inspect_err(|_| exchange.set_unknown_name(work.name()))?;
    exchange.set_deployment(deployment.clone());
    work.check(&deployment)?;
    let read = work.read(exchange, &deployment).await;
    let input = read.inspect_err(|_| exchange.select_main())?;
    let revision = work.select(&deployment, &input)?;
    exchange.timings.decode = exchange.timings.received.map(|received| received.elapsed());
    exchange.select(revision.clone());
    let call = work.prepare(exchange, &revision, input)?;
    exchange.admit().await?;
    work.run(exchange, revision, call).await
}
