//! A browser as far as logging in needs one: it keeps cookies and posts forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::client::{Connection, Response, request};

/// A browser of one user.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// One without cookies, looking at the site at `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        Browser { address, cookies: BTreeMap::new() }
    }

    /// Its value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Asks for a page. Redirects are not followed.
    pub(super) async fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, &[("Accept-Encoding", "gzip")], "").await
    }

    /// Posts a form.
    pub(super) async fn post(&mut self, path: &str, values: &[(&str, &str)]) -> Response {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let pairs: Vec<_> = values.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.ask("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], &pairs.join("&")).await
    }

    async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        let host = self.address.to_string();
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut fields = fields.to_vec();
        fields.push(("Host", &host));
        if !cookies.is_empty() {
            fields.push(("Cookie", &cookies));
        }
        let mut connection = Connection::open(self.address).await;
        connection.send(request(method, path, &fields, body)).await;
        let response = connection.response(method).await;
        self.keep_cookies(&response);
        response
    }

    fn keep_cookies(&mut self, response: &Response) {
        for cookie in response.fields.all("set-cookie") {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            if attributes.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(name.trim());
            } else {
                self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
}

/// The text of a page, decoded if it is coded.
pub(super) fn page_text(response: &Response) -> String {
    use std::io::Read;

    assert!(response.body.whole, "cut");
    let mut text = String::new();
    match response.field("content-encoding") {
        "" => text = response.text(),
        "gzip" => {
            flate2::read::GzDecoder::new(&*response.body.content).read_to_string(&mut text).expect("whole gzip data");
        }
        other => panic!("a coding that was not asked for: {other}"),
    }
    text
}
