//! The diagnostic log: `tracing` events to standard error, with a filter that a reload may change.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

/// How diagnostic lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStyle {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the diagnostic log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in `EnvFilter` syntax.
    #[error("log level: {0}")]
    Filter(#[from] ParseError),
    /// Another subscriber is already set for the process.
    #[error("the diagnostic log is already set up")]
    AlreadySet,
    /// The process' subscriber is gone.
    #[error("the diagnostic log is not set up any more")]
    Gone,
}

/// Changes the filter of a running diagnostic log.
#[derive(Clone, Debug)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    /// Replaces the filter, e.g. `info` or `warn,larder::upstream=debug`.
    ///
    /// # Errors
    /// The filter is malformed; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = EnvFilter::builder().parse(filter)?;
        self.0.reload(filter).map_err(|_| LogError::Gone)
    }
}

/// Sends the events of the whole process to standard error. Once a process.
///
/// # Errors
/// The filter is malformed, or a subscriber is already set.
pub fn init(filter: &str, style: LogStyle) -> Result<LogControl, LogError> {
    let (subscriber, control) = build(filter, style, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok(control)
}

fn build<W>(filter: &str, style: LogStyle, writer: W) -> Result<(impl Subscriber + Send + Sync, LogControl), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse(filter)?);
    let lines = match style {
        LogStyle::Text => fmt::layer().with_ansi(false).with_writer(writer).boxed(),
        LogStyle::Json => fmt::layer().json().with_writer(writer).boxed(),
    };
    Ok((tracing_subscriber::registry().with(filter).with(lines), LogControl(handle)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn captured(filter: &str, style: LogStyle) -> (impl Subscriber + Send + Sync, LogControl, Captured) {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, control) = build(filter, style, move || writer.clone()).unwrap();
        (subscriber, control, captured)
    }

    #[test]
    fn filter_can_be_changed_while_running() {
        let (subscriber, control, captured) = captured("warn", LogStyle::Text);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("quiet");
            assert_eq!(captured.take(), "");
            control.set_filter("info").unwrap();
            tracing::info!(count = 3, "heard");
            let line = captured.take();
            assert!(line.contains("heard") && line.contains("count=3"), "{line}");
            assert!(matches!(control.set_filter("larder=nonsense"), Err(LogError::Filter(_))));
            tracing::info!("still heard");
            assert!(captured.take().contains("still heard"));
        });
    }

    #[test]
    fn json_lines_parse() {
        let (subscriber, _control, captured) = captured("info", LogStyle::Json);
        tracing::subscriber::with_default(subscriber, || tracing::info!(file = "a\"b\n", "read"));
        let line: serde_json::Value = serde_json::from_str(captured.take().trim_end()).unwrap();
        assert_eq!(line["fields"]["message"], "read");
        assert_eq!(line["fields"]["file"], "a\"b\n");
    }

    #[test]
    fn a_malformed_filter_is_refused() {
        assert!(matches!(build("larder=loud", LogStyle::Text, io::sink), Err(LogError::Filter(_))));
    }
}
