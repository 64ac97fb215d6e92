//! How commands talk to a running larder: HTTP/1.1 to its control API.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::control::token::{self, TokenError};

/// Longest wait for an answer; the API's own deadline is shorter.
const DEADLINE: Duration = Duration::from_secs(35);
/// Bytes of an answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a command did not do what it was asked to. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It was refused or went wrong.
    #[error("{0}")]
    Failed(String),
    /// Who read the output has seen enough of it, such as `head`.
    #[error("nobody reads the output")]
    Unread,
}

impl CommandError {
    /// The process' exit code: 1 when something failed, 2 when the command line is wrong. (Success is 0, and so is an
    /// output that nobody reads to its end.)
    pub const fn exit_code(&self) -> u8 {
        match self {
            CommandError::Unread => 0,
            CommandError::Failed(_) => 1,
            CommandError::Usage(_) => 2,
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => CommandError::Unread,
            _ => CommandError::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Where a service keeps the token that it has generated, whose environment names that directory.
pub const SERVICE_TOKEN_FILE: &str = "/var/lib/larder/control-token";

/// The token given, else the one in the control API's token file, else the one of a service ([`SERVICE_TOKEN_FILE`]).
///
/// # Errors
/// There is none.
pub fn resolve_token(
    given: Option<String>,
    token_file: &Path,
    of_service: impl AsRef<Path>,
) -> Result<String, CommandError> {
    if let Some(token) = given {
        return Ok(token);
    }
    let is_missing =
        |error: &TokenError| matches!(error, TokenError::Read { source, .. } if source.kind() == ErrorKind::NotFound);
    let found = match token::read(token_file) {
        // Where the service has none either, the first file is the one to tell of.
        Err(missing) if is_missing(&missing) => {
            token::read(of_service.as_ref()).map_err(|error| if is_missing(&error) { missing } else { error })
        }
        found => found,
    };
    found.map_err(|error| match error {
        TokenError::Read { source, path } => CommandError::Failed(format!(
            "no control token: LARDER_CONTROL_TOKEN is not set and {} cannot be read ({source}); {}",
            path.display(),
            token_advice(source.kind())
        )),
        other => CommandError::Failed(other.to_string()),
    })
}

/// What to do about a token file that cannot be read.
const fn token_advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "only the user who runs larder may: be that user, or set LARDER_CONTROL_TOKEN",
        _ => {
            "a larder of another user or of a service keeps it elsewhere: its log says where; name its configuration \
             by --config FILE, or set LARDER_CONTROL_TOKEN"
        }
    }
}

/// A way to one control API.
pub struct ControlClient {
    address: String,
    origin: String,
    authorization: HeaderValue,
}

impl ControlClient {
    /// For the API at `address` (`host:port`), which is `origin`'s word, e.g. `the default`.
    ///
    /// # Errors
    /// The token holds bytes that cannot be sent.
    pub fn new(address: &str, origin: impl Into<String>, token: &str) -> Result<Self, CommandError> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| CommandError::Usage("the control token holds control characters".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(ControlClient { address: reachable(address), origin: origin.into(), authorization })
    }

    /// Asks for a resource.
    ///
    /// # Errors
    /// The API cannot be reached, or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, CommandError> {
        self.ask(Method::GET, path, None).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// The API cannot be reached, or refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        self.ask(Method::POST, path, Some(body.to_string())).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, CommandError> {
        let late = match method {
            Method::GET => "did not answer in time",
            _ => "did not answer in time; what was asked for may still be done",
        };
        let answer = tokio::time::timeout(DEADLINE, self.exchange(method, path, body)).await;
        answer.unwrap_or_else(|_| Err(self.failed(late)))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, CommandError> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| self.unreached(&error))?;
        let broken = |error: hyper::Error| self.failed(&format!("did not answer as expected: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the sender; its errors reach us through the response.
        tokio::spawn(connection);

        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, &self.authorization);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| CommandError::Usage(format!("{}: {error}", self.address)))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| self.failed(&format!("broke off its answer: {error}")))?
            .to_bytes();
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            Some(problem) if problem["detail"].is_string() => {
                let detail = problem["detail"].as_str().unwrap_or_default();
                let (partly, advice) = (partly(&problem), advice(status, &problem));
                Err(CommandError::Failed(format!("larder refused: {detail}{partly}{advice}")))
            }
            _ => Err(self.failed(&format!("answered {status}, which is no answer of a control API"))),
        }
    }

    fn unreached(&self, error: &std::io::Error) -> CommandError {
        let ControlClient { address, origin, .. } = self;
        CommandError::Failed(format!(
            "cannot reach larder at {address} ({origin}): {error}; is it running? Its log says `control API on …`; name \
             that by --control ADDR:PORT or LARDER_CONTROL, or its configuration by --config FILE"
        ))
    }

    fn failed(&self, what: &str) -> CommandError {
        CommandError::Failed(format!("larder at {} {what}", self.address))
    }
}

