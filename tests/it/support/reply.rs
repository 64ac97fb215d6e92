//! What the scripted upstream answers, as a list of steps.

use tokio_util::sync::CancellationToken;

/// A door that a test opens when it wants an answer to go on. Clones are the same door.
#[derive(Clone, Debug, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Gate::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.cancel();
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        self.0.cancelled().await;
    }
}

/// One step of an answer.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    /// Take in the request's body, where the script was asked before that.
    ReadBody,
}

/// What becomes of the connection afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepOpen,
    Close,
    /// Neither answers nor closes until the other side does.
    Hang,
}

/// An answer: a status and fields, then a body of known length, or pieces in chunks with gates between them.
#[derive(Clone, Debug)]
pub struct Reply {
    before: Vec<Step>,
    first_line: Option<String>,
    fields: Vec<(String, String)>,
    pieces: Vec<Piece>,
    trailers: Vec<(String, String)>,
    /// Whether the body's end is sent.
    ends: bool,
    after: After,
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Wait(Gate),
}

impl Reply {
    /// 200 without a body.
    pub fn ok() -> Self {
        Reply::status("200 OK")
    }

    /// Any status, e.g. `404 Not Found`.
    pub fn status(status: &str) -> Self {
        Reply {
            before: Vec::new(),
            first_line: Some(format!("HTTP/1.1 {status}\r\n")),
            fields: Vec::new(),
            pieces: Vec::new(),
            trailers: Vec::new(),
            ends: true,
            after: After::KeepOpen,
        }
    }

    /// These bytes and nothing else; the connection stays open.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Reply { first_line: None, ..Reply::ok() }.send_before(bytes)
    }

    /// No answer: the connection is closed.
    pub fn close() -> Self {
        Reply { first_line: None, ..Reply::ok() }.then_close()
    }

    /// No answer: the connection stays open until the other side closes it.
    pub fn hang() -> Self {
        Reply { first_line: None, after: After::Hang, ..Reply::ok() }
    }

    /// A further field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The whole body, sent with its Content-Length.
    pub fn body(self, content: impl AsRef<[u8]>) -> Self {
        let length = content.as_ref().len().to_string();
        self.header("content-length", &length).piece(content)
    }

    /// A piece of a body: a chunk, or plain bytes where there is a Content-Length field.
    pub fn piece(mut self, content: impl AsRef<[u8]>) -> Self {
        self.pieces.push(Piece::Bytes(content.as_ref().to_vec()));
        self
    }

    /// Waits, after the pieces so far; with no piece yet, between head and body.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.pieces.push(Piece::Wait(gate.clone()));
        self
    }

    /// A trailer field of a body in chunks.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before the head.
    pub fn after(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Wait(gate.clone()));
        self
    }

    /// Sends bytes before the head, e.g. an interim response.
    pub fn send_before(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.before.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Takes in the request's body before the head, where the script is asked at the request's head.
    pub fn read_body(mut self) -> Self {
        self.before.push(Step::ReadBody);
        self
    }

    /// The connection is closed before the body's end.
    pub fn cut(mut self) -> Self {
        self.ends = false;
        self.then_close()
    }

    /// The connection is closed afterwards.
    pub fn then_close(mut self) -> Self {
        self.after = After::Close;
        self
    }

    /// The steps to take, and what comes after them.
    pub(super) fn steps(self, method: &str) -> (Vec<Step>, After) {
        let mut steps = self.before;
        let Some(mut head) = self.first_line else { return (steps, self.after) };
        let stated = |name: &str| self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let bodiless = ["204", "304", "101"].iter().any(|status| head.contains(&format!(" {status} ")));
        let sized = stated("content-length") || bodiless;
        let mut fields = self.fields.clone();
        if !sized && !stated("transfer-encoding") {
            let framing = match self.pieces.is_empty() {
                true => ("content-length", "0"),
                false => ("transfer-encoding", "chunked"),
            };
            fields.push((framing.0.to_owned(), framing.1.to_owned()));
        }
        let chunked = !sized && (stated("transfer-encoding") || !self.pieces.is_empty());
        head.extend(fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        steps.push(Step::Send(head.into_bytes()));
        if method == "HEAD" {
            return (steps, self.after);
        }
        for piece in self.pieces {
            steps.push(match piece {
                Piece::Wait(gate) => Step::Wait(gate),
                Piece::Bytes(bytes) if !chunked => Step::Send(bytes),
                Piece::Bytes(bytes) => {
                    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), &*bytes, b"\r\n"].concat())
                }
            });
        }
        if chunked && self.ends {
            let trailers: String = self.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            steps.push(Step::Send(format!("0\r\n{trailers}\r\n").into_bytes()));
        }
        (steps, self.after)
    }
}
