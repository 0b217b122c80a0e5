//! Expressions as RE2 understands them over bytes, as far as redaction's rules are written in them: literals, classes, groups,
//! repeats, `(?i)`, `^`, `$` and `\b`. Whatever else stands in one makes it refused, and the caller asks RE2 itself.

/// Nodes that repeats may grow a program to.
const MAX_NODES: usize = 60_000;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes([u64; 4]);

impl Bytes {
    pub const NONE: Bytes = Bytes([0; 4]);

    pub fn has(&self, byte: u8) -> bool {
        self.0[byte as usize >> 6] >> (byte & 63) & 1 == 1
    }

    fn add(&mut self, byte: u8) {
        self.0[byte as usize >> 6] |= 1 << (byte & 63);
    }

    fn add_range(&mut self, low: u8, high: u8) {
        (low..=high).for_each(|b| self.add(b));
    }

    fn add_all(&mut self, other: &Bytes) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    fn negated(&self) -> Bytes {
        Bytes(self.0.map(|word| !word))
    }

    /// With the letters of the other case.
    fn folded(mut self) -> Bytes {
        for byte in 0..=255u8 {
            if byte.is_ascii_alphabetic() && self.has(byte) {
                self.add(byte ^ 0x20);
            }
        }
        self
    }

    fn of(low_highs: &[(u8, u8)]) -> Bytes {
        let mut out = Bytes::NONE;
        low_highs.iter().for_each(|&(low, high)| out.add_range(low, high));
        out
    }
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[derive(Clone)]
pub enum Node {
    One(Bytes, usize), // one of these, then on
    Either(Vec<usize>),
    Start(usize),
    End(usize),
    Edge(usize), // between a letter of a word and another byte
    Found,
}

enum Tree {
    Empty,
    One(Bytes),
    Row(Vec<Tree>),
    Either(Vec<Tree>),
    Repeat(Box<Tree>, usize, Option<usize>),
    Start,
    End,
    Edge,
}

/// The nodes of an expression and the first of them; None if it is written in ways not known here.
pub fn program(pattern: &[u8]) -> Option<(Vec<Node>, usize)> {
    if !pattern.is_ascii() {
        return None;
    }
    let mut parser = Parser { text: pattern, at: 0, fold: false, depth: 0 };
    let tree = parser.either()?;
    if parser.at != pattern.len() {
        return None;
    }
    let mut nodes = vec![Node::Found];
    let start = build(&tree, 0, &mut nodes)?;
    Some((nodes, start))
}

/// Nodes for a tree that go on to `next`; returns the first.
fn build(tree: &Tree, next: usize, nodes: &mut Vec<Node>) -> Option<usize> {
    if nodes.len() > MAX_NODES {
        return None;
    }
    let node = match tree {
        Tree::Empty => return Some(next),
        Tree::Row(trees) => return trees.iter().rev().try_fold(next, |next, one| build(one, next, nodes)),
        Tree::One(bytes) => Node::One(*bytes, next),
        Tree::Start => Node::Start(next),
        Tree::End => Node::End(next),
        Tree::Edge => Node::Edge(next),
        Tree::Either(trees) => Node::Either(trees.iter().map(|one| build(one, next, nodes)).collect::<Option<Vec<usize>>>()?),
        Tree::Repeat(one, low, high) => {
            let mut after = next;
            match high {
                None => {
                    nodes.push(Node::Either(vec![next]));
                    after = nodes.len() - 1;
                    let again = build(one, after, nodes)?;
                    if let Node::Either(ways) = &mut nodes[after] {
                        ways.push(again);
                    }
                }
                Some(high) => {
                    for _ in *low..*high {
                        let more = build(one, after, nodes)?;
                        nodes.push(Node::Either(vec![more, next]));
                        after = nodes.len() - 1;
                    }
                }
            }
            return (0..*low).try_fold(after, |after, _| build(one, after, nodes));
        }
    };
    nodes.push(node);
    Some(nodes.len() - 1)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    fold: bool,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        self.at += 1;
        self.text.get(self.at - 1).copied()
    }

    fn takes(&mut self, word: &[u8]) -> bool {
        let there = self.text[self.at.min(self.text.len())..].starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn either(&mut self) -> Option<Tree> {
        let mut ways = vec![self.row()?];
        while self.takes(b"|") {
            ways.push(self.row()?);
        }
        Some(if ways.len() == 1 { ways.pop()? } else { Tree::Either(ways) })
    }

    fn row(&mut self) -> Option<Tree> {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some(b'|' | b')')) {
            if self.takes(b"(?i)") {
                self.fold = true;
                continue;
            }
            let one = self.one()?;
            parts.push(self.repeated(one)?);
        }
        Some(match parts.len() {
            0 => Tree::Empty,
            1 => parts.pop()?,
            _ => Tree::Row(parts),
        })
    }

