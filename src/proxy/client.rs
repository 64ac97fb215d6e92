//! What the request path knows of the connection a request came on.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::front::Front;
use super::interim::InterimHeads;
use super::refusal::Refusal;

/// A client's connection, as the request path sees it.
#[derive(Debug)]
pub struct Client {
    /// The other end.
    pub peer: SocketAddr,
    /// Its address as forwarding fields have it, written once a connection instead of with each request.
    pub(super) address: HeaderValue,
    /// What was said of it in the last request that was forwarded.
    pub(super) forwarded: Mutex<Option<Box<Forwarded>>>,
    /// Our end.
    pub local: SocketAddr,
    /// Whether the client speaks TLS to us.
    pub tls: bool,
    /// Whether bytes go to it over TCP as they are, so that the kernel may send files.
    pub takes_files: bool,
    /// What its listener asks of its requests.
    pub front: Arc<Front>,
    /// The subject of the client's certificate, and the field in which the app is told.
    pub subject: Option<(HeaderName, HeaderValue)>,
    /// Set once by the inspection of HTTP/1 bytes when it meets a head that must be refused. The connection layer
    /// then hands hyper a stand-in request of method [`Client::REFUSED_METHOD`], so that the answer takes its turn
    /// behind those to earlier requests.
    pub refused: OnceLock<Refusal>,
    /// What is to be written ahead of the response to the current HTTP/1.1 request; taken by the connection layer at its
    /// next write. Never any for HTTP/1.0 or HTTP/2 clients.
    pub interim: InterimHeads,
}

/// An element of the field Forwarded, and what it was made of.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) host: HeaderValue,
    pub(super) scheme: &'static str,
    pub(super) element: HeaderValue,
}

impl Client {
    /// The method of the stand-in for a refused head. A client that sends it itself has `refused` unset.
    pub const REFUSED_METHOD: &'static str = "LARDER-REFUSED";

    /// A connection without refusals.
    pub fn new(peer: SocketAddr, local: SocketAddr, tls: bool) -> Self {
        Client {
            peer,
            address: HeaderValue::try_from(peer.ip().to_canonical().to_string()).expect("an address is visible ASCII"),
            forwarded: Mutex::default(),
            local,
            tls,
            takes_files: false,
            front: Arc::default(),
            subject: None,
            refused: OnceLock::new(),
            interim: InterimHeads::default(),
        }
    }
}
