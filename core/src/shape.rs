//! What a fragment that is kept as JSON must look like: the types of audit.k8s.io/v1 (apiserver pkg/apis/audit/v1/types.go).

use crate::json::{Cursor, Odd, Read};

/// Members of a map that are compared with one another at most.
const MAX_MAP: usize = 256;

pub enum Shape {
    Text,
    /// A string that is not empty: where v1 omits empty ones, an empty one is a null written by somebody else.
    Name,
    Texts,
    Whole,
    TextMap,
    TextsMap,
    /// Members that are known; others are passed over, unless only their case differs.
    Object(&'static [(&'static [u8], Shape)]),
}

pub const USER: Shape =
    Shape::Object(&[(b"username", Shape::Name), (b"uid", Shape::Name), (b"groups", Shape::Texts), (b"extra", Shape::TextsMap)]);
pub const STATUS: Shape = Shape::Object(&[
    (b"status", Shape::Text),
    (b"message", Shape::Text),
    (b"reason", Shape::Text),
    (b"details", Shape::Object(&[(b"uid", Shape::Text)])),
    (b"code", Shape::Whole),
]);
/// Constrained impersonation (1.35+); kept as it is.
pub const FACTS: Shape = Shape::Object(&[]);

/// Whether a fragment, which is JSON, has this shape.
pub fn fits(fragment: &[u8], shape: &Shape) -> bool {
    let mut cursor = Cursor::new(fragment);
    check(&mut cursor, shape).is_ok() && cursor.end().is_ok()
}

fn check(c: &mut Cursor, shape: &Shape) -> Read<()> {
    match shape {
        Shape::Text => c.raw().map(|_| ()),
        Shape::Name => c.raw().and_then(|raw| if raw.bytes.is_empty() { Err(Odd) } else { Ok(()) }),
        Shape::Texts => c.array(|c| c.raw().map(|_| ())),
        Shape::Whole => c.whole().map(|_| ()),
        Shape::TextMap => map(c, &Shape::Text),
        Shape::TextsMap => map(c, &Shape::Texts),
        Shape::Object(known) => object(c, known),
    }
}

fn map(c: &mut Cursor, values: &Shape) -> Read<()> {
    let mut keys: Vec<&[u8]> = Vec::new();
    c.object(|c, key| {
        let key = key.key()?;
        if keys.len() == MAX_MAP || keys.contains(&key) {
            return Err(Odd);
        }
        keys.push(key);
        check(c, values)
    })
}

fn object(c: &mut Cursor, known: &[(&[u8], Shape)]) -> Read<()> {
    let mut seen = 0u32;
    c.object(|c, key| {
        let key = key.key()?;
        let Some(index) = known.iter().position(|(name, _)| key.eq_ignore_ascii_case(name)) else {
            return c.value().map(|_| ());
        };
        if key != known[index].0 || seen & 1 << index != 0 {
            return Err(Odd);
        }
        seen |= 1 << index;
        check(c, &known[index].1)
    })
}
