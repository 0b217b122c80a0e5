//! The C ABI, and the only unsafe code: the caller's buffers are borrowed for the length of a call, columns are given away by
//! the Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), and a panic becomes a return value.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void, CStr, CString};
use std::panic::catch_unwind;
use std::ptr::{null, null_mut};
use std::sync::Mutex;

use crate::audit::{self, Texts};
use crate::automaton::Automaton;
use crate::columns::{Codes, Column, Long, Table, Text, Validity};
use crate::container;
use crate::lines;

const DONE: i32 = 0;
const FAILED: i32 = -1;
const NOT_PLAIN: i64 = -1;

/// Of the crate, and of the sources: see build.rs.
const STAMP: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("CORE_SOURCES"), "\0");
const VERSION: &CStr = match CStr::from_bytes_with_nul(STAMP.as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!(),
};

#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// What the caller gives room for: one table.
#[repr(C)]
pub struct Export {
    array: ArrowArray,
    schema: ArrowSchema,
}

/// The version of this core: the caller uses no other than its own.
#[no_mangle]
pub extern "C" fn auditlens_core_version() -> *const c_char {
    VERSION.as_ptr()
}

/// 0 when this build reads an event as it should, and finds an expression.
#[no_mangle]
pub extern "C" fn auditlens_core_self_test() -> i32 {
    const EVENT: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"a","stage":"Panic","requestURI":"/\u0026","verb":"get","stageTimestamp":"2026-11-23T05:04:18.056187Z"}"#;
    let read = catch_unwind(|| {
        let [rows, ..] = audit::scan(&[Texts { data: EVENT, offsets: &[0, EVENT.len() as i64] }], &[1], Vec::new());
        let has = |name: &str, wanted: &[u8]| {
            rows.columns.iter().any(|(n, c)| *n == name && matches!(c, Column::Text(t) if t.data == wanted))
        };
        let mut found = [0; 3];
        let looked = Automaton::new(br"(?i)\bpass\b[^{}]{2}=")
            .is_some_and(|mut pass| pass.find([b"a PASS: =".as_slice(), b"compass: =", b"pass={}="].into_iter(), &mut found));
        looked && found == [1, 0, 0] && rows.rows == 1 && has("auditID", b"a") && has("requestURI", b"/&")
    });
    if matches!(read, Ok(true)) {
        DONE
    } else {
        FAILED
    }
}

/// Where the lines of a chunk end, if all are plain: see `lines::split`. Returns how many they are, below 0 if they are not.
///
/// # Safety
/// `data` points to `size` bytes, `prefix` to `prefix_size`, `ends` to room for `count` numbers; nobody writes to them meanwhile.
#[no_mangle]
pub unsafe extern "C" fn auditlens_core_lines(
    data: *const u8,
    size: usize,
    prefix: *const u8,
    prefix_size: usize,
    ends: *mut i64,
    count: usize,
) -> i64 {
    let (data, prefix) = (borrowed(data, size), borrowed(prefix, prefix_size));
    let ends = if ends.is_null() { &mut [] } else { std::slice::from_raw_parts_mut(ends, count) };
    match catch_unwind(std::panic::AssertUnwindSafe(|| lines::split(data, prefix, ends))) {
        Ok(Some(lines)) => lines as i64,
        Ok(None) => NOT_PLAIN,
        Err(_) => NOT_PLAIN - 1,
    }
}

/// Texts as the caller has them: `offsets` are `count + 1`.
#[repr(C)]
pub struct Piece {
    data: *const u8,
    size: usize,
    offsets: *const i64,
    count: usize,
}

/// The columns of plain events: see `audit::scan`. `wanted` has a byte for each text, `resources` are names, NUL between them.
/// `out` has room for three tables, which are filled only when 0 is returned; the caller releases them.
///
/// # Safety
/// `pieces` points to `n_pieces`, each to as much as it says, `wanted` and `resources` to as many bytes as said, `out` to
/// three exports; nobody writes to them meanwhile.
#[no_mangle]
pub unsafe extern "C" fn auditlens_core_audit(
    pieces: *const Piece,
    n_pieces: usize,
    wanted: *const u8,
    wanted_size: usize,
    resources: *const u8,
    resources_size: usize,
    out: *mut Export,
) -> i32 {
    if pieces.is_null() || out.is_null() {
        return FAILED;
    }
    let pieces = std::slice::from_raw_parts(pieces, n_pieces);
    let size = pieces.iter().fold(0usize, |size, piece| size.saturating_add(piece.size));
    if size >= i32::MAX as usize || pieces.iter().any(|piece| piece.offsets.is_null()) {
        return FAILED;
    }
    let texts: Vec<Texts> = pieces.iter().map(|p| texts(p)).collect();
    let (wanted, resources) = (borrowed(wanted, wanted_size), borrowed(resources, resources_size));
    let exports = catch_unwind(|| {
        let names = resources.split(|b| *b == 0).filter(|name| !name.is_empty());
        audit::scan(&texts, wanted, names.collect()).map(export)
    });
    match exports {
        Ok(tables) => {
            for (i, table) in tables.into_iter().enumerate() {
                out.add(i).write(table);
            }
            DONE
        }
        Err(_) => FAILED,
    }
}

