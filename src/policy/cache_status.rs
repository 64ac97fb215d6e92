//! The Cache-Status member that larder adds to every response (RFC 9211).

use std::cell::Cell;

use http::{HeaderValue, StatusCode};

use super::reason::{ForwardReason, NoStoreReason, Outcome, StaleReason, Tier};

thread_local! {
    /// Room for a text, kept from one to the next.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Everything that was decided about a request; the source of Cache-Status, log, metric and explanation alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Served from a stored response.
    pub hit: bool,
    /// Why it was forwarded.
    pub forward: Option<ForwardReason>,
    /// Status of the forwarded request's response, said only where it differs from what the client gets.
    pub forward_status: Option<StatusCode>,
    /// Whether another request's fetch was joined.
    pub collapsed: bool,
    /// Whether the response was stored.
    pub stored: bool,
    /// Why not.
    pub no_store: Option<NoStoreReason>,
    /// Why something stale was served.
    pub stale: Option<StaleReason>,
    /// Remaining freshness in seconds of what was served from the cache or stored.
    pub ttl: Option<i64>,
    /// A word for an answer that larder made itself: a refusal or a failed upstream.
    pub error: Option<&'static str>,
    /// The tier below memory where the stored response was found.
    pub tier: Option<Tier>,
    /// Whether it is stored for one session alone.
    pub private: bool,
    /// Whether it was refused before the cache was asked.
    pub refused: bool,
}

/// The word for what is stored for one session alone.
const PRIVATE: &str = "private";

impl Verdict {
    /// The outcome for log and metrics.
    pub fn outcome(&self) -> Outcome {
        match self.forward {
            _ if self.refused => Outcome::Refused,
            _ if self.stale.is_some() => Outcome::Stale,
            None if self.error.is_some() => Outcome::Failed,
            None if self.hit => Outcome::Hit,
            None => Outcome::Own,
            Some(_) if self.error.is_some() => Outcome::Failed,
            Some(_) if self.forward_status == Some(StatusCode::NOT_MODIFIED) && self.stored => Outcome::Revalidated,
            Some(_) if self.collapsed => Outcome::Collapsed,
            Some(reason) if reason.is_bypass() => Outcome::Bypass,
            Some(_) => Outcome::Miss,
        }
    }

