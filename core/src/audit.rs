//! One audit event after the other, its wire fields into columns.

use std::borrow::Cow;

use crate::columns::{Codes, Column, Long, Parts, Table, Text};
use crate::json::{compact, Cursor, Odd, Read};
use crate::shape::{fits, Shape, FACTS, STATUS, USER};
use crate::time::micros;

/// Fields of few distinct values. Those with a shape are kept as JSON text, the others as their value.
const CODES: [(&str, Option<Shape>); 19] = [
    ("level", None),
    ("stage", None),
    ("verb", None),
    ("uri", None), // what derived columns ask about a URI: see uri_facts
    ("userAgent", None),
    ("objectRef.resource", None),
    ("objectRef.namespace", None),
    ("objectRef.apiGroup", None),
    ("objectRef.apiVersion", None),
    ("objectRef.subresource", None),
    ("response.kind", None),
    ("owner.kind", None),
    ("user", Some(USER)),
    ("impersonatedUser", Some(USER)),
    ("authenticationMetadata", Some(FACTS)),
    ("sourceIPs", Some(Shape::Texts)),
    ("responseStatus", Some(STATUS)),
    ("annotations", Some(Shape::TextMap)),
    ("dryRun", None), // how long the body's list is
];
const TEXTS: [&str; 15] = [
    "auditID",
    "requestURI",
    "objectRef.name",
    "objectRef.uid",
    "objectRef.resourceVersion",
    "requestObject",
    "responseObject",
    "object.name",
    "object.uid",
    "object.resourceVersion",
    "details.name",
    "details.uid",
    "details.kind",
    "owner.name",
    "owner.uid",
];
const LONGS: [&str; 4] = ["received", "staged", "request.replicas", "response.replicas"];

// Places in the arrays above.
const LEVEL: usize = 0;
const STAGE: usize = 1;
const VERB: usize = 2;
const URI_FACTS: usize = 3;
const USER_AGENT: usize = 4;
const RESOURCE: usize = 5;
const NAMESPACE: usize = 6;
const API_GROUP: usize = 7;
const API_VERSION: usize = 8;
const SUBRESOURCE: usize = 9;
const KIND: usize = 10;
const OWNER_KIND: usize = 11;
const USER_FRAGMENT: usize = 12;
const IMPERSONATED: usize = 13;
const AUTHENTICATION: usize = 14;
const IPS: usize = 15;
const STATUS_FRAGMENT: usize = 16;
const ANNOTATIONS: usize = 17;
const DRY_RUN: usize = 18;
const AUDIT_ID: usize = 0;
const URI: usize = 1;
const NAME: usize = 2;
const UID: usize = 3;
const VERSION: usize = 4;
const REQUEST: usize = 5;
const RESPONSE: usize = 6;
const OBJECT: usize = 7; // name, uid, resourceVersion
const DETAILS: usize = 10; // name, uid, kind
const OWNER: usize = 13; // name, uid
const RECEIVED: usize = 0;
const STAGED: usize = 1;
const ASKED: usize = 2; // replicas
const ANSWERED: usize = 3;

type Value<'a> = Option<Cow<'a, [u8]>>;

/// What a line holds, until it is known to be kept.
#[derive(Default)]
struct Event<'a> {
    codes: [Value<'a>; CODES.len()],
    texts: [Value<'a>; TEXTS.len()],
    longs: [Option<i64>; LONGS.len()],
    seen: u32,
    referred: bool, // has an objectRef
}

#[derive(Default)]
struct Meta<'a> {
    name: Value<'a>,
    namespace: Value<'a>,
    uid: Value<'a>,
    version: Value<'a>,
    kind: Value<'a>, // of a Status' details
}

/// The events of one call. Items of lists and owners belong to rows by the row's number among those that are kept.
pub struct Scanner<'n> {
    refused: Vec<&'n [u8]>,
    codes: Vec<Codes>,
    texts: Vec<Text>,
    longs: Vec<Long>,
    row: Long,
    items: Parts,
    owners: Parts,
}

/// Texts one behind the other: the n-th is data[offsets[n]..offsets[n + 1]].
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    pub data: &'a [u8],
    pub offsets: &'a [i64],
}

