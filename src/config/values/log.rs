//! Values of the two logs: where the access log goes, what the diagnostic log says.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::config::scalar::{Invalid, Scalar};
use crate::config::settings::LogTarget;

/// A filter of the diagnostic log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct LogFilter(pub(in crate::config) String);

impl Scalar for LogTarget {
    const FORMAT: &'static str = "log-target";
    const WHAT: &'static str = "`stdout`, `off` or a path";

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "off" => Ok(LogTarget::Off),
            "stdout" => Ok(LogTarget::Stdout),
            "" => Err(Invalid::new("the path of the access log is empty")),
            path => Ok(LogTarget::File(PathBuf::from(path))),
        }
    }
}

impl Scalar for LogFilter {
    const FORMAT: &'static str = "log-filter";
    const WHAT: &'static str = "a log level";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let is_filter = EnvFilter::builder().parse(text).is_ok();
        // A word alone that is no level would be a part of the code, of which everything is logged.
        let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
        let is_sound = |word: &str| word.contains(['=', '[']) || is_level(word);
        if is_filter && text.split(',').all(is_sound) {
            return Ok(LogFilter(text.to_owned()));
        }
        Err(Invalid::new(format!("`{text}` is no log level"))
            .help("write `error`, `warn`, `info`, `debug` or `trace`, or e.g. `info,larder::cache=debug`"))
    }
}
