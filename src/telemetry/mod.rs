//! What larder tells about itself: metrics, access log, diagnostic log.

/// Metrics and logs of a process.
#[derive(Debug, Default)]
pub struct Telemetry {}