    fn one(&mut self) -> Option<Tree> {
        Some(match self.take()? {
            b'(' => return self.group(),
            b'[' => Tree::One(self.class()?),
            b'.' => Tree::One(Bytes::of(&[(b'\n', b'\n')]).negated()),
            b'^' => Tree::Start,
            b'$' => Tree::End,
            b'\\' => match self.take()? {
                b'b' => Tree::Edge,
                letter => Tree::One(self.escaped(letter)?),
            },
            b'*' | b'+' | b'?' | b'{' => return None,
            byte => Tree::One(self.literal(byte)),
        })
    }

    fn literal(&self, byte: u8) -> Bytes {
        let one = Bytes::of(&[(byte, byte)]);
        if self.fold {
            one.folded()
        } else {
            one
        }
    }

    /// A group keeps nothing, and ends what it changes about case.
    fn group(&mut self) -> Option<Tree> {
        let (fold, depth) = (self.fold, self.depth);
        self.depth += 1;
        if self.depth > 50 {
            return None;
        }
        if self.takes(b"?-i:") {
            self.fold = false;
        } else if self.takes(b"?i:") {
            self.fold = true;
        } else if !self.takes(b"?:") && self.peek() == Some(b'?') {
            return None;
        }
        let inside = self.either()?;
        (self.fold, self.depth) = (fold, depth);
        self.takes(b")").then_some(inside)
    }

    fn repeated(&mut self, one: Tree) -> Option<Tree> {
        let (low, high) = match self.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => {
                let end = self.at + self.text[self.at..].iter().position(|&b| b == b'}')?;
                let inside = std::str::from_utf8(&self.text[self.at + 1..end]).ok()?;
                self.at = end;
                match inside.split_once(',') {
                    None => (inside.parse().ok()?, Some(inside.parse().ok()?)),
                    Some((low, "")) => (low.parse().ok()?, None),
                    Some((low, high)) => (low.parse().ok()?, Some(high.parse().ok()?)),
                }
            }
            _ => return Some(one),
        };
        self.at += 1;
        // a mark behind it changes which match is found, not whether there is one; two of them are not for here
        self.takes(b"?");
        if matches!(self.peek(), Some(b'*' | b'+' | b'?' | b'{'))
            || low > 1000
            || high.is_some_and(|high| high > 1000 || high < low)
        {
            return None;
        }
        Some(Tree::Repeat(Box::new(one), low, high))
    }

    fn escaped(&mut self, letter: u8) -> Option<Bytes> {
        const WORD: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];
        const SPACE: &[(u8, u8)] = &[(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')];
        Some(match letter {
            b'w' => Bytes::of(WORD),
            b'W' => Bytes::of(WORD).negated(),
            b'd' => Bytes::of(&[(b'0', b'9')]),
            b'D' => Bytes::of(&[(b'0', b'9')]).negated(),
            b's' => Bytes::of(SPACE),
            b'S' => Bytes::of(SPACE).negated(),
            _ => {
                let byte = self.byte(letter)?;
                self.literal(byte)
            }
        })
    }

    /// The byte that an escape stands for.
    fn byte(&mut self, letter: u8) -> Option<u8> {
        Some(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'f' => 0x0c,
            b'x' => {
                let digits = std::str::from_utf8(self.text.get(self.at..self.at + 2)?).ok()?;
                self.at += 2;
                u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?
            }
            other if other.is_ascii_punctuation() || other == b' ' => other,
            _ => return None,
        })
    }

    fn class(&mut self) -> Option<Bytes> {
        let negated = self.takes(b"^");
        let (mut out, mut first) = (Bytes::NONE, true);
        while first || self.peek()? != b']' {
            first = false;
            let (set, low) = self.member()?;
            let dash = self.peek()? == b'-' && *self.text.get(self.at + 1)? != b']';
            match low {
                Some(low) if dash => {
                    self.at += 1;
                    let high = self.member()?.1?;
                    if high < low {
                        return None;
                    }
                    out.add_range(low, high);
                }
                _ => out.add_all(&set),
            }
        }
        self.at += 1;
        let out = if self.fold { out.folded() } else { out };
        Some(if negated { out.negated() } else { out })
    }

    /// A member of a class: the bytes it stands for, and which it is if that is one.
    fn member(&mut self) -> Option<(Bytes, Option<u8>)> {
        let byte = match self.take()? {
            b'[' if matches!(self.peek()?, b':' | b'.' | b'=') => return None,
            b'\\' => {
                let letter = self.take()?;
                if matches!(letter, b'w' | b'W' | b'd' | b'D' | b's' | b'S') {
                    return Some((self.escaped(letter)?, None));
                }
                self.byte(letter)?
            }
            byte if byte.is_ascii() => byte,
            _ => return None,
        };
        Some((Bytes::of(&[(byte, byte)]), Some(byte)))
    }
}
