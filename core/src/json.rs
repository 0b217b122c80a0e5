//! JSON, checked in full while it is passed over.

use std::borrow::Cow;

/// The text is not plain: not JSON, or nothing all readers agree about. The exact path reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Odd;

pub type Read<T> = Result<T, Odd>;

/// Levels of nesting that are followed.
const MAX_DEPTH: usize = 127;
/// Characters of a number: all that fit a double in any notation a program writes.
const MAX_NUMBER: usize = 32;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The content of a string as it stands between its quotes.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    pub bytes: &'a [u8],
    pub escaped: bool,
}

/// A place in a text.
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// White space was passed.
    pub spaced: bool,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0, spaced: false }
    }

    /// The byte at this place; 0, which no JSON has outside of strings, at the end.
    pub fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    pub fn place(&self) -> usize {
        self.at
    }

    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.at]
    }

    pub fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
            self.spaced = true;
        }
    }

    /// Nothing but white space follows.
    pub fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(Odd)
        }
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.peek() != byte {
            return Err(Odd);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Read<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Odd);
        }
        self.at += word.len();
        Ok(())
    }

    /// A string.
    #[inline]
    pub fn raw(&mut self) -> Read<Raw<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(Raw { bytes: &self.text[start..self.at - 1], escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Odd), // a control character, or the end
            }
        }
    }

    /// On to the next quote, backslash or control character, eight bytes at a time.
    #[inline]
    fn skip_plain(&mut self) {
        while let Some(eight) = self.text.get(self.at..self.at + 8) {
            let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
            let quote = word ^ (ONES * b'"' as u64);
            let slash = word ^ (ONES * b'\\' as u64);
            // Of each the lowest bit set is exact: a borrow only reaches what is above it.
            let found = (quote.wrapping_sub(ONES) & !quote)
                | (slash.wrapping_sub(ONES) & !slash)
                | (word.wrapping_sub(ONES * 0x20) & !word);
            if found & HIGHS != 0 {
                self.at += (found & HIGHS).trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.at < self.text.len() && !matches!(self.text[self.at], b'"' | b'\\' | 0..=0x1f) {
            self.at += 1;
        }
    }

    /// One escape; of surrogates and NUL readers make different things.
    fn escape(&mut self) -> Read<()> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let code = hex(self.text.get(self.at + 2..self.at + 6).ok_or(Odd)?)?;
                if code == 0 || (0xd800..0xe000).contains(&code) {
                    return Err(Odd);
                }
                self.at += 6;
            }
            _ => return Err(Odd),
        }
        Ok(())
    }

    /// A string's value.
    pub fn text(&mut self) -> Read<Cow<'a, [u8]>> {
        self.raw()?.value()
    }

    /// A string's value, or null.
    pub fn text_or_null(&mut self) -> Read<Option<Cow<'a, [u8]>>> {
        if self.null()? {
            Ok(None)
        } else {
            self.text().map(Some)
        }
    }

    /// Pass a null, if it is one.
    pub fn null(&mut self) -> Read<bool> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.word(b"null").map(|()| true)
    }

    pub fn boolean(&mut self) -> Read<bool> {
        let truth = self.peek() == b't';
        self.word(if truth { b"true" } else { b"false" }).map(|()| truth)
    }

    /// A whole number of at most 18 digits.
    pub fn whole(&mut self) -> Read<i64> {
        let start = self.at;
        self.number()?;
        let text = std::str::from_utf8(self.since(start)).map_err(|_| Odd)?;
        if text.len() > 18 {
            Err(Odd)
        } else {
            text.parse().map_err(|_| Odd)
        }
    }

    fn digits(&mut self) -> Read<usize> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            Err(Odd)
        } else {
            Ok(self.at - start)
        }
    }

    fn number(&mut self) -> Read<()> {
        let start = self.at;
        self.at += (self.peek() == b'-') as usize;
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += matches!(self.peek(), b'+' | b'-') as usize;
            if self.digits()? > 2 {
                return Err(Odd);
            }
        }
        if self.at - start > MAX_NUMBER {
            Err(Odd)
        } else {
            Ok(())
        }
    }

    /// The members of an object: `member` is called behind each colon and passes the value.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Raw<'a>) -> Read<()>) -> Read<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.raw()?;
            self.colon()?;
            member(self, key)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Odd),
            }
            self.space();
        }
    }

    #[inline]
    fn colon(&mut self) -> Read<()> {
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }

    /// The elements of an array: `element` is called before each and passes it.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.expect(b'[')?;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Odd),
            }
            self.space();
        }
    }

    /// Pass any value; returns its text.
    pub fn value(&mut self) -> Read<&'a [u8]> {
        let start = self.at;
        let mut open = [0u8; MAX_DEPTH]; // the closing bracket of each level
        let mut depth = 0;
        loop {
            match self.peek() {
                b'"' => {
                    self.raw()?;
                }
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    self.space();
                    let closing = bracket + 2; // in ASCII
                    if self.peek() == closing {
                        self.at += 1;
                    } else {
                        *open.get_mut(depth).ok_or(Odd)? = closing;
                        depth += 1;
                        if bracket == b'{' {
                            self.raw()?;
                            self.colon()?;
                        }
                        continue;
                    }
                }
                b't' | b'f' => {
                    self.boolean()?;
                }
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            loop {
                if depth == 0 {
                    return Ok(self.since(start));
                }
                self.space();
                let next = self.peek();
                self.at += 1;
                if next == b',' {
                    self.space();
                    if open[depth - 1] == b'}' {
                        self.raw()?;
                        self.colon()?;
                    }
                    break;
                }
                if next != open[depth - 1] {
                    return Err(Odd);
                }
                depth -= 1;
            }
        }
    }
}

impl<'a> Raw<'a> {
    /// The value, escapes undone.
    pub fn value(self) -> Read<Cow<'a, [u8]>> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.bytes));
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut rest = self.bytes;
        while let Some(at) = rest.iter().position(|&b| b == b'\\') {
            out.extend_from_slice(&rest[..at]);
            let (byte, after) = match rest.get(at + 1).ok_or(Odd)? {
                b'u' => {
                    let code = hex(rest.get(at + 2..at + 6).ok_or(Odd)?)?;
                    let letter = char::from_u32(code).ok_or(Odd)?;
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[at + 6..];
                    continue;
                }
                b'b' => (8, at + 2),
                b'f' => (12, at + 2),
                b'n' => (b'\n', at + 2),
                b'r' => (b'\r', at + 2),
                b't' => (b'\t', at + 2),
                &other => (other, at + 2),
            };
            out.push(byte);
            rest = &rest[after..];
        }
        out.extend_from_slice(rest);
        Ok(Cow::Owned(out))
    }

    /// The key of a member, as it must be written where keys count.
    pub fn key(self) -> Read<&'a [u8]> {
        if self.escaped {
            Err(Odd)
        } else {
            Ok(self.bytes)
        }
    }
}

fn hex(digits: &[u8]) -> Read<u32> {
    digits.iter().try_fold(0, |code, &d| Ok(code << 4 | (d as char).to_digit(16).ok_or(Odd)?))
}

/// The text without white space between its tokens; it must be JSON.
pub fn compact(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut inside, mut behind_slash) = (false, false);
    for &byte in text {
        if inside || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            out.push(byte);
        }
        if behind_slash {
            behind_slash = false;
        } else if byte == b'"' {
            inside = !inside;
        } else if byte == b'\\' {
            behind_slash = true;
        }
    }
    out
}
