//! Stories of caching through the real proxy: a scripted upstream, a manual clock. Each is told over HTTP/1.1 and over
//! HTTP/2.

mod at_once;
mod client_conditions;
mod clock;
mod collapsing;
mod content_codings;
mod crowds;
mod cuts;
mod differential;
mod file_copies;
mod filling;
mod freshness;
mod invalidation;
mod keys;
mod no_vary_search;
mod outcomes;
mod parts;
mod personal_files;
mod personal_refresh;
mod post;
mod ranges;
mod reasons;
mod request_directives;
mod sessions;
mod stale;
mod static_files;
mod storing;
mod validation;
mod vary;

use larder::policy::dates;
use larder::policy::time::Timestamp;

use crate::support::proxy::{Proxy, START};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// Header fields of a request, as tests write them.
type Fields = &'static [(&'static str, &'static str)];

/// An upstream that answers `/0`, `/1`, … by these replies, and the proxy before it with `cache.rules` as given.
async fn table(rules: &str, replies: Vec<Reply>) -> (Upstream, Proxy) {
    let upstream = Upstream::start(move |request| {
        let row: usize = request.path()[1..].parse().expect("paths are the rows of a table");
        replies[row].clone()
    })
    .await;
    let proxy = Proxy::with_rules(&upstream, rules);
    (upstream, proxy)
}

/// An HTTP-date so many seconds after the moment at which the proxy's clock starts.
fn date(offset: i64) -> String {
    let at = dates::format(Timestamp::from_secs(START.as_secs() + offset));
    at.to_str().expect("a date is ASCII").to_owned()
}

/// 200 with `text` as its body and this Cache-Control.
fn ok(cache_control: &str, text: &str) -> Reply {
    Reply::ok().header("cache-control", cache_control).body(text)
}
