//! The answer for an upstream that can't be reached: its maintenance page where it has one, else a line of text.

use http::{HeaderValue, StatusCode, header};

use super::Asked;
use super::answer::{Answer, failed_answer};
use super::respond;
use crate::policy::reason::ForwardReason;

/// The answer for a failure of that status and word.
pub(super) fn answer(asked: &Asked<'_>, status: StatusCode, word: &'static str, why: ForwardReason) -> Answer {
    let mut answer = failed_answer(status, word, Some(why));
    if let Some(page) = asked.route.pool.maintenance_page(word) {
        answer.response = respond::page(page.status, page.body.clone(), page.content_type.clone());
        answer.response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(page.retry_after));
    }
    answer
}
