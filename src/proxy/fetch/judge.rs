//! Step 8: whether what a fetch brought is stored, and as what.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use smallvec::SmallVec;

use super::super::lookup::Own;
use super::super::part::{self, Brings};
use super::super::received::{announced_length, apply_static_class};
use super::super::site::SiteRoute;
use super::keep::is_personal;
use super::{Arrived, Fetch, Outcome};
use crate::cache::collapse::Lead;
use crate::cache::entry::StoredResponse;
use crate::cache::parts::StoredParts;
use crate::content::static_files;
use crate::policy::fields;
use crate::policy::present::Fields;
use crate::policy::reason::NoStoreReason;
use crate::policy::reuse;
use crate::policy::store::{self, Arrival, Storable};
use crate::policy::time::Times;
use crate::policy::vary::Selection;

impl Fetch {
    /// A full response: judged, then filled or passed on.
    pub(in crate::proxy) fn take(&self, mut arrived: Arrived, lead: Lead) -> Outcome {
        // RFC 9111 §4.3.3: what is stored answers instead, so that the error must not take its place.
        if reuse::is_failure(arrived.response.status()) && self.may_stand_in() {
            return self.pass_on(arrived, NoStoreReason::ErrorStatus, lead);
        }
        let is_static = apply_static_class(&self.site, &self.route, &self.received, &mut arrived.response);
        let names = arrived.names.with(&header::CACHE_CONTROL);
        if arrived.response.status() == StatusCode::PARTIAL_CONTENT {
            return match self.judge_part(&arrived) {
                Ok(part) => {
                    *arrived.response.headers_mut() = part.headers;
                    self.fill(arrived, part.judged, Some((part.brings, part.onto)), None, lead)
                }
                Err(reason) => self.pass_on(arrived, reason, lead),
            };
        }
        let headers = arrived.response.headers();
        let fields = Fields::new(headers, names);
        let judged = self.judge(arrived.response.status(), fields, arrived.times, is_static);
        let fits = || self.fits(announced_length(headers)).and(arrived.is_found_by_tags());
        match judged.and_then(|judged| fits().map(|()| judged)) {
            Ok(judged) => self.fill(arrived, judged, None, None, lead),
            Err(reason) => match self.judge_for_session(reason, &arrived) {
                Ok((judged, own)) => self.fill(arrived, judged, None, Some(own), lead),
                Err(reason) => self.pass_on(arrived, reason, lead),
            },
        }
    }

    /// What is not for all may still be stored for the session that asked.
    fn judge_for_session(&self, reason: NoStoreReason, arrived: &Arrived) -> Result<(Judged, &Own), NoStoreReason> {
        let own = self.wanted.own.as_ref().filter(|_| is_personal(reason)).ok_or(reason)?;
        let (status, headers) = (arrived.response.status(), arrived.response.headers());
        let (method, times) = (&Method::GET, arrived.times);
        let (request, fields) = (&own.facts, headers.into());
        let arrival = Arrival { method, request, status, fields, times, is_static: false, private: true };
        let storable = store::judge(&arrival, &self.route.route.cache)?;
        let selection = selection(headers, &self.received.headers, &self.route)?;
        let length = announced_length(headers);
        self.fits(length)?;
        arrived.is_found_by_tags()?;
        if length.is_some_and(|length| length > own.rules.max_session_bytes) {
            return Err(NoStoreReason::TooLarge);
        }
        Ok(((storable, selection), own))
    }

    fn judge(
        &self,
        status: StatusCode,
        fields: Fields<'_>,
        times: Times,
        is_static: bool,
    ) -> Result<Judged, NoStoreReason> {
        let (method, request) = (&Method::GET, &self.wanted.facts);
        let arrival = Arrival { method, request, status, fields, times, is_static, private: false };
        let storable = store::judge(&arrival, &self.route.route.cache).map_err(|why| self.unmasked(why, &arrival))?;
        let selection = selection(fields.map(), &self.received.headers, &self.route)?;
        Ok((storable, selection))
    }

