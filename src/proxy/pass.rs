//! Requests that pass through: unsafe methods, bypasses, HEAD, protocol switches. Of the answers only those to POST that
//! ask for it are stored; others may invalidate (RFC 9111 §4.4) or freshen (§4.3.5) what is.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::Body;
use super::exchange::{self, Answered};
use super::fetch::Outcome;
use super::fetch::freshen::freshened;
use super::lookup::{self, Wanted};
use super::post::{self, Post};
use super::received::{apply_static_class, prepare, take_tags};
use super::settle::settle;
use super::{Asked, front, invalidation, outgoing, rewrite, search, unbelieved};
use crate::cache::epoch::Epoch;
use crate::policy::present::Names;
use crate::policy::reason::NoStoreReason;
use crate::policy::tags::Tags;
use crate::policy::time::Times;
use crate::policy::{fields, validate};
use crate::upstream::{Meter, RequestBody, TrailerFilter, UpstreamBody, UpstreamError, UpstreamErrorKind};

/// A response that was passed on, and how long its head took.
#[derive(Debug)]
pub(super) struct Passed {
    /// The response; where it is stored, as what it is to answer from.
    pub outcome: Outcome,
    /// As what it is stored, if so.
    pub stored_as: Option<Box<Wanted>>,
    /// From sending the request to the head of the answer.
    pub first_byte: Duration,
    /// Counts the bytes of the request's body, which may still be coming.
    pub(super) meter: Option<Meter>,
}

/// The client's body, as it goes to the upstream: whole where the route holds as much.
///
/// # Errors
/// The client does not bring it.
pub(super) async fn body(
    asked: &Asked<'_>,
    body: Option<Incoming>,
    upgrade: bool,
) -> Result<RequestBody, UpstreamError> {
    let Some(body) = body else { return Ok(RequestBody::Empty) };
    let route = &asked.route.route;
    let body = RequestBody::client(
        body,
        asked.parts.version,
        unbelieved_trailers(asked),
        route.max_request_body,
        asked.site.settings.client_timeouts.idle,
    );
    if matches!(body, RequestBody::Empty) || route.buffer_request == 0 || upgrade || speaks_both_ways(&asked.parts) {
        return Ok(body);
    }
    // Boxed: hardly any request has one.
    Box::pin(body.held(route.buffer_request)).await
}

/// What a client may not say in front of a body it may not say behind it, either.
fn unbelieved_trailers(asked: &Asked<'_>) -> TrailerFilter {
    let site = asked.site.clone();
    TrailerFilter(Box::new(move |trailers| {
        unbelieved::remove(trailers, false);
        front::forget_claims(trailers, &site.subject_fields);
    }))
}

/// Whether client and app answer one another piece by piece, so that holding what comes first would have both wait.
fn speaks_both_ways(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.get(..GRPC.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(GRPC))
}

const GRPC: &[u8] = b"application/grpc";

/// Forwards a request with its body. `freshens` is given where what is stored may be freshened.
pub(super) async fn pass(
    asked: &Asked<'_>,
    body: RequestBody,
    client_upgrade: Option<OnUpgrade>,
    freshens: Option<&Wanted>,
) -> Result<Passed, UpstreamError> {
    let route = &asked.route.route;
    let mut request = outgoing::request(asked, client_upgrade.is_some()).map(|()| body);
    let meter = request.body().meter();
    let post = Post::of(asked);
    // Held until what it may freshen is stored: the log then forgets no purge that comes meanwhile.
    let began = freshens.map(|_| asked.proxy.cache.log.begin());
    let answered = exchange::ask(&asked.proxy.clock, asked.route, &mut request, &asked.exchange()).await?;
    let Answered { mut response, times, first_byte } = answered;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let is_asked_for = !switches || exchange::is_asked_for(request.headers(), response.headers());
    drop(request);

    if switches {
        if !is_asked_for {
            let cause = "101 to a protocol that nobody asked for";
            return Err(UpstreamError::because(UpstreamErrorKind::Protocol, cause));
        }
        if let Some(client) = client_upgrade {
            tunnel(asked, client, &mut response);
        }
        let outcome = Outcome::Passed(response, NoStoreReason::Upgrade);
        return Ok(Passed { outcome, stored_as: None, first_byte, meter });
    }
    if asked.parts.method != Method::HEAD {
        settle(asked.route, &mut response).await;
    }
    let names = prepare(response.headers_mut(), times.wall);
    asked.end_session(response.headers());
    if route.rewrite.is_some() {
        rewrite::incoming(&rewrite::Origin::of(asked), response.headers_mut());
    }
    let tags = take_tags(response.headers_mut(), names, &asked.site.settings.tags);
    let serves_get = post.filter(|_| post::serves_get(asked, &response));
    apply_static_class(asked.site, asked.route, &asked.parts, &mut response);
    let own = invalidation::after(asked, &response);
    if own.is_some() {
        // Who sees that a change succeeded must not be answered from before it, even if larder is killed now.
        asked.proxy.cache.log.kept().await;
    }
    let answers_head = asked.parts.method == Method::HEAD && response.status() == StatusCode::OK;
    if let (Some(wanted), Some(began), Ok(tags)) = (freshens, began, &tags)
        && answers_head
        && !wanted.facts.directives.no_store
    {
        freshen_by_head(asked, wanted, &response, times, tags, began.epoch());
    }
    if let Some((post, own)) = serves_get.zip(own) {
        let (wanted, outcome) = post.store(asked, response, times, first_byte, tags, &own);
        return Ok(Passed { outcome, stored_as: Some(wanted), first_byte, meter });
    }
    let no_store = if freshens.is_some() { NoStoreReason::Method } else { NoStoreReason::Bypass };
    Ok(Passed { outcome: Outcome::Passed(response, no_store), stored_as: None, first_byte, meter })
}

