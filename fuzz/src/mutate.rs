//! Changes bytes: a few blind ones, and some that parsers of text, JSON and lengths are known to trip over. The words of
//! the corpus itself are the dictionary.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};

/// The longest input.
pub const BYTES_MAX: usize = 32 * 1024;
/// The most words of a dictionary.
const WORDS_MAX: usize = 4096;

/// What stands for trouble in one format or another.
const TROUBLE: [&[u8]; 40] = [
    b"0",
    b"-1",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"2147483648",
    b"NaN",
    b"null",
    b"true",
    b"\"\"",
    b"{}",
    b"[]",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\xae",
    b"\0",
    b"\r\n",
    b"\n\n",
    b"%00",
    b"%zz",
    b"&payload=",
    b"../",
    b"'; --",
    b"<!--",
    b"```",
    b"{{",
    b"\x1b[31m",
    b"2026-02-30T25:61:61Z",
    b"resets 3am (Europe/Berlin)",
    b"in 99999999999999999999 hours",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"=",
    b"\"",
];

/// The words of a corpus.
#[derive(Debug)]
pub struct Dictionary(Vec<Vec<u8>>);

impl Dictionary {
    /// Runs of letters, digits and what joins them, of three bytes or more.
    pub fn of<'a>(inputs: impl Iterator<Item = &'a [u8]>) -> Self {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(byte);
        let words: BTreeSet<Vec<u8>> = inputs
            .flat_map(|input| input.split(move |byte| !is_word(byte)))
            .filter(|word| (3..=64).contains(&word.len()))
            .map(<[u8]>::to_vec)
            .take(WORDS_MAX)
            .collect();
        Self(words.into_iter().chain(TROUBLE.iter().map(|word| word.to_vec())).collect())
    }
}

/// A few changes to `input`; `other` is another input to take pieces of.
pub fn mutate(input: &[u8], other: &[u8], dictionary: &Dictionary, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=6) {
        change(&mut bytes, other, dictionary, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dictionary: &Dictionary, random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    let some = random.random_range(0..=16.min(bytes.len() - at));
    match random.random_range(0..9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.random();
            }
        }
        2 => drop(bytes.drain(at..at + some)),
        3 => {
            let piece = bytes[at..at + some].to_vec();
            insert(bytes, at, &piece.repeat(random.random_range(1..=64)));
        }
        4 => {
            let mut blind = [0; 8];
            random.fill_bytes(&mut blind);
            insert(bytes, at, &blind[..random.random_range(1..=8)]);
        }
        5 | 6 => {
            if let Some(word) = dictionary.0.choose(random) {
                if random.random() {
                    bytes.drain(at..at + some);
                }
                insert(bytes, at, word);
            }
        }
        7 => {
            let from = random.random_range(0..=other.len());
            let piece = &other[from..(from + random.random_range(0..256)).min(other.len())];
            insert(bytes, at, piece);
        }
        _ => bytes.truncate(at),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() + piece.len() <= BYTES_MAX {
        bytes.splice(at..at, piece.iter().copied());
    }
}
