//! Reads the time at which a limit resets out of the words that announce it.
//!
//! Knows the grammar of DESIGN.md's fixtures (`resets 3:11am (UTC)`, `resets Nov 24, 8:44am (Europe/Moscow)`,
//! `reached|1795317438`, `regain access on 2026-12-01 at 00:00 UTC`) and its near kin. A time without a date that is
//! past means the next day's, a date without a year that is past the next year's; without a zone it is UTC, which is
//! what agents run with.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Zoned};

use super::cursor::Cursor;
use super::squeeze::{Squeezed, squeezed};
use crate::Timestamp;
use crate::agent_output::from_epoch;

/// When a limit resets, and how the text said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// Words that announce a reset; a moment must follow.
const ANNOUNCEMENTS: &[&str] = &[
    "resets",
    "reset at",
    "reset on",
    "reset in",
    "reset:",
    "limit reached|",
    "regain access",
    "try again at",
    "try again after",
    "available again",
    "will be available",
];

/// Minutes are printed cut off, so a time this little past is now.
const PAST_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Finds the first reset that `message` announces.
pub(super) fn find(message: &Squeezed, now: Timestamp) -> Option<Reset> {
    let text = message.as_str();
    let mut starts: Vec<usize> = ANNOUNCEMENTS
        .iter()
        .map(|words| squeezed(words))
        .flat_map(|words| text.match_indices(&words).map(|(at, found)| at + found.len()).collect::<Vec<_>>())
        .collect();
    starts.sort_unstable();
    starts.into_iter().find_map(|start| {
        let mut cursor = Cursor::new(text, start);
        while cursor.eat_any(&["at", "on", "in", ":", "\"", "'", "about", "~"]) {}
        let begin = cursor.position();
        let at = moment(&mut cursor, now)?;
        Some(Reset { at, text: message.source_of(begin, cursor.position()) })
    })
}

fn moment(cursor: &mut Cursor<'_>, now: Timestamp) -> Option<Timestamp> {
    cursor
        .attempt(epoch)
        .or_else(|| cursor.attempt(|cursor| full_date(cursor)))
        .or_else(|| cursor.attempt(duration).and_then(|wait| shifted(now, wait)))
        .or_else(|| cursor.attempt(|cursor| calendar(cursor, now)))
}

fn epoch(cursor: &mut Cursor<'_>) -> Option<Timestamp> {
    let (number, digits) = cursor.number(14)?;
    (digits == 10 || digits == 13).then(|| from_epoch(number))
}

/// `2026-12-01`, with a time and a zone or without.
fn full_date(cursor: &mut Cursor<'_>) -> Option<Timestamp> {
    let (year, digits) = cursor.number(4)?;
    if digits != 4 || !cursor.eat("-") {
        return None;
    }
    let (month, _) = cursor.number(2)?;
    if !cursor.eat("-") {
        return None;
    }
    let (day, _) = cursor.number(2)?;
    let date =
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let time = cursor
        .attempt(|cursor| {
            cursor.eat_any(&["t", "at", ","]);
            clock(cursor)
        })
        .unwrap_or(Time::midnight());
    instant(&date.to_datetime(time).to_zoned(zone(cursor)).ok()?)
}

/// `2h15m`, `45 minutes`, `3 days`.
fn duration(cursor: &mut Cursor<'_>) -> Option<SignedDuration> {
    const UNITS: &[(&[&str], i64)] = &[
        (&["days", "day", "d"], 86_400),
        (&["hours", "hour", "hrs", "hr", "h"], 3_600),
        (&["minutes", "minute", "mins", "min", "m"], 60),
        (&["seconds", "second", "secs", "sec", "s"], 1),
    ];
    let mut seconds: Option<i64> = None;
    while let Some(part) = cursor.attempt(|cursor| {
        let (number, _) = cursor.number(6)?;
        let (_, unit) = UNITS.iter().find(|(names, _)| cursor.eat_any(names))?;
        Some(number * unit)
    }) {
        seconds = Some(seconds.unwrap_or(0) + part);
        cursor.eat_any(&["and", ","]);
    }
    seconds.map(SignedDuration::from_secs)
}

