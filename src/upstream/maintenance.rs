//! What clients get when no server can be reached.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::error::PoolError;
use crate::config::settings::Upstream;

/// A maintenance page, its file read.
#[derive(Clone, Debug)]
pub struct MaintenancePage {
    /// Its status.
    pub status: StatusCode,
    /// Its content.
    pub body: Bytes,
    /// Its Content-Type.
    pub content_type: HeaderValue,
    /// Its Retry-After, in seconds.
    pub retry_after: u64,
}

impl MaintenancePage {
    /// That of an upstream, if it has one.
    pub(super) fn read(settings: &Upstream) -> Result<Option<Self>, PoolError> {
        let Some(page) = &settings.maintenance else { return Ok(None) };
        let body = match &page.file {
            None => Bytes::from(page.body.clone()),
            Some(file) => std::fs::read(file).map(Bytes::from).map_err(|source| PoolError::MaintenanceFile {
                upstream: settings.name.clone(),
                file: file.clone(),
                source,
            })?,
        };
        Ok(Some(MaintenancePage {
            status: page.status,
            body,
            content_type: page.content_type.clone(),
            retry_after: page.retry_after.as_secs(),
        }))
    }
}