/// The columns of the plain events among the texts whose byte in `wanted` is not 0 (the others are not looked at): rows with
/// the numbers of their texts, items, owners.
///
/// Left out are events that have a body of one of the resources `refused`.
pub fn scan(pieces: &[Texts], wanted: &[u8], refused: Vec<&[u8]>) -> [Table; 3] {
    let mut scanner = Scanner {
        refused,
        codes: CODES.iter().map(|_| Codes::new()).collect(),
        texts: TEXTS.iter().map(|_| Text::default()).collect(),
        longs: LONGS.iter().map(|_| Long::default()).collect(),
        row: Long::default(),
        items: Parts::new(&["namespace", "name", "uid", "resourceVersion"]),
        owners: Parts::new(&["apiVersion", "kind", "name", "uid"]),
    };
    let texts = pieces.iter().flat_map(Texts::iter);
    for (number, (text, _)) in texts.zip(wanted).enumerate().filter(|(_, (_, &wanted))| wanted != 0) {
        let Some(text) = text else { continue };
        let (items, owners) = (scanner.items.len(), scanner.owners.len());
        if scanner.line(text).is_ok() {
            scanner.row.push(Some(number as i64));
        } else {
            scanner.items.truncate(items);
            scanner.owners.truncate(owners);
        }
    }
    scanner.tables()
}

impl<'a> Texts<'a> {
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let all = *self;
        all.offsets.windows(2).map(move |pair| all.text(pair))
    }

    fn text(&self, pair: &[i64]) -> Option<&'a [u8]> {
        let (start, end) = (usize::try_from(pair[0]).ok()?, usize::try_from(pair[1]).ok()?);
        self.data.get(start..end)
    }
}

