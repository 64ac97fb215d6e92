//! Another program decides who may: asked by a subrequest before anything is looked up, and believed only when it
//! answers 2xx. Silence, faults and everything else refuse.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand::SystemRandom};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use moka::sync::Cache;

use super::admit::Admitted;
use super::body::{Body, Source};
use super::client::Client;
use super::denial::Denial;
use super::front::{forget_claims, identify};
use super::guard::GuardError;
use super::outgoing;
use super::refusal::Refusal;
use crate::config::settings::{self, RouteRetry};
use crate::policy::fields;
use crate::policy::present::Names;
use crate::upstream::{Exchange, Pool, RequestBody, UpstreamBody};

/// Largest body of a refusal that is passed on, in bytes.
const LARGEST_REFUSAL: usize = 64 * 1024;
/// Answers remembered.
const REMEMBERED: u64 = 10_000;

/// Fields of a request that say something about its content, its conditions or its connection: not what is asked.
const NOT_ASKED: [HeaderName; 12] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::EXPECT,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::ACCEPT_ENCODING,
    header::TE,
];

/// The program to ask.
#[derive(Debug)]
pub(super) struct ForwardAuth {
    settings: settings::ForwardAuth,
    pool: Arc<Pool>,
    remembered: Option<Remembered>,
}

/// Permissions given a moment ago, by a keyed digest of who asked for what.
#[derive(Debug)]
struct Remembered {
    key: hmac::Key,
    given: Cache<[u8; 32], Arc<HeaderMap>>,
}

impl ForwardAuth {
    /// Sets up the connections.
    pub(super) fn new(settings: &settings::ForwardAuth) -> Result<Self, GuardError> {
        let remembered = (settings.cache > Duration::ZERO).then(|| {
            let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
            let given = Cache::builder().max_capacity(REMEMBERED).time_to_live(settings.cache).build();
            Some(Remembered { key, given })
        });
        Ok(ForwardAuth {
            pool: Pool::new(settings.server.clone())?,
            settings: settings.clone(),
            remembered: remembered.flatten(),
        })
    }

    /// Asks about a request; what the answer says of its client is added to it.
    pub(super) async fn check(
        &self,
        client: &Client,
        admitted: &Admitted,
        request: &mut Parts,
    ) -> Result<(), Box<Denial>> {
        // What only the answer may say is never believed from the client, not even when the answer is silent.
        forget_claims(&mut request.headers, &self.settings.headers);
        let digest = self.remembered.as_ref().and_then(|remembered| remembered.digest(admitted, request));
        let known = digest.and_then(|digest| self.remembered.as_ref()?.given.get(&digest));
        let learned = match known {
            Some(learned) => learned,
            None => {
                let learned = Arc::new(self.ask(client, admitted, request).await?);
                if let (Some(remembered), Some(digest)) = (&self.remembered, digest) {
                    remembered.given.insert(digest, learned.clone());
                }
                learned
            }
        };
        identify(request, learned.iter());
        Ok(())
    }

    /// The fields that the answer adds, when it is yes.
    async fn ask(&self, client: &Client, admitted: &Admitted, request: &Parts) -> Result<HeaderMap, Box<Denial>> {
        let exchange = Exchange {
            timeouts: self.pool.settings().timeouts,
            on_interim: None,
            hash: None,
            retry: RouteRetry::default(),
        };
        let mut question = self.question(client, admitted, request);
        let response = self.pool.send(&mut question, &exchange).await.map_err(|error| {
            tracing::warn!(%error, "the program that decides who may can't be asked");
            Denial::of(Refusal::AuthUnavailable)
        })?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let mut learned = HeaderMap::new();
        for name in &self.settings.headers {
            for value in response.headers().get_all(name) {
                learned.append(name.clone(), value.clone());
            }
        }
        Ok(learned)
    }

    fn question(&self, client: &Client, admitted: &Admitted, request: &Parts) -> Request<RequestBody> {
        let mut headers = request.headers.clone();
        fields::remove_hop_by_hop(&mut headers, Names::of(&request.headers));
        for name in NOT_ASKED {
            headers.remove(name);
        }
        let host = HeaderValue::from_str(&admitted.authority).ok();
        outgoing::set_forwarded(&mut headers, (&request.headers).into(), admitted, client, host.as_ref());
        for (name, value) in
            [("x-forwarded-method", request.method.as_str()), ("x-forwarded-uri", admitted.target.as_str())]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        let mut question = Request::new(RequestBody::Empty);
        *question.method_mut() = Method::GET;
        *question.uri_mut() = Uri::from(self.settings.target.clone());
        *question.headers_mut() = headers;
        question
    }
}

impl Remembered {
    /// Of the credentials and what they are used for; without credentials every request is asked for.
    fn digest(&self, admitted: &Admitted, request: &Parts) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(&self.key);
        let mut update = |part: &[u8]| {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        };
        let mut credentials = 0;
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in request.headers.get_all(&name) {
                update(name.as_str().as_bytes());
                update(value.as_bytes());
                credentials += 1;
            }
        }
        for part in [request.method.as_str(), admitted.scheme, &admitted.authority, admitted.target.as_str()] {
            update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        (credentials > 0).then_some(digest)
    }
}

/// The program's own no, as the client gets it: a challenge, a redirect to a login, a page.
async fn refused(response: Response<UpstreamBody>) -> Box<Denial> {
    let (parts, body) = response.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_REFUSAL).collect().await else {
        return Denial::of(Refusal::AuthUnavailable);
    };
    // A 1xx or 304 is no answer to give to somebody who asked something else.
    if parts.status.is_informational() || parts.status == http::StatusCode::NOT_MODIFIED {
        return Denial::of(Refusal::AuthUnavailable);
    }
    let mut answer = Response::new(Body::new(Source::Text(body.to_bytes())));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    let headers = answer.headers_mut();
    let names = Names::of(headers);
    fields::remove_hop_by_hop(headers, names);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRAILER);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Denial::answered(Refusal::Unauthorized, answer)
}
