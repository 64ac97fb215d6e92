//! The same for HTTP/2, where a request is read already and its response a map of fields: the answer is made by the
//! functions of the full way, without its future.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderName};
use http::{Method, Request, Response};

use super::super::met::Known;
use super::super::{Asked, Body, Client, Proxy, SiteRoute, lookup};

impl Proxy {
    /// Answers a request that came over HTTP/2, if it is a plain one and memory has a fresh response for it: that is it.
    /// Otherwise the request goes on as it came, to [`Proxy::handle`].
    pub fn hit<B: http_body::Body>(
        self: &Arc<Self>,
        client: &Arc<Client>,
        request: Request<B>,
    ) -> ControlFlow<Response<Body>, Request<B>> {
        let started = Instant::now();
        let is_simple = matches!(*request.method(), Method::GET | Method::HEAD)
            && request.body().is_end_stream()
            && request.headers().keys().all(is_harmless);
        if !is_simple {
            return ControlFlow::Continue(request);
        }
        let (mut parts, body) = request.into_parts();
        let site = self.site.load();
        let Some((admitted, route)) = self.plain(&site, client, &mut parts, leaves_requests_alone) else {
            return ControlFlow::Continue(Request::from_parts(parts, body));
        };
        let (known, now) = (Known::of(route, &mut parts), self.clock.at(started));
        let mut asked = Asked::of(self, &site, route, client, Arc::new(parts), admitted, known, now);
        match asked.hit() {
            // What is on disk alone has to be opened.
            Some(stored) if stored.body.stored().is_none() => {
                let answer = asked.answer_stored(lookup::identify(&asked), &stored, None);
                ControlFlow::Break(asked.finish(answer, started))
            }
            _ => ControlFlow::Continue(Request::from_parts(Arc::unwrap_or_clone(asked.parts), body)),
        }
    }
}

/// Whether a request that is not answered is as it was: the class of a device is told in a field of any name.
fn leaves_requests_alone(route: &SiteRoute) -> bool {
    route.route.devices.as_ref().is_none_or(|devices| !devices.send)
}

/// Whether a field asks for nothing that takes more than looking. What belongs to a connection does not come by HTTP/2.
fn is_harmless(name: &HeaderName) -> bool {
    !matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::EXPECT
            | header::RANGE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    )
}