    /// A 206: what it brings, and the fields and the judgement of the whole that it is a part of (RFC 9111 §3.4).
    pub(super) fn judge_part(&self, arrived: &Arrived) -> Result<JudgedPart, NoStoreReason> {
        let received = arrived.response.headers();
        // Nobody asked for a part: who knows what it is.
        let expected = self.wanted.gap().is_some() || self.received.headers.contains_key(header::RANGE);
        let brings = part::brings(arrived.response.status(), received).filter(|_| expected);
        let brings = brings.ok_or(NoStoreReason::Partial)?;
        arrived.is_found_by_tags()?;
        self.fits(Some(brings.range.end - brings.range.start))?;
        let mut headers = received.clone();
        let mut onto = None;
        if let Some((stored, parts)) = self.gap_filled(arrived) {
            headers = stored.fields.unpack(4);
            fields::update(&mut headers, received);
            onto = Some(parts.clone());
        }
        headers.remove(header::CONTENT_RANGE);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(brings.complete_length));
        let judged = self.judge(StatusCode::OK, (&headers).into(), arrived.times, self.is_static(received))?;
        Ok(JudgedPart { brings, headers, judged, onto })
    }

    fn is_static(&self, headers: &HeaderMap) -> bool {
        let mut head = Response::new(());
        *head.headers_mut() = headers.clone();
        apply_static_class(&self.site, &self.route, &self.received, &mut head)
    }

    /// Whether what announces its length can be stored at all, as far as that tells.
    fn fits(&self, length: Option<u64>) -> Result<(), NoStoreReason> {
        let cache = &self.proxy.cache;
        match length {
            Some(length) if length > self.route.route.cache.max_object => Err(NoStoreReason::TooLarge),
            Some(length) if cache.lower.disk().is_none() && length > cache.memory.room_for_fills() => {
                Err(NoStoreReason::NoRoom)
            }
            _ => Ok(()),
        }
    }

    /// Of what the app says nothing about: whether it only looks like a file.
    fn unmasked(&self, why: NoStoreReason, arrival: &Arrival<'_>) -> NoStoreReason {
        let silent = matches!(why, NoStoreReason::NoFreshness | NoStoreReason::CookieRequest)
            && !arrival.fields.has(&header::CACHE_CONTROL);
        let (classes, uri) = (&self.site.settings.static_classes, &self.received.uri);
        // What is a file may still be kept from others, for a cookie's sake.
        let is_file = || {
            let content_type = arrival.fields.get(&header::CONTENT_TYPE);
            static_files::classify(classes, uri.path(), uri.query(), content_type).is_some()
        };
        let is_disguised =
            silent && self.route.route.static_files && static_files::is_candidate(classes, uri.path()) && !is_file();
        if is_disguised { NoStoreReason::Disguised } else { why }
    }

    /// The stored parts that a 206 is to be combined with, as it brings just what they lack.
    pub(super) fn gap_filled(&self, arrived: &Arrived) -> Option<(&StoredResponse, &StoredParts)> {
        let (gap, stored, parts) = self.wanted.gap()?;
        let headers = arrived.response.headers();
        let brings = part::brings(arrived.response.status(), headers)?;
        part::fills_gap(&brings, headers, gap, stored).then_some((stored, parts))
    }
}

/// What is to be stored, and which requests select it.
pub(super) type Judged = (Storable, Selection);

/// A part that is to be stored.
pub(super) struct JudgedPart {
    pub(super) brings: Brings,
    /// The fields of the whole that it is a part of.
    headers: HeaderMap,
    judged: Judged,
    /// The stored parts that it is combined with.
    onto: Option<StoredParts>,
}

/// Which requests a response will be selected by.
pub(super) fn selection(
    response: &HeaderMap,
    request: &HeaderMap,
    route: &SiteRoute,
) -> Result<Selection, NoStoreReason> {
    let coding = route.route.compression.is_some().then_some(header::ACCEPT_ENCODING);
    let device = route.route.devices.is_some().then_some(header::USER_AGENT);
    let settled: SmallVec<[HeaderName; 2]> = coding.into_iter().chain(device).collect();
    Selection::of(response, request, &settled).ok_or(NoStoreReason::VaryAny)
}