impl Scanner<'_> {
    fn tables(self) -> [Table; 3] {
        let rows = self.row.values.len();
        let codes = CODES.iter().map(|(name, _)| *name).zip(self.codes.into_iter().map(Column::Codes));
        let texts = TEXTS.iter().copied().zip(self.texts.into_iter().map(Column::Text));
        let longs = LONGS.iter().copied().zip(self.longs.into_iter().map(Column::Long));
        let row = std::iter::once(("row", Column::Long(self.row)));
        let columns = row.chain(codes).chain(texts).chain(longs).collect();
        [Table { rows, columns }, self.items.table(), self.owners.table()]
    }

    /// Take one event, all of it or nothing.
    fn line(&mut self, text: &[u8]) -> Read<()> {
        std::str::from_utf8(text).map_err(|_| Odd)?;
        let mut event = Event::default();
        let mut cursor = Cursor::new(text);
        cursor.object(|c, key| self.member(c, key.key()?, &mut event))?;
        cursor.end()?;
        self.judge(&mut event)?;
        self.keep(&event)
    }

    /// What an event must be, all its fields known.
    fn judge(&self, event: &mut Event) -> Read<()> {
        let is = |value: &Value, known: &[&[u8]]| value.as_deref().is_some_and(|v| known.contains(&v));
        let uri = event.texts[URI].as_deref().ok_or(Odd)?;
        let resource = event.codes[RESOURCE].as_deref();
        let bodies = event.texts[REQUEST].is_some() || event.texts[RESPONSE].is_some();
        let kept = is(&event.codes[LEVEL], &[b"Metadata", b"Request", b"RequestResponse"])
            && is(&event.codes[STAGE], &[b"RequestReceived", b"ResponseStarted", b"ResponseComplete", b"Panic"])
            && event.codes[VERB].is_some()
            && event.texts[AUDIT_ID].as_deref().is_some_and(|id| !id.is_empty())
            && event.longs[STAGED].is_some()
            && uri.starts_with(b"/")
            && event.referred == resource.is_some()
            && (event.referred || !names_an_object(uri))
            && !(bodies && resource.is_some_and(|r| self.refused.contains(&r)));
        if !kept {
            return Err(Odd);
        }
        event.codes[URI_FACTS] = Some(Cow::Owned(uri_facts(uri)?));
        Ok(())
    }

    fn keep(&mut self, event: &Event) -> Read<()> {
        let mut found = [Ok(-1); CODES.len()];
        for (i, value) in event.codes.iter().enumerate() {
            let Some(value) = value else { continue };
            found[i] = self.codes[i].find(value);
            if found[i].is_err() && CODES[i].1.as_ref().is_some_and(|shape| !fits(value, shape)) {
                return Err(Odd);
            }
        }
        for ((value, column), found) in event.codes.iter().zip(&mut self.codes).zip(found) {
            column.push(value.as_deref(), found);
        }
        event.texts.iter().zip(&mut self.texts).for_each(|(value, column)| column.push(value.as_deref()));
        event.longs.iter().zip(&mut self.longs).for_each(|(value, column)| column.push(*value));
        Ok(())
    }

    fn member<'a>(&mut self, c: &mut Cursor<'a>, key: &[u8], event: &mut Event<'a>) -> Read<()> {
        let fields: [(&[u8], Option<usize>); 19] = [
            (b"level", Some(LEVEL)),
            (b"stage", Some(STAGE)),
            (b"verb", Some(VERB)),
            (b"userAgent", Some(USER_AGENT)),
            (b"user", Some(USER_FRAGMENT)),
            (b"impersonatedUser", Some(IMPERSONATED)),
            (b"authenticationMetadata", Some(AUTHENTICATION)),
            (b"sourceIPs", Some(IPS)),
            (b"responseStatus", Some(STATUS_FRAGMENT)),
            (b"annotations", Some(ANNOTATIONS)),
            (b"auditID", None),
            (b"requestURI", None),
            (b"requestReceivedTimestamp", None),
            (b"stageTimestamp", None),
            (b"objectRef", None),
            (b"requestObject", None),
            (b"responseObject", None),
            (b"apiVersion", None),
            (b"kind", None),
        ];
        let at = fields.iter().position(|(name, _)| *name == key).ok_or(Odd)?;
        once(&mut event.seen, at)?;
        if let Some(code) = fields[at].1 {
            event.codes[code] = Some(match CODES[code].1 {
                Some(_) => fragment(c)?,
                None => c.text()?,
            });
            return Ok(());
        }
        match key {
            b"auditID" => event.texts[AUDIT_ID] = Some(c.text()?),
            b"requestURI" => event.texts[URI] = Some(c.text()?),
            b"requestReceivedTimestamp" => event.longs[RECEIVED] = Some(micros(&c.text()?).ok_or(Odd)?),
            b"stageTimestamp" => event.longs[STAGED] = Some(micros(&c.text()?).ok_or(Odd)?),
            b"objectRef" => reference(c, event)?,
            b"requestObject" => event.texts[REQUEST] = Some(body(c, |c| request(c, event))?),
            b"responseObject" => event.texts[RESPONSE] = Some(body(c, |c| self.response(c, event))?),
            b"apiVersion" if *c.text()? != *b"audit.k8s.io/v1" => return Err(Odd),
            b"kind" => drop(c.text()?),
            _ => {}
        }
        Ok(())
    }

    fn response<'a>(&mut self, c: &mut Cursor<'a>, event: &mut Event<'a>) -> Read<()> {
        let (mut seen, mut meta, mut details) = (0, Meta::default(), Meta::default());
        let row = self.row.values.len();
        c.object(|c, key| {
            match key.key()? {
                b"kind" => {
                    once(&mut seen, 0)?;
                    event.codes[KIND] = c.text_or_null()?;
                }
                b"metadata" => {
                    once(&mut seen, 1)?;
                    metadata(c, &mut meta, |c| self.owners(c, row, event))?;
                }
                b"spec" => {
                    once(&mut seen, 2)?;
                    event.longs[ANSWERED] = replicas(c)?;
                }
                b"details" => {
                    once(&mut seen, 3)?;
                    metadata(c, &mut details, |c| c.value().map(drop))?;
                }
                name @ (b"items" | b"rows") => {
                    once(&mut seen, 4)?; // of both only one counts
                    self.items(c, row, name == b"rows")?;
                }
                _ => drop(c.value()?),
            }
            Ok(())
        })?;
        (event.texts[OBJECT], event.texts[OBJECT + 1], event.texts[OBJECT + 2]) = (meta.name, meta.uid, meta.version);
        (event.texts[DETAILS], event.texts[DETAILS + 1], event.texts[DETAILS + 2]) = (details.name, details.uid, details.kind);
        Ok(())
    }

    /// The owners of an object; the event's own is the controlling one, else the first.
    fn owners<'a>(&mut self, c: &mut Cursor<'a>, row: usize, event: &mut Event<'a>) -> Read<()> {
        let (mut any, mut controlled) = (false, false);
        c.array(|c| {
            let (mut owner, mut controls, mut seen): ([Value; 4], _, _) = (Default::default(), false, 0);
            c.object(|c, key| {
                let key = key.key()?;
                let names: [&[u8]; 5] = [b"apiVersion", b"kind", b"name", b"uid", b"controller"];
                match names.iter().position(|n| *n == key) {
                    None => return c.value().map(drop),
                    Some(at) => once(&mut seen, at)?,
                }
                if key == b"controller" {
                    controls = !c.null()? && c.boolean()?;
                } else if let Some(at) = names.iter().position(|n| *n == key) {
                    owner[at] = c.text_or_null()?;
                }
                Ok(())
            })?;
            self.owners.push(row, &owner.each_ref().map(|v| v.as_deref()));
            if !any || (controls && !controlled) {
                let [_, kind, name, uid] = owner;
                event.codes[OWNER_KIND] = kind;
                (event.texts[OWNER], event.texts[OWNER + 1]) = (name, uid);
            }
            any = true;
            controlled |= controls;
            Ok(())
        })
    }

    /// Items of a list, or the objects in the rows of a Table.
    fn items(&mut self, c: &mut Cursor, row: usize, table: bool) -> Read<()> {
        if c.null()? {
            return Ok(());
        }
        c.array(|c| {
            let (mut meta, mut seen) = (Meta::default(), 0);
            if table {
                c.object(|c, key| {
                    if key.key()? != b"object" {
                        return c.value().map(drop);
                    }
                    once(&mut seen, 0)?;
                    if c.null()? {
                        Ok(())
                    } else {
                        item(c, &mut meta)
                    }
                })?;
            } else {
                item(c, &mut meta)?;
            }
            if meta.name.is_some() {
                let Meta { name, namespace, uid, version, .. } = &meta;
                self.items.push(row, &[namespace.as_deref(), name.as_deref(), uid.as_deref(), version.as_deref()]);
            }
            Ok(())
        })
    }
}