    /// The one word that tells most about why: an error, else why it was stale, else why it was not stored, else why
    /// it was forwarded, else where it was found. `None` for a plain hit.
    pub fn reason(&self) -> Option<&'static str> {
        let why_forwarded = self.forward.map(|reason| reason.word());
        let bypassed = self.forward.is_some_and(|reason| reason.is_bypass());
        self.error
            .or(self.stale.map(|reason| reason.word()))
            .or(if bypassed { why_forwarded } else { None })
            // That storing was never considered says less than why.
            .or(self.no_store.filter(|reason| *reason != NoStoreReason::Bypass).map(|reason| reason.word()))
            .or(self.private.then_some(PRIVATE))
            .or(why_forwarded)
            .or(self.tier.filter(|_| self.hit).map(Tier::word))
    }

    /// The member, e.g. `larder; fwd=stale; fwd-status=304; stored; ttl=60`.
    pub fn render(&self) -> HeaderValue {
        // Copied out, in one piece of its length: the buffer itself would get a second one that counts who shares it.
        let mut text = TEXT.take();
        text.clear();
        self.render_into(&mut text);
        let value = HeaderValue::from_bytes(&text).expect("words and numbers are visible ASCII");
        TEXT.set(text);
        value
    }

    /// The same at the end of a text. Without the formatter: one of its numbers costs what all of this does.
    pub fn render_into(&self, text: &mut Vec<u8>) {
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
        push(&["larder"]);
        if self.hit {
            push(&["; hit"]);
        }
        if let Some(reason) = self.forward.filter(|_| !self.hit) {
            push(&["; fwd=", reason.fwd()]);
        }
        if let Some(status) = self.forward_status.filter(|_| !self.hit) {
            push(&["; fwd-status=", status.as_str()]);
        }
        if let Some(ttl) = self.ttl.filter(|_| self.hit || self.stored || self.stale.is_some()) {
            push(&["; ttl=", itoa::Buffer::new().format(ttl)]);
        }
        if self.stored && !self.hit {
            push(&["; stored"]);
        }
        if self.collapsed {
            push(&["; collapsed"]);
        }
        let said = self.forward.filter(|_| !self.hit).map(ForwardReason::fwd);
        if let Some(word) = self.reason().filter(|word| Some(*word) != said) {
            push(&["; detail=", word]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_as_rfc_9211_writes_them() {
        let verdict = Verdict::default;
        for (verdict, text, outcome) in [
            (verdict(), "larder", Outcome::Own),
            (Verdict { hit: true, ttl: Some(30), ..verdict() }, "larder; hit; ttl=30", Outcome::Hit),
            (
                Verdict { forward: Some(ForwardReason::UriMiss), stored: true, ttl: Some(60), ..verdict() },
                "larder; fwd=uri-miss; ttl=60; stored",
                Outcome::Miss,
            ),
            (
                Verdict {
                    forward: Some(ForwardReason::UriMiss),
                    no_store: Some(NoStoreReason::SetCookie),
                    ..verdict()
                },
                "larder; fwd=uri-miss; detail=set-cookie",
                Outcome::Miss,
            ),
            (
                Verdict {
                    forward: Some(ForwardReason::CookieRequest),
                    no_store: Some(NoStoreReason::Bypass),
                    ..verdict()
                },
                "larder; fwd=bypass; detail=cookie-request",
                Outcome::Bypass,
            ),
            (
                Verdict {
                    forward: Some(ForwardReason::Precondition),
                    no_store: Some(NoStoreReason::Bypass),
                    ..verdict()
                },
                "larder; fwd=request; detail=precondition",
                Outcome::Bypass,
            ),
            (
                Verdict {
                    forward: Some(ForwardReason::Stale),
                    forward_status: Some(StatusCode::NOT_MODIFIED),
                    stored: true,
                    ttl: Some(9),
                    ..verdict()
                },
                "larder; fwd=stale; fwd-status=304; ttl=9; stored",
                Outcome::Revalidated,
            ),
            (
                Verdict { hit: true, tier: Some(Tier::Disk), ttl: Some(3), ..verdict() },
                "larder; hit; ttl=3; detail=disk",
                Outcome::Hit,
            ),
            (
                Verdict { hit: true, stale: Some(StaleReason::IfError), ttl: Some(-3), ..verdict() },
                "larder; hit; ttl=-3; detail=stale-if-error",
                Outcome::Stale,
            ),
            (
                Verdict { forward: Some(ForwardReason::UriMiss), collapsed: true, stored: true, ..verdict() },
                "larder; fwd=uri-miss; stored; collapsed",
                Outcome::Collapsed,
            ),
        ] {
            assert_eq!(verdict.render().to_str().unwrap(), text);
            assert_eq!(verdict.outcome(), outcome, "{text}");
        }
    }

    #[test]
    fn members_are_what_structured_fields_call_one() {
        // RFC 9211 §2: an Item of a List, with parameters of these types.
        use ForwardReason as F;
        use NoStoreReason as N;
        let forwards = [F::UriMiss, F::VaryMiss, F::Stale, F::Partial, F::Method, F::RequestNoCache, F::SessionUnclear];
        for forward in forwards {
            for no_store in [None, Some(N::Private), Some(N::Bypass), Some(N::SessionUnclear)] {
                for (stored, ttl, status) in
                    [(true, Some(-5), None), (false, Some(i64::MAX), Some(StatusCode::NOT_MODIFIED))]
                {
                    let verdict = Verdict {
                        forward: Some(forward),
                        forward_status: status,
                        no_store,
                        stored,
                        ttl,
                        collapsed: stored,
                        ..Verdict::default()
                    };
                    let text = verdict.render();
                    let list = sfv::Parser::new(text.as_bytes()).parse::<sfv::List>().unwrap();
                    let [sfv::ListEntry::Item(item)] = &list[..] else { panic!("{text:?}") };
                    assert_eq!(item.bare_item.as_token().unwrap().as_str(), "larder");
                    let param = |name: &str| item.params.get(name);
                    assert_eq!(param("fwd").unwrap().as_token().unwrap().as_str(), forward.fwd());
                    assert_eq!(param("stored").is_some(), stored);
                    assert_eq!(param("ttl").is_some(), stored);
                    assert_eq!(param("fwd-status").is_some(), status.is_some());
                    assert!(param("detail").is_none_or(|detail| detail.as_token().is_some()));
                }
            }
        }
    }
}