/// RFC 9111 §4.3.5: the answer to a HEAD confirms each response stored for GET that could have been chosen for it, or
/// shows that it is outdated.
fn freshen_by_head(
    asked: &Asked<'_>,
    wanted: &Wanted,
    response: &Response<UpstreamBody>,
    times: Times,
    tags: &Tags,
    epoch: Epoch,
) {
    if wanted.stored.is_none() {
        return;
    }
    let (cache, headers, request) = (&asked.proxy.cache, response.headers(), &asked.parts.headers);
    let exact = wanted.found_in().map_or_else(|| wanted.exact(), |own| &own.key);
    for stored in wanted.entry.variants().iter().filter(|stored| {
        stored.facts.status == response.status()
            && stored.is_selected_by(request)
            && lookup::is_acceptable(asked.route, stored, request)
            && stored.facts.admits(wanted.found_in().map_or(&wanted.facts, |own| &own.facts))
    }) {
        let fields = stored.fields.unpack(0);
        // Its tag may be one of ours, which says nothing about the upstream's.
        let theirs = if stored.own_tag { without_tag(fields) } else { fields };
        if !validate::head_confirms(headers, &theirs, stored.complete_length()) {
            cache.remove_variant(&wanted.key, stored);
            continue;
        }
        let fresh = freshened(stored, true, headers, times, wanted, request, asked.route);
        // It may say something else of the query than it did, and then belongs elsewhere.
        let keeps_key = search::key_by(&fresh.response, exact, &asked.route.route.key) == wanted.key;
        match fresh.no_store {
            None if keeps_key => {
                let tags = stored.tags().updated(tags, headers);
                cache.replace(&wanted.key, stored, Arc::new(fresh.response.marked(epoch, tags)));
            }
            _ => cache.remove_variant(&wanted.key, stored),
        }
    }
}

fn without_tag(mut fields: HeaderMap) -> HeaderMap {
    fields.remove(header::ETAG);
    fields
}

/// Joins the two connections, after the 101 has been sent, until either side ends.
fn tunnel(asked: &Asked<'_>, client: OnUpgrade, response: &mut Response<UpstreamBody>) {
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let Some(mut upstream) = response.body_mut().take_tunnel() else { return };
    tracing::debug!(?protocol, target = asked.admitted.target.as_str(), "switching protocols");
    tokio::spawn(async move {
        let Ok(client) = client.await else { return };
        let mut client = TokioIo::new(client);
        // Either end may close its half first; an error on one closes both.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    });
}

/// The 101 with the fields that make it one.
pub(super) fn switching(response: Response<UpstreamBody>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    head.version = Version::HTTP_11;
    let protocol = head.headers.get(header::UPGRADE).cloned();
    let names = Names::of(&head.headers);
    fields::remove_hop_by_hop(&mut head.headers, names);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(header::UPGRADE, protocol);
    }
    Response::from_parts(head, Body::empty())
}