/// `3:11am (UTC)`, `Nov 24, 8:44am (UTC)`, `tomorrow at 9am`, `Monday 15:00`.
fn calendar(cursor: &mut Cursor<'_>, now: Timestamp) -> Option<Timestamp> {
    enum Day {
        Next,
        Ahead(i64),
        Weekday(i8),
        Date { month: i8, day: i8, year: Option<i16> },
    }
    let dated = |cursor: &mut Cursor<'_>, day_digits: usize| -> Option<(Day, Time)> {
        let (month, day) = month_and_day(cursor, day_digits)?;
        cursor.eat_any(&[",", "at"]);
        let year = cursor.attempt(|cursor| {
            let (year, digits) = cursor.number(4)?;
            (digits == 4 && (2000..2200).contains(&year) && !cursor.at(":")).then_some(year)
        });
        while cursor.eat_any(&[",", "at"]) {}
        let time = clock(cursor);
        // `nov24pm` is the second at 4 pm, not the 24th: what is left must not look like the rest of a time.
        if time.is_none() && (cursor.at("am") || cursor.at("pm") || cursor.at(":")) {
            return None;
        }
        let year = year.and_then(|year| i16::try_from(year).ok());
        Some((Day::Date { month, day, year }, time.unwrap_or(Time::midnight())))
    };
    let (day, time) = if let Some(found) = cursor.attempt(|cursor| dated(cursor, 2)) {
        found
    } else if let Some(found) = cursor.attempt(|cursor| dated(cursor, 1)) {
        found
    } else {
        let day = if let Some(weekday) = cursor.attempt(weekday) {
            Day::Weekday(weekday)
        } else if cursor.eat("tomorrow") {
            Day::Ahead(1)
        } else if cursor.eat("today") {
            Day::Ahead(0)
        } else {
            Day::Next
        };
        while cursor.eat_any(&[",", "at"]) {}
        match (&day, clock(cursor)) {
            (_, Some(time)) => (day, time),
            (Day::Weekday(_) | Day::Ahead(1), None) => (day, Time::midnight()),
            (_, None) => return None,
        }
    };
    let zone = zone(cursor);
    let here = jiff::Timestamp::from_millisecond(now.as_ms()).ok()?.to_zoned(zone.clone());
    let earliest = here.checked_sub(PAST_GRACE).ok()?;
    let resolve = |datetime: DateTime| datetime.to_zoned(zone.clone()).ok();
    let found = match day {
        Day::Next => {
            let today = resolve(here.date().to_datetime(time))?;
            if today >= earliest { today } else { resolve(here.date().tomorrow().ok()?.to_datetime(time))? }
        }
        Day::Ahead(days) => resolve(here.date().checked_add(Span::new().days(days)).ok()?.to_datetime(time))?,
        Day::Weekday(weekday) => {
            let ahead = (weekday - here.weekday().to_sunday_zero_offset()).rem_euclid(7);
            let this = resolve(here.date().checked_add(Span::new().days(ahead)).ok()?.to_datetime(time))?;
            if this >= earliest { this } else { this.checked_add(Span::new().weeks(1)).ok()? }
        }
        Day::Date { month, day, year: Some(year) } => {
            resolve(Date::new(year, month, day).ok()?.to_datetime(time))?
        }
        // Up to eight years ahead: the 29th of February is not in every one.
        Day::Date { month, day, year: None } => (here.year()..here.year() + 9)
            .filter_map(|year| resolve(Date::new(year, month, day).ok()?.to_datetime(time)))
            .find(|at| *at >= earliest)?,
    };
    instant(&found)
}

/// `Nov 24`, `24 November`, `March 9th`.
fn month_and_day(cursor: &mut Cursor<'_>, day_digits: usize) -> Option<(i8, i8)> {
    let ordinal = |cursor: &mut Cursor<'_>| -> Option<i8> {
        let (day, _) = cursor.number_upto(day_digits)?;
        cursor.eat_any(&["st", "nd", "rd", "th"]);
        i8::try_from(day).ok().filter(|day| (1..=31).contains(day))
    };
    cursor
        .attempt(|cursor| {
            let month = month(cursor)?;
            cursor.eat(".");
            Some((month, ordinal(cursor)?))
        })
        .or_else(|| {
            cursor.attempt(|cursor| {
                let day = ordinal(cursor)?;
                Some((month(cursor)?, day))
            })
        })
}

fn month(cursor: &mut Cursor<'_>) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    name_of(cursor, &MONTHS).map(|index| index + 1)
}

