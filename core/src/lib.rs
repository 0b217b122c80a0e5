//! Audit lines into columns, at memory speed: the native core of auditlens' import.
//!
//! The texts of whole events go in, Arrow columns come out. What is not plain is left out, and the caller's exact path reads
//! it; so redaction and every oddity live in one place, in Python, and this crate never decides what an odd event means. Texts that
//! may hold a value to redact are not read by it: `automaton` tells which, by the expression that the caller gives, as RE2 would.
//!
//! What is validated where:
//! - `audit::Scanner::line` takes a text only if it is UTF-8 (all of it, before anything else looks at it) and is one JSON
//!   object to its end.
//! - `json` checks the grammar of RFC 8259 in full, also of what is only passed over: escapes, numbers, nesting. What is
//!   valid but read differently by different readers is refused too: surrogate escapes, NUL, numbers beyond a double's
//!   range, more than 127 levels.
//! - `audit` refuses a member it does not know, a member that comes twice, and every type audit.k8s.io/v1 does not give a
//!   field.
//! - `lines` and `container` take a chunk only if each of its lines is of one form, and holds one whole document as far as brackets
//!   tell; what they let through is read by `audit` all the same.
//! - `shape` checks the fragments that are kept as JSON (user, annotations, ...), once for each distinct one.
//! - `ffi` alone is unsafe: it borrows the caller's buffers for one call, gives buffers away, and lets no panic out.
//!
//! Memory is bounded by the input of one call: no column is longer than the texts, and nothing outlives the call but what it
//! gave away, and what `automaton` knows of an expression: some 20 MB at most.
#![deny(unsafe_code)]

mod audit;
mod automaton;
mod columns;
mod container;
mod ffi;
mod json;
mod lines;
mod needles;
mod pattern;
mod shape;
mod time;

#[cfg(test)]
mod pattern_tests;
#[cfg(test)]
mod tests;