/// What to do about a refusal, where that is the caller's to do.
fn advice(status: StatusCode, problem: &Value) -> String {
    match (status, problem["scope"].as_str()) {
        (StatusCode::UNAUTHORIZED, _) => "; give one that the running larder knows: by LARDER_CONTROL_TOKEN, from its \
                                          token file, or from its configuration by --config FILE"
            .to_owned(),
        (StatusCode::FORBIDDEN, Some(scope)) => format!(
            "; give one that has it (LARDER_CONTROL_TOKEN), or add \"{scope}\" to its `scopes` in [[control.tokens]]"
        ),
        _ => String::new(),
    }
}

/// What was done of a request that was refused for some of its targets.
fn partly(problem: &Value) -> String {
    let targets = problem["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let purged: u64 = targets.iter().filter_map(|target| target["purged"].as_u64()).sum();
    let failed = targets.iter().filter(|target| target["error"].is_string()).count();
    match targets.len() {
        0 | 1 => String::new(),
        asked => format!(" ({failed} of {asked} targets failed; {purged} stored responses purged for the others)"),
    }
}

/// An API that listens on every address is reached by loopback.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(listening) if listening.ip().is_unspecified() => {
            let loopback: IpAddr =
                if listening.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(loopback, listening.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::settings::Scope;
    use crate::control::tests::{scoped, start};

    #[test]
    fn listening_everywhere_is_reached_by_loopback() {
        let table = [
            ("0.0.0.0:9091", "127.0.0.1:9091"),
            ("[::]:9091", "[::1]:9091"),
            ("127.0.0.1:9091", "127.0.0.1:9091"),
            ("proxy.example:9091", "proxy.example:9091"),
        ];
        for (address, expected) in table {
            assert_eq!(reachable(address), expected);
        }
    }

    #[test]
    fn token_given_wins_and_a_missing_one_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let service = dir.path().join("service");
        assert_eq!(resolve_token(Some("given".to_owned()), &path, &service).unwrap(), "given");
        let error = resolve_token(None, &path, &service).unwrap_err();
        assert!(error.to_string().contains("LARDER_CONTROL_TOKEN is not set"), "{error}");
        assert!(error.to_string().contains("by --config FILE, or set LARDER_CONTROL_TOKEN"), "{error}");
        assert!(token_advice(ErrorKind::PermissionDenied).contains("the user who runs larder"));
        std::fs::write(&service, "of-the-service\n").unwrap();
        assert_eq!(resolve_token(None, &path, &service).unwrap(), "of-the-service");
        std::fs::write(&path, "from-file\n").unwrap();
        assert_eq!(resolve_token(None, &path, &service).unwrap(), "from-file");
    }

    #[tokio::test]
    async fn failures_are_one_line_and_exit_code_1() {
        let running = start().await;
        let wrong = ControlClient::new(&running.control, "given", "wrong").unwrap();
        let refused = wrong.get("/v1/stats").await.unwrap_err();
        let told = refused.to_string();
        assert!(told.starts_with("larder refused: this is no token of the control API; give one"), "{told}");
        assert!(told.contains("LARDER_CONTROL_TOKEN") && told.contains("--config FILE"), "{told}");

        let reader = ControlClient::new(&running.control, "given", &scoped(Scope::Read)).unwrap();
        let lacking = reader.post("/v1/purge", &serde_json::json!({ "all": true })).await.unwrap_err();
        assert_eq!(
            lacking.to_string(),
            "larder refused: the token `read` lacks the scope `purge`, which this needs; give one that has it \
             (LARDER_CONTROL_TOKEN), or add \"purge\" to its `scopes` in [[control.tokens]]"
        );

        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let unreachable =
            ControlClient::new(&closed, "the default", "any").unwrap().get("/v1/stats").await.unwrap_err();
        assert!(
            unreachable.to_string().starts_with(&format!("cannot reach larder at {closed} (the default): ")),
            "{unreachable}"
        );

        let other = ControlClient::new(&running.metrics, "given", "any").unwrap().get("/healthz").await.unwrap_err();
        assert!(other.to_string().contains("no answer of a control API"), "{other}");
        for error in [refused, lacking, unreachable, other] {
            assert_eq!((error.exit_code(), error.to_string().lines().count()), (1, 1));
        }
        let unsendable = ControlClient::new(&running.control, "given", "a\nb").err().unwrap();
        assert_eq!(unsendable.exit_code(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_in_time_may_still_be_done() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = ControlClient::new(&silent.local_addr().unwrap().to_string(), "given", "any").unwrap();
        let told = client.post("/v1/purge", &serde_json::json!({ "all": true })).await.unwrap_err().to_string();
        assert!(told.ends_with("did not answer in time; what was asked for may still be done"), "{told}");
        let told = client.get("/v1/stats").await.unwrap_err().to_string();
        assert!(told.ends_with("did not answer in time"), "{told}");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}").await.unwrap();
        });
        let error = ControlClient::new(&address, "given", "any").unwrap().get("/v1/stats").await.unwrap_err();
        assert!(error.to_string().contains("broke off its answer"), "{error}");
        serving.await.unwrap();
    }
}