fn weekday(cursor: &mut Cursor<'_>) -> Option<i8> {
    name_of(cursor, &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"])
}

/// A name in full or as its first three letters.
fn name_of(cursor: &mut Cursor<'_>, names: &[&str]) -> Option<i8> {
    let index = names.iter().position(|name| cursor.eat(name) || cursor.eat(&name[..3]))?;
    i8::try_from(index).ok()
}

/// `3am`, `3:11 p.m.`, `15:04`, `15:04:05`, `noon`, `midnight`.
fn clock(cursor: &mut Cursor<'_>) -> Option<Time> {
    if cursor.eat("midnight") {
        return Some(Time::midnight());
    }
    if cursor.eat("noon") {
        return Time::new(12, 0, 0, 0).ok();
    }
    cursor.attempt(|cursor| {
        let (hour, _) = cursor.number(2)?;
        let minute = if cursor.eat(":") { Some(cursor.number_upto(2)?.0) } else { None };
        let second = if minute.is_some() && cursor.eat(":") { cursor.number_upto(2)?.0 } else { 0 };
        cursor.attempt(|cursor| if cursor.eat(".") { cursor.number(9) } else { None });
        let half = [("am", 0), ("a.m.", 0), ("pm", 12), ("p.m.", 12)];
        let hour = match half.into_iter().find(|(word, _)| cursor.eat(word)) {
            Some((_, shift)) if (1..=12).contains(&hour) => hour % 12 + shift,
            None if minute.is_some() => hour,
            Some(_) | None => return None,
        };
        let part = |number: i64| i8::try_from(number).ok();
        Time::new(part(hour)?, part(minute.unwrap_or(0))?, part(second)?, 0).ok()
    })
}

/// `(Europe/Moscow)`, `(UTC)`, `UTC+3`, `Z`, `-05:00`, `PST`; UTC when there is none or nobody knows it.
fn zone(cursor: &mut Cursor<'_>) -> TimeZone {
    let named = cursor.attempt(|cursor| {
        if !cursor.eat("(") {
            return None;
        }
        let name = cursor.until(")", 64)?;
        cursor.eat(")");
        Some(zone_named(name).unwrap_or(TimeZone::UTC))
    });
    named
        .or_else(|| {
            cursor.attempt(|cursor| {
                let name = cursor.while_any(|c| c.is_ascii_alphanumeric() || "+-:/_".contains(c), 64)?;
                zone_named(name.trim_end_matches([':', '-', '/']))
            })
        })
        .unwrap_or(TimeZone::UTC)
}

fn zone_named(name: &str) -> Option<TimeZone> {
    /// Abbreviations that people print; each with a place that uses it.
    const ABBREVIATIONS: &[(&str, &str)] = &[
        ("z", "UTC"),
        ("et", "America/New_York"),
        ("est", "America/New_York"),
        ("edt", "America/New_York"),
        ("ct", "America/Chicago"),
        ("cst", "America/Chicago"),
        ("cdt", "America/Chicago"),
        ("mst", "America/Denver"),
        ("mdt", "America/Denver"),
        ("pt", "America/Los_Angeles"),
        ("pst", "America/Los_Angeles"),
        ("pdt", "America/Los_Angeles"),
        ("bst", "Europe/London"),
        ("cet", "Europe/Berlin"),
        ("cest", "Europe/Berlin"),
        ("eet", "Europe/Helsinki"),
        ("eest", "Europe/Helsinki"),
        ("msk", "Europe/Moscow"),
        ("ist", "Asia/Kolkata"),
        ("jst", "Asia/Tokyo"),
        ("kst", "Asia/Seoul"),
        ("aest", "Australia/Sydney"),
        ("aedt", "Australia/Sydney"),
    ];
    if let Some((_, place)) = ABBREVIATIONS.iter().find(|(short, _)| *short == name) {
        return TimeZone::get(place).ok();
    }
    offset(name.trim_start_matches("utc").trim_start_matches("gmt")).or_else(|| TimeZone::get(name).ok())
}

/// `+3`, `-05:00`, `+0530`.
fn offset(text: &str) -> Option<TimeZone> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) =
        if digits.len() > 2 { digits.split_at(digits.len() - 2) } else { (digits.as_str(), "0") };
    let seconds = sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60);
    jiff::tz::Offset::from_seconds(seconds).ok().map(jiff::tz::Offset::to_time_zone)
}

fn shifted(now: Timestamp, wait: SignedDuration) -> Option<Timestamp> {
    Some(Timestamp::from_ms(now.as_ms().checked_add(i64::try_from(wait.as_millis()).ok()?)?))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every way to read a moment may fail; this is their common last step"
)]
fn instant(zoned: &Zoned) -> Option<Timestamp> {
    Some(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
}