/// A member that counts comes once: of several, readers take different ones.
fn once(seen: &mut u32, bit: usize) -> Read<()> {
    if *seen & 1 << bit != 0 {
        return Err(Odd);
    }
    *seen |= 1 << bit;
    Ok(())
}

/// The text of any value but null.
fn fragment<'a>(c: &mut Cursor<'a>) -> Read<Cow<'a, [u8]>> {
    if c.peek() == b'n' {
        Err(Odd)
    } else {
        c.value().map(Cow::Borrowed)
    }
}

/// A body, without white space between its tokens. `read` lifts from an object; an array is a JSON patch; others are odd.
fn body<'a>(c: &mut Cursor<'a>, read: impl FnOnce(&mut Cursor<'a>) -> Read<()>) -> Read<Cow<'a, [u8]>> {
    let (start, spaced) = (c.place(), std::mem::take(&mut c.spaced));
    match c.peek() {
        b'{' => read(c)?,
        b'[' => drop(c.value()?),
        _ => return Err(Odd),
    }
    let text = c.since(start);
    let inside = std::mem::replace(&mut c.spaced, spaced);
    Ok(if inside { Cow::Owned(compact(text)) } else { Cow::Borrowed(text) })
}

fn reference<'a>(c: &mut Cursor<'a>, event: &mut Event<'a>) -> Read<()> {
    let mut seen = 0;
    event.referred = true;
    c.object(|c, key| {
        let key = key.key()?;
        let (bit, place) = match key {
            b"resource" => (0, &mut event.codes[RESOURCE]),
            b"namespace" => (1, &mut event.codes[NAMESPACE]),
            b"apiGroup" => (2, &mut event.codes[API_GROUP]),
            b"apiVersion" => (3, &mut event.codes[API_VERSION]),
            b"subresource" => (4, &mut event.codes[SUBRESOURCE]),
            b"name" => (5, &mut event.texts[NAME]),
            b"uid" => (6, &mut event.texts[UID]),
            b"resourceVersion" => (7, &mut event.texts[VERSION]),
            _ => return Err(Odd),
        };
        once(&mut seen, bit)?;
        let text = c.text()?;
        // v1 omits empty ones; with a slash it is v1alpha1's, which has the group in it
        if text.is_empty() || (bit == 3 && text.contains(&b'/')) {
            return Err(Odd);
        }
        *place = Some(text);
        Ok(())
    })
}

