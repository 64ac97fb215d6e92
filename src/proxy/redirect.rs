//! Routes that answer by a redirect.

use http::{HeaderValue, header};

use super::Asked;
use super::answer::{Answer, own_answer};
use crate::config::settings::Redirect;

/// The answer of a route that redirects.
pub(super) fn answer(asked: &Asked<'_>, redirect: &Redirect) -> Answer {
    let mut answer = own_answer(redirect.status);
    let headers = answer.response.headers_mut();
    headers.remove(header::ALLOW);
    if let Ok(to) = HeaderValue::from_str(&target(asked, &redirect.to)) {
        headers.insert(header::LOCATION, to);
    }
    answer
}

fn target(asked: &Asked<'_>, to: &str) -> String {
    let admitted = &asked.admitted;
    let query = admitted.target.query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = admitted.host();
    let mut target = String::with_capacity(to.len() + admitted.target.as_str().len());
    let values = [admitted.scheme, host, admitted.target.path(), &query];
    let mut rest = to;
    // In one pass: what a client sends is never taken for a place to fill in.
    while let Some(at) = rest.find('{') {
        target.push_str(&rest[..at]);
        rest = &rest[at..];
        match Redirect::PLACES.into_iter().zip(values).find(|(place, _)| rest.starts_with(place)) {
            Some((place, value)) => {
                // `//host` at the beginning would lead to another host.
                let value = if target.is_empty() && place == "{path}" {
                    format!("/{}", value.trim_start_matches('/'))
                } else {
                    value.to_owned()
                };
                target.push_str(&value);
                rest = &rest[place.len()..];
            }
            None => {
                target.push('{');
                rest = &rest[1..];
            }
        }
    }
    target + rest
}
