//! A second server for a request whose first one is slow: who answers first wins.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::sleep;

use super::error::UpstreamError;
use super::lease::Lease;
use super::request_body::RequestBody;
use super::response_body::Content;
use super::{Pool, Terms, copy_of, framing};
use crate::config::settings::RouteRetry;

impl Pool {
    /// After what silence a request is sent to another server as well; `None`: never.
    pub(super) fn hedge_after(&self, request: &Request<RequestBody>, retry: RouteRetry) -> Option<Duration> {
        let after = self.settings.retries.hedge_after.filter(|_| self.servers.len() > 1)?;
        let may_be_sent_twice = request.method().is_safe()
            && matches!(request.body(), RequestBody::Empty)
            && retry != RouteRetry::Never
            && !framing::asks_upgrade(request);
        may_be_sent_twice.then_some(after)
    }

    /// Asks one server and, when it has been silent for `after`, another one. What the slower one says is not waited
    /// for: its exchange is dropped, which closes its connection or resets its stream.
    pub(super) async fn ask_hedged(
        &self,
        request: &mut Request<RequestBody>,
        terms: Terms<'_>,
        hash: Option<u64>,
        after: Duration,
    ) -> Result<(Lease, Response<Content>), UpstreamError> {
        let way = self.balancer.way(hash);
        let mut other_way = way.anew();
        other_way.failed.extend(self.balancer.pick(&way));
        let mut copy = copy_of(request, RequestBody::Empty);
        let mut first = pin!(self.ask_servers(request, terms, way));
        tokio::select! {
            biased;
            answered = &mut first => return answered,
            () = sleep(after) => {}
        }
        let Some(server) = self.balancer.pick(&other_way) else { return first.await };
        if !self.budget.take(self.balancer.requests()) {
            self.retries_denied.fetch_add(1, Relaxed);
            return first.await;
        }
        server.counters().hedges.fetch_add(1, Relaxed);
        // Interim responses come from the first server alone, so that they come once.
        let terms = Terms { on_interim: None, retry: RouteRetry::Never, ..terms };
        let mut second = pin!(self.ask_servers(&mut copy, terms, other_way));
        tokio::select! {
            answered = &mut first => match answered {
                Ok(answered) => Ok(answered),
                Err(error) => second.await.map_err(|_| error),
            },
            answered = &mut second => match answered {
                Ok(answered) => Ok(answered),
                Err(_) => first.await,
            },
        }
    }
}
