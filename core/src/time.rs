//! Times as Go's MicroTime writes them.

/// `2026-11-23T05:04:18.056187Z`, with one to six digits of a second or none, as microseconds since 1970.
///
/// None for every other notation and for years before 1970 or after 2199, which auditlens does not believe.
pub fn micros(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z")?;
    let fraction = match text.get(19) {
        None => 0,
        Some(b'.') => fraction(&text[20..])?,
        _ => return None,
    };
    let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?);
    let (hour, minute, second) = (number(text, 11, 2)?, number(text, 14, 2)?, number(text, 17, 2)?);
    let between = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if between.iter().any(|&(at, byte)| text[at] != byte)
        || !(1970..2200).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=length(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    Some((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

fn fraction(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    number(digits, 0, digits.len()).map(|n| n * 10i64.pow(6 - digits.len() as u32))
}

fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    text.get(at..at + digits)?.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + (d - b'0') as i64))
}

fn length(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + leap as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 in the Gregorian calendar, counted from the first of March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - (month <= 2) as i64;
    let month = (month + 9) % 12;
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}
