//! Timestamps as logs write them, in UTC. Written by hand because the libraries at hand format a `SystemTime` and
//! panic on years they do not know; a log line must come out whatever the clock says.

use crate::policy::time::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The text of the second last asked for: lines that are written one after the other mostly share it.
#[derive(Debug, Default)]
pub(super) struct LastSecond {
    of: Option<(Form, i64)>,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rfc3339,
    Clf,
}

impl LastSecond {
    /// `2026-11-21T02:58:53.042Z` (RFC 3339).
    pub(super) fn rfc3339(&mut self, at: Timestamp) -> &[u8] {
        let text = self.text(Form::Rfc3339, at.as_secs());
        let millis = at.as_millis().rem_euclid(1000) as u16;
        if let [.., hundreds, tens, ones, _] = text {
            (*hundreds, *tens, *ones) = (digit(millis / 100), digit(millis / 10), digit(millis));
        }
        text
    }

    /// `21/Nov/2026:02:58:53 +0000`, as the Common Log Format has it.
    pub(super) fn clf(&mut self, at: Timestamp) -> &[u8] {
        self.text(Form::Clf, at.as_secs())
    }

    fn text(&mut self, form: Form, secs: i64) -> &mut [u8] {
        if self.of != Some((form, secs)) {
            self.text = civil(secs).text(form).into_bytes();
            self.of = Some((form, secs));
        }
        &mut self.text
    }
}

/// The last digit of a number.
const fn digit(number: u16) -> u8 {
    b'0' + (number % 10) as u8
}

struct Civil {
    year: i64,
    /// 1..=12.
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Civil {
    fn text(&self, form: Form) -> String {
        let Civil { year, month, day, hour, minute, second } = self;
        match form {
            Form::Rfc3339 => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z"),
            Form::Clf => {
                let month = MONTHS[usize::from(*month) - 1];
                format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
            }
        }
    }
}

/// Date and time of day in the proleptic Gregorian calendar. Days are counted from 0000-03-01, so that the leap day
/// is the last of its year and months follow the 153-days-in-five rhythm.
fn civil(secs: i64) -> Civil {
    let (days, time) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: month as u8,
        day: (day_of_year - (153 * from_march + 2) / 5 + 1) as u8,
        hour: (time / 3600) as u8,
        minute: (time / 60 % 60) as u8,
        second: (time % 60) as u8,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn rfc3339(at: Timestamp) -> String {
        String::from_utf8(LastSecond::default().rfc3339(at).to_vec()).unwrap()
    }

    #[test]
    fn date_agrees_with_humantime() {
        // A prime step over 200 years meets all months, leap days and centuries.
        for secs in (0..6_311_433_600_i64).step_by(1_299_709) {
            let expected = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_secs(secs as u64)).to_string();
            assert_eq!(rfc3339(Timestamp::from_secs(secs)), expected);
        }
    }

    #[test]
    fn date_survives_any_timestamp() {
        let table = [
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (253_402_300_800_000, "10000-01-01T00:00:00.000Z"),
        ];
        for (millis, expected) in table {
            assert_eq!(rfc3339(Timestamp::from_millis(millis)), expected);
        }
        for millis in [i64::MIN, i64::MAX] {
            assert!(rfc3339(Timestamp::from_millis(millis)).ends_with('Z'));
        }
    }

    #[test]
    fn a_second_that_is_kept_gives_way_to_the_next() {
        let (mut last, mut out) = (LastSecond::default(), Vec::new());
        for millis in [59_998, 59_999, 60_000, 59_007] {
            out.extend_from_slice(last.rfc3339(Timestamp::from_millis(millis)));
        }
        let expected = ["00:59.998Z", "00:59.999Z", "01:00.000Z", "00:59.007Z"];
        let expected: String = expected.iter().map(|end| format!("1970-01-01T00:{end}")).collect();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn clf_names_the_month() {
        let at = Timestamp::from_millis(1_795_229_933_042);
        assert_eq!(LastSecond::default().clf(at), b"21/Nov/2026:02:58:53 +0000");
    }
}
