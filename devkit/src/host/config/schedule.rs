//! When a timer function is due: NCRONTAB as Azure Functions reads it, or a constant interval.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use regex_lite::Regex;

use super::settings::{Settings, expand};

/// A moment in UTC, which is the time zone of the host unless `WEBSITE_TIME_ZONE` says otherwise.
pub(crate) type Time = DateTime<Utc>;

#[derive(Debug)]
pub(crate) enum Schedule {
    Cron(Box<Cron>),
    Constant(Duration),
}

impl Schedule {
    /// Parses an expression, or one that a setting holds, named as `%NAME%`.
    pub(super) fn parse(text: &str, settings: &Settings) -> Result<Self, String> {
        let expanded = expand(text, settings);
        let expanded = expanded.trim();
        if expanded.contains('%') {
            return Err(format!("'{text}' does not resolve to a value."));
        }
        let constant = || time_span(expanded).filter(|interval| !interval.is_zero()).map(Self::Constant);
        cron(expanded).map(|cron| Self::Cron(Box::new(cron))).or_else(constant).ok_or_else(|| {
            format!(
                "The schedule expression '{expanded}' was not recognized as a valid cron expression or timespan string."
            )
        })
    }

    /// The first occurrence after a moment. A cron expression such as the 30th of February has none.
    pub(crate) fn after(&self, moment: Time) -> Option<Time> {
        match self {
            Self::Cron(cron) => cron.find_next_occurrence(&moment, false).ok(),
            Self::Constant(interval) => moment.checked_add_signed(chrono::TimeDelta::from_std(*interval).ok()?),
        }
    }

    pub(crate) fn occurrences_after(&self, moment: Time) -> impl Iterator<Item = Time> {
        std::iter::successors(self.after(moment), |last| self.after(*last))
    }

    pub(crate) const fn adjusts_for_dst(&self) -> bool {
        matches!(self, Self::Cron(_))
    }
}

/// As the host prints it.
impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => write!(formatter, "Cron: '{}'", cron.as_str()),
            Self::Constant(interval) => {
                let seconds = interval.as_secs();
                let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                write!(formatter, "Constant: {hours:02}:{minutes:02}:{seconds:02}")
            }
        }
    }
}

/// Five fields, or six with the seconds first. NCRONTAB has none of the newer signs, and requires both the day of the
/// month and the day of the week to match.
fn cron(text: &str) -> Option<Cron> {
    let item = r"(?:\*|[a-z]{3}|[0-9]+)";
    if !Regex::new(&format!(r"(?i)^(?:\s*{item}(?:[-,/]{item})*)+$")).ok()?.is_match(text) {
        return None;
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed);
    parser.dom_and_dow(true).sloppy_ranges(true).build().parse(text).ok()
}

/// A .NET `TimeSpan`: `[d.]hh:mm[:ss[.fff]]`, or a bare number of days.
pub(super) fn time_span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if !days.contains(':') => (days.parse().ok()?, clock),
        _ if !text.contains(':') => (text.parse().ok()?, "0:0"),
        _ => (0_u64, text),
    };
    let mut parts = clock.split(':');
    let hours: u64 = parts.next()?.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = parts.next()?.parse().ok().filter(|minutes| *minutes < 60)?;
    let seconds: f64 = parts.next().unwrap_or("0").parse().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60);
    parts.next().is_none().then(|| whole + Duration::from_secs_f64(seconds))
}

/// A moment as .NET writes one of a known zone.
pub(crate) fn dotnet_time(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn parsed(text: &str) -> Result<Schedule, String> {
        Schedule::parse(text, &[("HOURLY".to_owned(), "0 17 * * * *".to_owned())].into())
    }

    #[test]
    fn occurrences_are_those_of_ncrontab() {
        for (text, expected) in [
            ("0 17 * * * *", "2026-08-20T13:17:00Z"),
            ("17 * * * *", "2026-08-20T13:17:00Z"),
            ("%HOURLY%", "2026-08-20T13:17:00Z"),
            ("*/10 * * * * *", "2026-08-20T12:35:00Z"),
            ("5/20 * * * * *", "2026-08-20T12:35:05Z"),
            ("0 30 9 * jan mon-FRI", "2027-01-01T09:30:00Z"),
            // The 13th that is a Friday, not every 13th and every Friday.
            ("0 0 0 13 * 5", "2026-11-13T00:00:00Z"),
            ("0 0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("01:00:00", "2026-08-20T13:34:56Z"),
        ] {
            assert_eq!(parsed(text).unwrap().after(at("2026-08-20T12:34:56Z")), Some(at(expected)), "{text}");
        }
        assert_eq!(parsed("0 0 0 30 2 *").unwrap().after(at("2026-08-20T12:34:56Z")), None);
    }

    #[test]
    fn an_occurrence_does_not_follow_itself() {
        let hourly = parsed("0 17 * * * *").unwrap();
        let next: Vec<_> = hourly.occurrences_after(at("2026-08-20T12:17:00Z")).take(2).collect();
        assert_eq!(next, [at("2026-08-20T13:17:00Z"), at("2026-08-20T14:17:00Z")]);
    }

    #[test]
    fn what_ncrontab_does_not_support_is_rejected() {
        let texts = "|* * *|@daily|0 0 L * *|0 0 15W * *|0 0 * * 5#2|0 0 ? * *|/5 * * * *|61 * * * *\
            |0 0 0 1 1 * 2030|00:00:00|5m|0 0 0 0 * *";
        for text in texts.split('|') {
            assert!(parsed(text).is_err_and(|reason| reason.contains("was not recognized")), "{text}");
        }
        assert_eq!(parsed("%NOPE%").unwrap_err(), "'%NOPE%' does not resolve to a value.");
    }

    #[test]
    fn schedules_are_printed_as_the_host_does() {
        assert_eq!(parsed("%HOURLY%").unwrap().to_string(), "Cron: '0 17 * * * *'");
        assert_eq!(parsed("1:30").unwrap().to_string(), "Constant: 01:30:00");
    }

    #[test]
    fn time_spans_are_those_of_dotnet() {
        for (text, seconds) in [("00:05:00", 300.0), ("1.00:00:01", 86401.0), ("0:0:0.25", 0.25), ("2", 172_800.0)] {
            assert_eq!(time_span(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "5m", "25:00:00", "00:60:00", "1:2:3:4", "00:00:-1"] {
            assert_eq!(time_span(text), None, "{text}");
        }
    }
}
