//! A chunk of a log into its lines, if all of them are as the log backend writes them.

use crate::json::Cursor;
use crate::needles::Needles;

const BLOCK: usize = 256;

/// Fill `ends` with where each line ends (behind its newline) and tell how many they are, if there is room for them, all of
/// them begin with `prefix` and end with `}`, none has `prefix` again (a torn line goes on with the next event), none is
/// several documents, and all is UTF-8.
pub fn split(data: &[u8], prefix: &[u8], ends: &mut [i64]) -> Option<usize> {
    if prefix.is_empty() || std::str::from_utf8(data).is_err() {
        return None;
    }
    let (mut start, mut found) = (0, 0);
    for (index, block) in data.chunks(BLOCK).enumerate() {
        if !block.iter().fold(false, |any, &b| any | (b == b'\n')) {
            continue;
        }
        for (within, _) in block.iter().enumerate().filter(|(_, &b)| b == b'\n') {
            let end = index * BLOCK + within + 1;
            let line = &data[start..end];
            if found == ends.len() || !line.starts_with(prefix) || !line.ends_with(b"}\n") {
                return None;
            }
            ends[found] = end as i64;
            (start, found) = (end, found + 1);
        }
    }
    let whole = start == data.len()
        && Needles::new(std::iter::once(prefix)).count(data) == found
        && !several_documents(data, &ends[..found]);
    whole.then_some(found)
}

/// What may stand behind a closing bracket in a document or in a string of one; strings may look like more.
const GOES_ON: [u8; 8] = *b"]},\"\\:\n\r";

/// Whether a line goes on behind the end of its document.
fn several_documents(data: &[u8], ends: &[i64]) -> bool {
    let mut at = 0;
    let mut checked = 0; // lines before this place are one document each
    while at < data.len() {
        let block = &data[at..(at + BLOCK + 1).min(data.len())];
        let pairs = block.iter().zip(&block[1..]);
        let hit = pairs.fold(0u8, |hit, (&one, &next)| {
            let goes_on = GOES_ON.iter().fold(0u8, |any, &b| any | (next == b) as u8);
            hit | ((one == b'}') as u8 & (goes_on ^ 1))
        });
        if hit != 0 {
            for place in (at..(at + BLOCK).min(data.len())).filter(|&p| data[p] == b'}') {
                if place >= checked && more_behind(&data[place + 1..]) {
                    let line = ends.partition_point(|&end| end as usize <= place);
                    let start = if line == 0 { 0 } else { ends[line - 1] as usize };
                    checked = ends[line] as usize;
                    let mut cursor = Cursor::new(&data[start..checked]);
                    if cursor.value().is_err() || cursor.end().is_err() {
                        return true;
                    }
                }
            }
        }
        at += BLOCK;
    }
    false
}

fn more_behind(rest: &[u8]) -> bool {
    let next = rest.iter().find(|b| !matches!(b, b' ' | b'\t'));
    next.is_some_and(|b| !GOES_ON.contains(b) && !b.is_ascii_whitespace() && *b != 0x0b)
}
