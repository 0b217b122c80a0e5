//! Columns under construction. ffi.rs gives their buffers away as they are, in Arrow's layout.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Which rows have a value, a bit each.
#[derive(Default)]
pub struct Validity {
    pub bits: Vec<u8>,
    pub rows: usize,
    pub nulls: usize,
}

impl Validity {
    fn push(&mut self, valid: bool) {
        if self.rows % 8 == 0 {
            self.bits.push(0);
        }
        self.bits[self.rows / 8] |= (valid as u8) << (self.rows % 8);
        self.rows += 1;
        self.nulls += !valid as usize;
    }

    fn truncate(&mut self, rows: usize) {
        while self.rows > rows {
            self.rows -= 1;
            let bit = 1 << (self.rows % 8);
            self.nulls -= (self.bits[self.rows / 8] & bit == 0) as usize;
            self.bits[self.rows / 8] &= !bit;
        }
        self.bits.truncate(rows.div_ceil(8));
    }
}

/// Strings. A call's texts are shorter than i32::MAX together, and so is every column made of them.
pub struct Text {
    pub offsets: Vec<i32>,
    pub data: Vec<u8>,
    pub valid: Validity,
}

impl Default for Text {
    fn default() -> Self {
        Text { offsets: vec![0], data: Vec::new(), valid: Validity::default() }
    }
}

impl Text {
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.data.extend_from_slice(value.unwrap_or_default());
        self.offsets.push(i32::try_from(self.data.len()).expect("checked by the caller of the scan"));
        self.valid.push(value.is_some());
    }

    fn get(&self, row: usize) -> &[u8] {
        &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets[rows] as usize);
        self.valid.truncate(rows);
    }
}

#[derive(Default)]
pub struct Long {
    pub values: Vec<i64>,
    pub valid: Validity,
}

impl Long {
    pub fn push(&mut self, value: Option<i64>) {
        self.values.push(value.unwrap_or_default());
        self.valid.push(value.is_some());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.valid.truncate(rows);
    }
}

/// Codes into distinct values; -1 stands under a null.
#[derive(Default)]
pub struct Codes {
    pub codes: Vec<i32>,
    pub valid: Validity,
    pub values: Text,
    slots: Vec<i32>,
    hashes: Vec<u64>,
    seed: u64,
}

impl Codes {
    pub fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish(); // so that nobody can write a log of colliding values
        Codes { slots: vec![-1; 64], seed, ..Codes::default() }
    }

    /// The code of a value that was added before, or the hash to add it with.
    pub fn find(&self, value: &[u8]) -> Result<i32, u64> {
        let hash = hash(value, self.seed);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let code = self.slots[slot];
            if code < 0 {
                return Err(hash);
            }
            if self.hashes[code as usize] == hash && self.values.get(code as usize) == value {
                return Ok(code);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Push a value with what `find` told about it.
    pub fn push(&mut self, value: Option<&[u8]>, found: Result<i32, u64>) {
        let code = value.map(|v| found.unwrap_or_else(|hash| self.add(v, hash)));
        self.codes.push(code.unwrap_or(-1));
        self.valid.push(code.is_some());
    }

    fn add(&mut self, value: &[u8], hash: u64) -> i32 {
        let code = self.hashes.len() as i32;
        self.values.push(Some(value));
        self.hashes.push(hash);
        if self.hashes.len() * 2 > self.slots.len() {
            self.slots = vec![-1; self.slots.len() * 2];
            for code in 0..code {
                self.place(code);
            }
        }
        self.place(code);
        code
    }

    fn place(&mut self, code: i32) {
        let mask = self.slots.len() - 1;
        let mut slot = self.hashes[code as usize] as usize & mask;
        while self.slots[slot] >= 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = code;
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// wyhash's way: sixteen bytes a multiplication.
fn hash(value: &[u8], seed: u64) -> u64 {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mut state = seed ^ value.len() as u64;
    let mut pieces = value.chunks_exact(16);
    for piece in &mut pieces {
        state = mix(word(&piece[..8]) ^ 0xa076_1d64_78bd_642f ^ state, word(&piece[8..]) ^ 0xe703_7ed1_a0b4_28db);
    }
    let mut last = [0u8; 16];
    last[..pieces.remainder().len()].copy_from_slice(pieces.remainder());
    state = mix(word(&last[..8]) ^ 0x8ebc_6af0_9c88_c6e3 ^ state, word(&last[8..]) ^ 0x5899_65cc_7537_4cc3);
    mix(state, 0x9e37_79b9_7f4a_7c15)
}

pub enum Column {
    Text(Text),
    Codes(Codes),
    Long(Long),
}

/// Named columns of as many rows.
pub struct Table {
    pub rows: usize,
    pub columns: Vec<(&'static str, Column)>,
}

/// What belongs to rows of another table: several of them to one, or none.
pub struct Parts {
    pub row: Long,
    pub texts: Vec<Text>,
    names: &'static [&'static str],
}

impl Parts {
    pub fn new(names: &'static [&'static str]) -> Self {
        Parts { row: Long::default(), texts: names.iter().map(|_| Text::default()).collect(), names }
    }

    pub fn len(&self) -> usize {
        self.row.values.len()
    }

    pub fn push(&mut self, row: usize, texts: &[Option<&[u8]>]) {
        self.row.push(Some(row as i64));
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(*text);
        }
    }

    pub fn truncate(&mut self, rows: usize) {
        self.row.truncate(rows);
        self.texts.iter_mut().for_each(|t| t.truncate(rows));
    }

    pub fn table(self) -> Table {
        let rows = self.len();
        let texts = self.names.iter().copied().zip(self.texts.into_iter().map(Column::Text));
        Table { rows, columns: std::iter::once(("row", Column::Long(self.row))).chain(texts).collect() }
    }
}
