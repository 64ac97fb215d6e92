//! How a request's exchange with the upstream is run, and what of the client's connection it needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::client::Client;
use super::site::SiteRoute;
use super::{Asked, balance_key};
use crate::clock::Clock;
use crate::policy::fields;
use crate::policy::present::Names;
use crate::policy::time::Times;
use crate::upstream::{Exchange, InterimCallback, RequestBody, UpstreamBody, UpstreamError};

impl Asked<'_> {
    /// How an exchange with the upstream is to be run for this request.
    pub(super) fn exchange(&self) -> Exchange {
        let timeouts = self.route.route.timeouts.unwrap_or(self.route.pool.settings().timeouts);
        let on_interim = (self.parts.version == Version::HTTP_11).then(|| interim_to(self.client.clone()));
        Exchange { timeouts, on_interim, hash: balance_key::of(self), retry: self.route.route.retry }
    }
}

/// What an upstream has answered, its body still to come.
pub(super) struct Answered {
    pub(super) response: Box<Response<UpstreamBody>>,
    /// When it was asked, and when it answered.
    pub(super) times: Times,
    /// What lay between the two.
    pub(super) first_byte: Duration,
}

/// Asks a route's upstream.
pub(super) async fn ask(
    clock: &Clock,
    route: &SiteRoute,
    request: &mut Request<RequestBody>,
    exchange: &Exchange,
) -> Result<Answered, UpstreamError> {
    let sent = Instant::now();
    let request_time = clock.at(sent);
    let response = Box::new(route.pool.send(request, exchange).await?);
    let came = Instant::now();
    Ok(Answered { response, times: clock.times_since(request_time, came), first_byte: came - sent })
}

/// Hands interim responses (RFC 9110 §15.2) of the upstream to the client's connection. 100 is ours to send.
fn interim_to(client: Arc<Client>) -> InterimCallback {
    Arc::new(move |status, headers| {
        if status == StatusCode::CONTINUE {
            return;
        }
        let mut end_to_end = headers.clone();
        fields::remove_hop_by_hop(&mut end_to_end, Names::of(headers));
        // RFC 9110 §8.6: there is no content, and who believed it would wait for some.
        end_to_end.remove(header::CONTENT_LENGTH);
        let mut head = BytesMut::new();
        head.put_slice(
            format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).as_bytes(),
        );
        for (name, value) in &end_to_end {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.put_slice(part);
            }
        }
        head.put_slice(b"\r\n");
        client.interim.queue(head.freeze());
    })
}

/// The connection itself, where an HTTP/1.1 client asks to switch protocols (RFC 9110 §7.8).
pub(super) fn take_upgrade(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let asks = request.version() == Version::HTTP_11
        && request.headers().contains_key(header::UPGRADE)
        && fields::has_token(request.headers(), &header::CONNECTION, "upgrade")
        // An upgrade to HTTP/2 is for the next hop, that is for us, and we offer it otherwise.
        && !protocols(request.headers()).any(|protocol| name(protocol).eq_ignore_ascii_case(b"h2c"));
    asks.then(|| hyper::upgrade::on(request))
}

/// Whether a 101 is to nothing but what was asked for (RFC 9110 §7.8).
pub(super) fn is_asked_for(asked: &HeaderMap, switched: &HeaderMap) -> bool {
    protocols(switched).all(|protocol| protocols(asked).any(|asked| asked.eq_ignore_ascii_case(protocol)))
}

/// The protocols that Upgrade names, each perhaps with its version.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::UPGRADE).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn name(protocol: &[u8]) -> &[u8] {
    protocol.split(|byte| matches!(byte, b'/' | b';')).next().unwrap_or_default().trim_ascii()
}
