//! The coded variant of a stored response: made once, when first asked for, while whoever asks already reads it.

use std::future::poll_fn;
use std::sync::Arc;

use crate::cache::body::{BodyReader, Filler, Piece, SharedBody};
use crate::cache::entry::StoredResponse;
use crate::cache::key::CacheKey;
use crate::config::settings::CompressionCoding;
use crate::content::encode::Encoder;

use super::{Asked, Proxy};

/// Most input encoded before other tasks get their turn.
const SLICE: usize = 64 * 1024;

/// The body of a stored response in a coding. `None`: its plain body can't be read any more.
pub(super) fn coded_body(
    asked: &Asked<'_>,
    key: &CacheKey,
    response: &Arc<StoredResponse>,
    coding: CompressionCoding,
) -> Option<SharedBody> {
    if let Some(body) = response.body.coded(coding.coding) {
        return Some(body);
    }
    let reader = response.body.reader()?;
    let begin = || {
        let (body, filler) = SharedBody::growing();
        tokio::spawn(encode(asked.proxy.clone(), key.clone(), response.clone(), coding, reader, filler));
        body
    };
    if response.body.is_beyond_memory() {
        // Nor is what is made of it kept: each request has its own, and holds on to its beginning.
        let body = begin();
        *asked.anchor.lock() = body.reader().map(Box::new);
        return Some(body);
    }
    Some(response.body.coded_or_begun(coding.coding, begin))
}

async fn encode(
    proxy: Arc<Proxy>,
    key: CacheKey,
    response: Arc<StoredResponse>,
    coding: CompressionCoding,
    mut reader: BodyReader,
    mut filler: Filler,
) {
    let encoded = encode_all(&response, coding, &mut reader, &mut filler).await;
    match encoded {
        Ok(()) => {
            filler.finish(None);
            // It weighs more now.
            proxy.cache.completed(&key);
        }
        Err(error) => {
            tracing::debug!(key = key.as_str(), error = &*error, "coding cut short");
            response.body.forget_coded(coding.coding);
        }
    }
}

async fn encode_all(
    response: &StoredResponse,
    coding: CompressionCoding,
    reader: &mut BodyReader,
    filler: &mut Filler,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut encoder = Encoder::new(coding);
    let mut passing = false;
    while let Some(piece) = poll_fn(|cx| reader.poll_next(cx)).await {
        let Piece::Data(data) = piece? else { continue };
        for slice in data.chunks(SLICE) {
            encoder.push(slice)?;
            filler.push(encoder.take());
            tokio::task::yield_now().await;
            if !passing && response.body.is_beyond_memory() {
                passing = true;
                filler.stop_keeping();
                response.body.forget_coded(coding.coding);
            }
            if !poll_fn(|cx| filler.poll_room(cx)).await {
                return Err("nobody reads".into());
            }
        }
    }
    encoder.finish()?;
    filler.push(encoder.take());
    Ok(())
}
