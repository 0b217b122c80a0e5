//! Stamps the library with its sources, so that a checkout does not run a core that was built from others.

use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let entries = fs::read_dir("src").expect("the sources").map(|entry| entry.expect("a source").path());
    let mut paths: Vec<PathBuf> = entries.chain([PathBuf::from("Cargo.toml")]).collect();
    paths.sort();
    let crc = paths.iter().fold(!0, |crc, path| crc32(crc, &fs::read(path).expect("a file of this crate")));
    println!("cargo:rustc-env=CORE_SOURCES={:08x}", !crc);
}

/// As zlib has it, which Python calls.
fn crc32(crc: u32, data: &[u8]) -> u32 {
    data.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}
