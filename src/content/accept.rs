//! Which content coding a client gets: negotiation by Accept-Encoding (RFC 9110 §12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::config::settings::CompressionCoding;
use crate::policy::present::Fields;

/// The offered coding to apply for a client that sent these headers; `None`: send the response uncoded.
///
/// The highest q-value wins, among equals the first offered. Uncoded wins only where the client gives `identity` a
/// strictly higher q-value. A client that refuses both every offered coding and `identity` gets it uncoded too:
/// RFC 9110 §12.5.3 prefers that to an error. Without Accept-Encoding nothing is coded: anything would be allowed,
/// but clients that say nothing are mostly tools that do not decode.
pub fn choose<'a>(fields: impl Into<Fields<'a>>, offered: &[CompressionCoding]) -> Option<CompressionCoding> {
    let fields = fields.into();
    if offered.is_empty() || !fields.has(&ACCEPT_ENCODING) {
        return None;
    }
    let headers = fields.map();
    let mut best: Option<(u16, CompressionCoding)> = None;
    for &candidate in offered {
        let weight = weight_of(headers, candidate.coding.token().as_bytes()).unwrap_or(0);
        if weight > best.map_or(0, |(highest, _)| highest) {
            best = Some((weight, candidate));
        }
    }
    let (weight, coding) = best?;
    // An unlisted identity is acceptable, but the client asked for the others rather.
    let identity = weight_of(headers, b"identity").unwrap_or(0);
    (weight >= identity).then_some(coding)
}

/// Whether a client that sent these headers takes a response that the upstream already coded this way.
///
/// `content_encoding` is the value of Content-Encoding: every coding of the list must be acceptable. Stricter than
/// RFC 9110 §12.5.3 in one point: a client without Accept-Encoding is only handed uncoded responses, since the
/// stored variant was made for another client that asked for it.
pub fn accepts(headers: &HeaderMap, content_encoding: &str) -> bool {
    content_encoding
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
        .all(|coding| weight_of(headers, coding).is_some_and(|weight| weight > 0))
}

/// The q-value, in thousandths, that the client gives this coding by name or else by `*`; `None`: it names neither.
///
/// A coding named twice counts with its lowest q-value: what a client refuses once it never gets.
fn weight_of(headers: &HeaderMap, coding: &[u8]) -> Option<u16> {
    let (mut named, mut any) = (None::<u16>, None::<u16>);
    for (name, weight) in headers.get_all(ACCEPT_ENCODING).iter().flat_map(|value| elements(value.as_bytes())) {
        let slot = if name == b"*" {
            &mut any
        } else if same_coding(name, coding) {
            &mut named
        } else {
            continue;
        };
        *slot = Some(slot.map_or(weight, |lowest| lowest.min(weight)));
    }
    named.or(any)
}

/// The well-formed elements of an Accept-Encoding field value with their q-values; malformed ones are left out.
fn elements(value: &[u8]) -> impl Iterator<Item = (&[u8], u16)> {
    value.split(|&byte| byte == b',').filter_map(|element| {
        let mut parts = element.splitn(2, |&byte| byte == b';');
        let name = parts.next()?.trim_ascii();
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => qvalue(parameter.trim_ascii())?,
        };
        Some((name, weight))
    })
}

/// `q=` and a qvalue (RFC 9110 §12.4.2), in thousandths; `None` for anything else.
fn qvalue(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = parameter else { return None };
    let fraction = match rest {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let thousandths = fraction.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + thousandths;
    (weight <= 1000).then_some(weight)
}

/// Codings compare without regard to case, and `x-gzip` and `x-compress` are other names (RFC 9110 §8.4.1).
fn same_coding(a: &[u8], b: &[u8]) -> bool {
    canonical(a).eq_ignore_ascii_case(canonical(b))
}

fn canonical(coding: &[u8]) -> &[u8] {
    if coding.eq_ignore_ascii_case(b"x-gzip") || coding.eq_ignore_ascii_case(b"x-compress") {
        &coding[2..]
    } else {
        coding
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::Coding::{self, Brotli, Gzip, Zstd};

    fn offered() -> Vec<CompressionCoding> {
        [Zstd, Brotli, Gzip].map(|coding| CompressionCoding { coding, level: 3 }).to_vec()
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT_ENCODING, HeaderValue::from_str(line).expect("test value"))).collect()
    }

    #[test]
    fn accept_encoding_choice_rfc9110_12_5_3() {
        let table: &[(&[&str], Option<Coding>)] = &[
            (&[], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["GZIP"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["compress, gzip"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip", "br"], Some(Brotli)),
            (&["gzip;q=1.0, br;q=0.5"], Some(Gzip)),
            (&["gzip;q=0.501, br;q=0.5"], Some(Gzip)),
            (&["br ; q=0.8 , gzip\t;\tQ=0.9"], Some(Gzip)),
            (&["*"], Some(Zstd)),
            (&["zstd;q=0, *"], Some(Brotli)),
            (&["*;q=0"], None),
            (&["gzip, *;q=0"], Some(Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some(Gzip)),
            (&["gzip;q=0, gzip"], None),
            (&["identity"], None),
            (&["identity;q=0"], None),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0.6, gzip;q=0.5"], None),
            (&["identity, gzip;q=0.5, br"], Some(Brotli)),
            (&["gzip;q=0.5, *;q=0.1"], Some(Gzip)),
            (&["deflate"], None),
            (&["gzip;q=2, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=0.1234, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=1.001, br;q=0.1"], Some(Brotli)),
            (&["gzip;level=9, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=, gzip br, ,;q=1,, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=1."], Some(Gzip)),
        ];
        for (lines, expected) in table {
            let chosen = choose(&headers(lines), &offered()).map(|coding| coding.coding);
            assert_eq!(chosen, *expected, "{lines:?}");
        }
    }

    #[test]
    fn accept_encoding_choice_needs_an_offer() {
        assert_eq!(choose(&headers(&["gzip"]), &[]), None);
    }

    #[test]
    fn accept_encoding_of_coded_responses() {
        let table: &[(&[&str], &str, bool)] = &[
            (&[], "", true),
            (&[], "identity", true),
            (&[], "gzip", false),
            (&["gzip"], "gzip", true),
            (&["gzip"], "x-gzip", true),
            (&["x-gzip"], "gzip", true),
            (&["gzip"], "br", false),
            (&["*"], "br", true),
            (&["*, br;q=0"], "br", false),
            (&["gzip, br"], "gzip, br", true),
            (&["gzip"], "gzip, br", false),
            (&["gzip;q=0"], "gzip", false),
            (&["deflate"], "deflate", true),
        ];
        for (lines, coding, expected) in table {
            assert_eq!(accepts(&headers(lines), coding), *expected, "{lines:?} {coding}");
        }
    }

    proptest! {
        #[test]
        fn accept_encoding_never_panics(value in proptest::collection::vec(0x20u8..=0xff, 0..64), coding in ".{0,16}") {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers: HeaderMap = [(ACCEPT_ENCODING, value)].into_iter().collect();
                choose(&headers, &offered());
                accepts(&headers, &coding);
            }
        }

        #[test]
        fn accept_encoding_refused_is_never_chosen(first in "(gzip|br|zstd)", rest in "(, (gzip|br|zstd|\\*)(;q=0\\.[0-9]{1,3})?){0,4}") {
            let line = format!("{first};q=0{rest}");
            let chosen = choose(&headers(&[&line]), &offered());
            prop_assert!(chosen.is_none_or(|coding| coding.coding.token() != first));
        }
    }
}