/// An expression to look for, which lives as long as the process; null when it is written in ways that are not known here.
///
/// # Safety
/// `pattern` points to `size` bytes; nobody writes to them meanwhile.
#[no_mangle]
pub unsafe extern "C" fn auditlens_core_pattern(pattern: *const u8, size: usize) -> *const c_void {
    let pattern = borrowed(pattern, size);
    match catch_unwind(|| Automaton::new(pattern)) {
        Ok(Some(automaton)) => Box::into_raw(Box::new(Mutex::new(automaton))).cast(),
        _ => null(),
    }
}

/// Write a 1 into `found` for each text that the expression is in. Returns 0 when all of them were looked at.
///
/// # Safety
/// `pattern` is from `auditlens_core_pattern`, `pieces` points to `n_pieces`, each to as much as it says, `found` to `size`
/// bytes; nobody writes to them meanwhile.
#[no_mangle]
pub unsafe extern "C" fn auditlens_core_find(
    pattern: *const c_void,
    pieces: *const Piece,
    n_pieces: usize,
    found: *mut u8,
    size: usize,
) -> i32 {
    if pattern.is_null() || pieces.is_null() || found.is_null() {
        return FAILED;
    }
    let pattern = &*pattern.cast::<Mutex<Automaton>>();
    let pieces = std::slice::from_raw_parts(pieces, n_pieces);
    if pieces.iter().any(|piece| piece.offsets.is_null()) {
        return FAILED;
    }
    let texts: Vec<Texts> = pieces.iter().map(|p| texts(p)).collect();
    let found = std::slice::from_raw_parts_mut(found, size);
    let done = catch_unwind(std::panic::AssertUnwindSafe(|| {
        let every = texts.iter().flat_map(Texts::iter).map(Option::unwrap_or_default);
        pattern.lock().is_ok_and(|mut automaton| automaton.find(every, found))
    }));
    if matches!(done, Ok(true)) {
        DONE
    } else {
        FAILED
    }
}

/// The records in a chunk of container log lines: see `container::unwrap`. `out` has room for two tables, which are filled only when
/// 0 is returned; the caller releases them.
///
/// # Safety
/// `data` points to `size` bytes, `prefix` to `prefix_size`, `out` to two exports; nobody writes to them meanwhile.
#[no_mangle]
pub unsafe extern "C" fn auditlens_core_container(
    data: *const u8,
    size: usize,
    prefix: *const u8,
    prefix_size: usize,
    out: *mut Export,
) -> i32 {
    if size >= i32::MAX as usize || out.is_null() {
        return FAILED;
    }
    let (data, prefix) = (borrowed(data, size), borrowed(prefix, prefix_size));
    match catch_unwind(|| container::unwrap(data, prefix).map(|tables| tables.map(export))) {
        Ok(Some(tables)) => {
            for (i, table) in tables.into_iter().enumerate() {
                out.add(i).write(table);
            }
            DONE
        }
        _ => FAILED,
    }
}

unsafe fn texts<'a>(piece: &Piece) -> Texts<'a> {
    Texts { data: borrowed(piece.data, piece.size), offsets: std::slice::from_raw_parts(piece.offsets, piece.count + 1) }
}

