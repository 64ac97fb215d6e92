//! HTTP dates (RFC 9110 §5.6.7) as [`Timestamp`]s.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::time::Timestamp;

/// Parses an HTTP-date in any of its three formats; `None` when it is none of them. Upper and lower case are the same
/// (RFC 9111 §4.2), and a day of the week that is not that of the date means nothing (RFC 9110 §5.6.7: be robust).
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let time = httpdate::parse_http_date(text).ok().or_else(|| {
        let text = in_usual_case(text);
        httpdate::parse_http_date(&text).ok().or_else(|| on_its_weekday(&text))
    })?;
    let millis = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_millis()).ok()?,
    };
    Some(Timestamp::from_millis(millis))
}

/// `sun, 06 NOV 1994 08:49:37 gmt` as dates are mostly written: words begin with a capital, and the zone has no others.
fn in_usual_case(text: &str) -> String {
    let mut begins = true;
    let letter = |letter: char| {
        let usual = if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        begins = !letter.is_ascii_alphabetic();
        usual
    };
    text.chars().map(letter).collect::<String>().replace("Gmt", "GMT")
}

/// The date with another day of the week before it, if it is one then.
fn on_its_weekday(text: &str) -> Option<SystemTime> {
    const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let (given, rest) = text.split_at(text.find(|letter: char| !letter.is_ascii_alphabetic())?);
    let alike = WEEKDAYS.map(|day| if given.len() == 3 { &day[..3] } else { day });
    if !alike.contains(&given) {
        return None;
    }
    alike.iter().find_map(|day| httpdate::parse_http_date(&format!("{day}{rest}")).ok())
}

/// Bytes of a date as HTTP writes it.
pub const LENGTH: usize = 29;

/// The IMF-fixdate of a moment. Moments outside 1970..9999 are brought to the nearest end.
pub fn format(at: Timestamp) -> HeaderValue {
    HeaderValue::from_bytes(&text(at)).expect("an HTTP-date is visible ASCII")
}

/// The same as text. Mostly of the present second, which a thread writes once.
pub fn text(at: Timestamp) -> [u8; LENGTH] {
    const LAST_SECOND_OF_9999: i64 = 253_402_300_799;
    thread_local! {
        static LATEST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [0; LENGTH])) };
    }
    let seconds = at.as_secs().clamp(0, LAST_SECOND_OF_9999) as u64;
    let (of, text) = LATEST.get();
    if of == seconds {
        return text;
    }
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let text = text.as_bytes().try_into().expect("all of them have that length");
    LATEST.set((seconds, text));
    text
}

/// The date in a field: `None` when absent, `Some(None)` when present but no date, or when several differ.
pub fn field(headers: &HeaderMap, name: &HeaderName) -> Option<Option<Timestamp>> {
    of_lines(headers.get_all(name).iter().map(HeaderValue::as_bytes))
}

/// The same of the lines that a field has.
pub fn of_lines<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Option<Timestamp>> {
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return Some(None);
    }
    Some(std::str::from_utf8(first).ok().filter(|text| text.is_ascii()).and_then(parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_all_three_formats_are_the_same_moment() {
        // RFC 9110 §5.6.7 gives these three spellings.
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            // RFC 9111 §4.2: recipients match them without regard to case.
            for text in [text.to_owned(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                assert_eq!(parse(&text), Some(Timestamp::from_secs(784_111_777)), "{text}");
            }
        }
    }

    #[test]
    fn dates_on_a_wrong_day_of_the_week_are_dates() {
        for text in ["Mon, 06 Nov 1994 08:49:37 GMT", "Thursday, 06-Nov-94 08:49:37 GMT", "Fri Nov  6 08:49:37 1994"] {
            for text in [text.to_owned(), text.to_ascii_lowercase()] {
                assert_eq!(parse(&text), Some(Timestamp::from_secs(784_111_777)), "{text}");
            }
        }
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        for text in [
            "0",
            "-1",
            "",
            "never",
            "1994-11-06T08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 +0200",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "sun, 06 nov 1994 08:49:37 utc",
            "sun, 06 nov 1994 08:49:37 \u{fc}",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Day, 06 Nov 1994 08:49:37 GMT",
            "Monday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_survive_a_round_trip() {
        let at = Timestamp::from_secs(1_763_683_200);
        assert_eq!(parse(format(at).to_str().unwrap()), Some(at));
    }

    proptest::proptest! {
        #[test]
        fn dates_of_any_second_come_back(secs in 0i64..=253_402_300_799) {
            let at = Timestamp::from_secs(secs);
            assert_eq!(parse(format(at).to_str().unwrap()), Some(at));
        }

        #[test]
        fn dates_never_panic(text in "([A-Z][a-z]{2,8},? )?[0-9 :,A-Za-z-]{0,32}|\\PC{0,40}") {
            if let Some(at) = parse(&text) {
                assert_eq!(parse(format(at).to_str().unwrap()), Some(at), "{text}");
            }
        }
    }
}