fn request<'a>(c: &mut Cursor<'a>, event: &mut Event<'a>) -> Read<()> {
    let (mut seen, mut own, mut inner) = (0, None, None);
    c.object(|c, key| {
        match key.key()? {
            b"dryRun" => {
                once(&mut seen, 0)?;
                own = length(c)?;
            }
            b"deleteOptions" => {
                once(&mut seen, 1)?;
                if c.null()? {
                    return Ok(());
                }
                let mut seen = 0;
                c.object(|c, key| {
                    if key.key()? != b"dryRun" {
                        return c.value().map(drop);
                    }
                    once(&mut seen, 0)?;
                    inner = length(c)?;
                    Ok(())
                })?;
            }
            b"spec" => {
                once(&mut seen, 2)?;
                event.longs[ASKED] = replicas(c)?;
            }
            _ => drop(c.value()?),
        }
        Ok(())
    })?;
    event.codes[DRY_RUN] = own.or(inner).map(|n: usize| Cow::Owned(n.min(1).to_string().into_bytes()));
    Ok(())
}

/// The length of an array, none of null.
fn length(c: &mut Cursor) -> Read<Option<usize>> {
    if c.null()? {
        return Ok(None);
    }
    let mut n = 0;
    c.array(|c| {
        n += 1;
        c.value().map(drop)
    })?;
    Ok(Some(n))
}

fn replicas(c: &mut Cursor) -> Read<Option<i64>> {
    let (mut found, mut seen) = (None, 0);
    if c.null()? {
        return Ok(None);
    }
    c.object(|c, key| {
        if key.key()? != b"replicas" {
            return c.value().map(drop);
        }
        once(&mut seen, 0)?;
        found = if c.null()? { None } else { Some(c.whole()?) };
        Ok(())
    })?;
    Ok(found)
}

/// An object's metadata, or a Status' details; `owners` passes what stands under ownerReferences.
fn metadata<'a>(c: &mut Cursor<'a>, meta: &mut Meta<'a>, mut owners: impl FnMut(&mut Cursor<'a>) -> Read<()>) -> Read<()> {
    if c.null()? {
        return Ok(());
    }
    let mut seen = 0;
    c.object(|c, key| {
        let (bit, place) = match key.key()? {
            b"name" => (0, &mut meta.name),
            b"namespace" => (1, &mut meta.namespace),
            b"uid" => (2, &mut meta.uid),
            b"resourceVersion" => (3, &mut meta.version),
            b"kind" => (5, &mut meta.kind),
            b"ownerReferences" => {
                once(&mut seen, 4)?;
                return if c.null()? { Ok(()) } else { owners(c) };
            }
            _ => return c.value().map(drop),
        };
        once(&mut seen, bit)?;
        *place = c.text_or_null()?;
        Ok(())
    })
}

fn item<'a>(c: &mut Cursor<'a>, meta: &mut Meta<'a>) -> Read<()> {
    let mut seen = 0;
    c.object(|c, key| {
        if key.key()? != b"metadata" {
            return c.value().map(drop);
        }
        once(&mut seen, 0)?;
        metadata(c, meta, |c| c.value().map(drop))
    })
}

/// Whether a path names a resource, so that an event without objectRef is not as the apiserver writes it.
fn names_an_object(uri: &[u8]) -> bool {
    let (mut rest, parts) = if let Some(rest) = uri.strip_prefix(b"/api/") {
        (rest, 1)
    } else if let Some(rest) = uri.strip_prefix(b"/apis/") {
        (rest, 2)
    } else {
        return false;
    };
    for _ in 0..parts {
        match rest.iter().position(|b| matches!(b, b'/' | b'?')) {
            Some(end) if end > 0 && rest[end] == b'/' => rest = &rest[end + 1..],
            _ => return false,
        }
    }
    !matches!(rest.first(), None | Some(b'/' | b'?'))
}

/// A URI as short as it can be without a derived column noticing: its root, and `dryRun=` with what stands around it.
fn uri_facts(uri: &[u8]) -> Read<Vec<u8>> {
    const WORD: &[u8] = b"dryRun=";
    let mut facts = if uri.starts_with(b"/apis/") { b"/apis/".to_vec() } else { b"/".to_vec() };
    let Some(query) = uri.iter().position(|&b| b == b'd').map(|at| &uri[at - 1..]) else { return Ok(facts) };
    let mut found = query.windows(WORD.len()).enumerate().filter(|(_, w)| *w == WORD);
    if let Some((at, _)) = found.next() {
        if found.next().is_some() {
            return Err(Odd);
        }
        let plain = |b: u8| if b.is_ascii() { b } else { b'x' };
        facts.push(plain(query[at - 1]));
        facts.extend_from_slice(WORD);
        facts.extend(query.get(at + WORD.len()).map(|&b| plain(b)));
    }
    Ok(facts)
}
