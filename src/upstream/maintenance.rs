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
        let stand_in = page.body.clone().map(Bytes::from);
        let body = match page.file.as_ref().map(|file| (file, std::fs::read(file))) {
            None => stand_in.unwrap_or_default(),
            Some((_, Ok(content))) => content.into(),
            Some((file, Err(source))) => {
                let upstream = settings.name.clone();
                let error = PoolError::MaintenanceFile { upstream, file: file.clone(), source };
                let Some(body) = stand_in else { return Err(error) };
                tracing::warn!("{error}; `body` stands in");
                body
            }
        };
        Ok(Some(MaintenancePage {
            status: page.status,
            body,
            content_type: page.content_type.clone(),
            retry_after: page.retry_after.as_secs(),
        }))
    }
}