unsafe fn borrowed<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if data.is_null() {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// What an exported array owns: buffers as vectors, and the pointers to them.
struct Owned {
    _columns: [Vec<u8>; 2],
    _offsets: Vec<i32>,
    _longs: Vec<i64>,
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    dictionary: *mut ArrowArray,
}

struct OwnedSchema {
    _name: CString,
    children: Vec<*mut ArrowSchema>,
    dictionary: *mut ArrowSchema,
}

fn export(table: Table) -> Export {
    let (names, columns): (Vec<_>, Vec<_>) = table.columns.into_iter().unzip();
    let schemas = names.iter().zip(&columns).map(|(name, column)| Box::into_raw(Box::new(column_schema(name, column))));
    let schema = schema("", c"+s", schemas.collect(), null_mut());
    let arrays = columns.into_iter().map(|column| Box::into_raw(Box::new(column_array(column)))).collect();
    let none = Validity { rows: table.rows, ..Validity::default() };
    Export { array: array(none, Vec::new(), Vec::new(), Vec::new(), 1, arrays, null_mut()), schema }
}

fn column_schema(name: &str, column: &Column) -> ArrowSchema {
    match column {
        Column::Text(_) => schema(name, c"u", Vec::new(), null_mut()),
        Column::Long(_) => schema(name, c"l", Vec::new(), null_mut()),
        Column::Codes(_) => schema(name, c"i", Vec::new(), Box::into_raw(Box::new(schema("", c"u", Vec::new(), null_mut())))),
    }
}

fn column_array(column: Column) -> ArrowArray {
    match column {
        Column::Text(text) => text_array(text),
        Column::Long(Long { values, valid }) => array(valid, Vec::new(), Vec::new(), values, 2, Vec::new(), null_mut()),
        Column::Codes(Codes { codes, valid, values, .. }) => {
            let dictionary = Box::into_raw(Box::new(text_array(values)));
            array(valid, codes, Vec::new(), Vec::new(), 2, Vec::new(), dictionary)
        }
    }
}

fn text_array(text: Text) -> ArrowArray {
    array(text.valid, text.offsets, text.data, Vec::new(), 3, Vec::new(), null_mut())
}

/// An array of up to three buffers: validity, then 32- or 64-bit numbers, then bytes.
fn array(
    valid: Validity,
    ints: Vec<i32>,
    data: Vec<u8>,
    longs: Vec<i64>,
    n_buffers: usize,
    children: Vec<*mut ArrowArray>,
    dictionary: *mut ArrowArray,
) -> ArrowArray {
    let bits = if valid.nulls > 0 { valid.bits.as_ptr().cast() } else { null() };
    let numbers = if longs.is_empty() { ints.as_ptr().cast() } else { longs.as_ptr().cast() };
    let buffers = [bits, numbers, data.as_ptr().cast()][..n_buffers].to_vec();
    let (length, null_count) = (valid.rows as i64, valid.nulls as i64);
    let owned = Owned { _columns: [valid.bits, data], _offsets: ints, _longs: longs, buffers, children, dictionary };
    let owned = Box::leak(Box::new(owned));
    ArrowArray {
        length,
        null_count,
        offset: 0,
        n_buffers: n_buffers as i64,
        n_children: owned.children.len() as i64,
        buffers: owned.buffers.as_mut_ptr(),
        children: owned.children.as_mut_ptr(),
        dictionary,
        release: Some(release_array),
        private_data: (owned as *mut Owned).cast(),
    }
}

fn schema(name: &str, format: &'static CStr, children: Vec<*mut ArrowSchema>, dictionary: *mut ArrowSchema) -> ArrowSchema {
    const NULLABLE: i64 = 2;
    let name = CString::new(name).expect("a name of this crate's own");
    let pointer = name.as_ptr();
    let owned = Box::leak(Box::new(OwnedSchema { _name: name, children, dictionary }));
    ArrowSchema {
        format: format.as_ptr(),
        name: pointer,
        metadata: null(),
        flags: NULLABLE,
        n_children: owned.children.len() as i64,
        children: owned.children.as_mut_ptr(),
        dictionary,
        release: Some(release_schema),
        private_data: (owned as *mut OwnedSchema).cast(),
    }
}

/// The consumer may have taken a child or the dictionary away: then its `release` is empty, and only the box is ours.
unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    let owned = Box::from_raw((*array).private_data.cast::<Owned>());
    for child in owned.children.iter().copied().chain((!owned.dictionary.is_null()).then_some(owned.dictionary)) {
        if let Some(release) = (*child).release {
            release(child);
        }
        drop(Box::from_raw(child));
    }
    (*array).release = None;
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    let owned = Box::from_raw((*schema).private_data.cast::<OwnedSchema>());
    for child in owned.children.iter().copied().chain((!owned.dictionary.is_null()).then_some(owned.dictionary)) {
        if let Some(release) = (*child).release {
            release(child);
        }
        drop(Box::from_raw(child));
    }
    (*schema).release = None;
}
