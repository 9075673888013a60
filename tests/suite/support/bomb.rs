//! Compressed bombs: a gibibyte of zeros in a thousandth of the room.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

const MIB: usize = 1 << 20;
const MIBS: usize = 1024;
/// Of all the zeros.
const CRC_32: u32 = 0x5b64_c2b0;
const ADLER_32: u32 = 0xc02d_0001;

/// One for `Content-Encoding: gzip` (RFC 1952).
pub fn gzip() -> Vec<u8> {
    let length = u32::try_from(MIB * MIBS).unwrap();
    let head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
    [head, &zeros()[..], &CRC_32.to_le_bytes(), &length.to_le_bytes()].concat()
}

/// One for `gzip, gzip`: a bomb that fits as a whole into what is read of an answer.
pub fn gzip_in_gzip() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&gzip()).unwrap();
    encoder.finish().unwrap()
}

/// One for `deflate`, which means the format of zlib (RFC 1950).
pub fn deflate() -> Vec<u8> {
    [b"\x78\xda", &zeros()[..], &ADLER_32.to_be_bytes()].concat()
}

/// Compressed once: each further mebibyte is the same bytes, since there are nothing but zeros behind it, too.
fn zeros() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; MIB]).unwrap();
    encoder.flush().unwrap();
    let part = encoder.get_ref().clone();
    let whole = encoder.finish().unwrap();
    [part.repeat(MIBS), whole[part.len()..].to_vec()].concat()
}
