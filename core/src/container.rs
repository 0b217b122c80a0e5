//! Container logs: the CRI's, `TIME stdout F text`, where a line tagged P goes on in the next; and docker's, which is JSON, and
//! where a text without a newline goes on.

use std::borrow::Cow;

use crate::columns::{Column, Long, Table, Text};
use crate::json::{Cursor, Odd};
use crate::lines::split;

/// Bytes of a record that was cut into pieces, at most: longer ones are for who holds the limits.
const MAX_JOINED: usize = 1 << 20;

#[derive(PartialEq)]
enum Stream {
    Out,
    Err,
}

struct Line<'a> {
    time: &'a [u8],
    stream: Stream,
    whole: bool,
    text: Cow<'a, [u8]>,
}

/// The records of a chunk of whole lines, if all of it is such records and `split` takes their texts: for each the wrapper's
/// time, where its first line begins, how many lines are before that, and where its text ends; and the texts themselves, a
/// newline behind each.
pub fn unwrap(data: &[u8], prefix: &[u8]) -> Option<[Table; 2]> {
    let read = if data.starts_with(b"{") { docker } else { cri };
    let (mut time, mut start, mut line, mut end) = (Text::default(), Long::default(), Long::default(), Long::default());
    let mut texts: Vec<u8> = Vec::with_capacity(data.len());
    let mut open: Option<(Stream, usize)> = None; // the stream whose record goes on, and where that began in `texts`
    let (mut at, mut lines) = (0, 0);
    while at < data.len() {
        let stop = at + data[at..].iter().position(|&b| b == b'\n')?;
        let one = read(&data[at..stop])?;
        match &open {
            None => {
                time.push(Some(one.time));
                start.push(Some(at as i64));
                line.push(Some(lines));
                open = Some((one.stream, texts.len()));
            }
            Some((stream, begun)) if *stream == one.stream && texts.len() - begun <= MAX_JOINED => {}
            Some(_) => return None,
        }
        texts.extend_from_slice(&one.text);
        if one.whole {
            texts.push(b'\n');
            end.push(Some(texts.len() as i64));
            open = None;
        }
        (at, lines) = (stop + 1, lines + 1);
    }
    let rows = end.values.len();
    let mut ends = vec![0; rows];
    if open.is_some() || split(&texts, prefix, &mut ends) != Some(rows) || ends != end.values {
        return None;
    }
    let mut all = Text::default();
    all.push(Some(&texts));
    let mut count = Long::default();
    count.push(Some(lines));
    let columns = vec![
        ("time", Column::Text(time)),
        ("start", Column::Long(start)),
        ("line", Column::Long(line)),
        ("end", Column::Long(end)),
    ];
    let whole = vec![("text", Column::Text(all)), ("lines", Column::Long(count))];
    Some([Table { rows, columns }, Table { rows: 1, columns: whole }])
}

fn cri(line: &[u8]) -> Option<Line<'_>> {
    let length = time(line)?;
    let (time, rest) = line.split_at(length);
    let (stream, rest) = match rest.strip_prefix(b" stdout ") {
        Some(rest) => (Stream::Out, rest),
        None => (Stream::Err, rest.strip_prefix(b" stderr ")?),
    };
    match rest.get(..2)? {
        b"F " => Some(Line { time, stream, whole: true, text: Cow::Borrowed(&rest[2..]) }),
        b"P " => Some(Line { time, stream, whole: false, text: Cow::Borrowed(&rest[2..]) }),
        _ => None,
    }
}

/// As dockerd writes it: with these members in this order.
fn docker(line: &[u8]) -> Option<Line<'_>> {
    let mut c = Cursor::new(line);
    let (mut text, mut stream, mut time) = (None, None, None);
    c.object(|c, key| {
        let place = match (key.key()?, &text, &stream, &time) {
            (b"log", None, None, None) => &mut text,
            (b"stream", Some(_), None, None) => &mut stream,
            (b"time", Some(_), Some(_), None) => &mut time,
            _ => return Err(Odd),
        };
        *place = Some(c.text()?);
        Ok(())
    })
    .ok()?;
    c.end().ok()?;
    let stream = match &*stream? {
        b"stdout" => Stream::Out,
        b"stderr" => Stream::Err,
        _ => return None,
    };
    let (mut text, Cow::Borrowed(time)) = (text?, time?) else { return None };
    if self::time(time) != Some(time.len()) {
        return None;
    }
    let whole = text.ends_with(b"\n");
    if whole {
        match &mut text {
            Cow::Borrowed(text) => *text = &text[..text.len() - 1],
            Cow::Owned(text) => drop(text.pop()),
        }
    }
    (!text.is_empty()).then_some(Line { time, stream, whole, text })
}

/// How long the time is that a text begins with: RFC 3339 as the container runtimes write it.
fn time(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let like =
        |form: &[u8], text: &[u8]| form.iter().zip(text).all(|(&f, &b)| if f == b'0' { b.is_ascii_digit() } else { f == b });
    let mut at = FORM.len();
    if !like(FORM, text.get(..at)?) {
        return None;
    }
    if *text.get(at)? == b'.' {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        at += 1 + digits;
    }
    match text.get(at)? {
        b'Z' => Some(at + 1),
        b'+' | b'-' if like(b"00:00", text.get(at + 1..at + 6)?) => Some(at + 6),
        _ => None,
    }
}
