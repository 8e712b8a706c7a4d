//! Finds secrets in what agents print, and covers each byte of them with an asterisk: what is covered is as long as what
//! was there, so that offsets stay true. A secret counts as it is and as JSON writes it; one that was encoded otherwise
//! is not recognized.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::Secret;

/// A shorter secret is not looked for: it may be part of anything.
const BYTES_MIN: usize = 8;
/// Nor is a longer one.
const BYTES_MAX: usize = 4096;

/// The secrets to cover. Clones share them; `Debug` shows none.
#[derive(Clone, Default)]
pub struct Mask(Arc<BTreeSet<Vec<u8>>>);

impl Mask {
    /// Covers these.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let forms = secrets.into_iter().flat_map(|secret| {
            let plain = secret.expose();
            let json = serde_json::to_string(plain).unwrap_or_default();
            let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default();
            [plain.as_bytes().to_vec(), json.as_bytes().to_vec()]
        });
        Self(Arc::new(forms.filter(|form| (BYTES_MIN..=BYTES_MAX).contains(&form.len())).collect()))
    }

    /// Whether there is nothing to cover.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes before a place may belong to a secret that goes on there.
    pub fn reach(&self) -> u64 {
        self.0.iter().map(Vec::len).max().unwrap_or(1) as u64 - 1
    }

    /// Covers every secret in `bytes`, also where two overlap; whether there was one.
    pub fn cover(&self, bytes: &mut [u8]) -> bool {
        let found = self.find(bytes);
        for (from, to) in &found {
            bytes[*from..*to].fill(b'*');
        }
        !found.is_empty()
    }

    /// Where secrets are.
    fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for form in self.0.iter() {
            let finder = memchr::memmem::Finder::new(form);
            let mut at = 0;
            while let Some(place) = finder.find(&bytes[at..]) {
                found.push((at + place, at + place + form.len()));
                at += place + 1;
            }
        }
        found
    }

    /// Covers every secret in a text.
    pub fn cover_text(&self, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        self.cover(&mut bytes);
        // Whole characters were covered: a secret is a text itself.
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }

    /// How many bytes at the end of `bytes` may be the beginning of a secret.
    fn begun(&self, bytes: &[u8]) -> usize {
        let of = |form: &Vec<u8>| {
            (1..form.len().min(bytes.len() + 1)).rev().find(|n| bytes.ends_with(&form[..*n]))
        };
        self.0.iter().filter_map(of).max().unwrap_or(0)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({})", self.0.len())
    }
}

/// Covers the secrets in a stream that comes in pieces: what may be the beginning of one is held until it is known.
#[derive(Clone, Debug)]
pub struct Veil {
    mask: Mask,
    /// As they came, and whether a secret ends among them.
    held: Vec<(u8, bool)>,
    /// The offset after what came.
    end: u64,
}

impl Veil {
    /// A stream that is at `offset`.
    pub fn new(mask: Mask, offset: u64) -> Self {
        Self { mask, held: Vec::new(), end: offset }
    }

    /// Takes the bytes at `offset`; gives the offset and bytes of what is known now. Where they do not follow what came
    /// before, that is lost.
    pub fn take(&mut self, offset: u64, bytes: Vec<u8>) -> (u64, Vec<u8>) {
        if offset != self.end {
            self.held.clear();
        }
        self.end = offset + bytes.len() as u64;
        if self.mask.is_empty() {
            return (offset, bytes);
        }
        let held = std::mem::take(&mut self.held);
        let mut all: Vec<u8> = held.iter().map(|(byte, _)| *byte).chain(bytes).collect();
        let mut hidden: Vec<bool> = held.iter().map(|(_, hidden)| *hidden).collect();
        hidden.resize(all.len(), false);
        for (from, to) in self.mask.find(&all) {
            hidden[from..to].fill(true);
        }
        let known = all.len() - self.mask.begun(&all);
        self.held = all.drain(known..).zip(hidden.drain(known..)).collect();
        cover(&mut all, &hidden);
        (self.end - (self.held.len() + all.len()) as u64, all)
    }

    /// Whether bytes at `offset` follow what came.
    pub fn continues(&self, offset: u64) -> bool {
        offset == self.end
    }

    /// What is held, since nothing follows it, and where it belongs.
    pub fn finish(&mut self) -> Option<(u64, Vec<u8>)> {
        let (mut held, hidden): (Vec<u8>, Vec<bool>) = std::mem::take(&mut self.held).into_iter().unzip();
        cover(&mut held, &hidden);
        (!held.is_empty()).then(|| (self.end - held.len() as u64, held))
    }
}

fn cover(bytes: &mut [u8], hidden: &[bool]) {
    for (byte, _) in bytes.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden) {
        *byte = b'*';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let secrets: Vec<Secret> = secrets.iter().copied().map(Secret::new).collect();
        Mask::new(&secrets)
    }

    #[test]
    fn secrets_are_covered_as_they_are_and_as_json_writes_them() {
        let mask = mask(&["hunter2-hunter2", "two\"quotes\"", "short", "grün-grün"]);
        let covered = |text: &str| {
            let mut text = text.to_owned();
            mask.cover_text(&mut text);
            text
        };
        assert_eq!(covered("a hunter2-hunter2, hunter2-hunter2"), "a ***************, ***************");
        assert_eq!(covered(r#"{"a":"two\"quotes\"","b":"short"}"#), r#"{"a":"*************","b":"short"}"#);
        assert_eq!(covered("two\"quotes\""), "***********");
        assert_eq!(covered("ein grün-grün"), "ein ***********");
        assert_eq!(format!("{mask:?}"), "Mask(4)");
    }

    #[test]
    fn secrets_that_overlap_are_covered_whole() {
        let mut text = b"xabcdabcdabcdx".to_vec();
        mask(&["abcdabcd", "cdabcdab"]).cover(&mut text);
        assert_eq!(text, b"x************x");
    }

    #[test]
    fn what_does_not_follow_is_a_stream_of_its_own() {
        let mut veil = Veil::new(mask(&["0123456789"]), 100);
        assert_eq!(veil.take(100, b"ab0123".to_vec()), (100, b"ab".to_vec()));
        assert_eq!(veil.take(500, b"456789".to_vec()), (500, b"456789".to_vec()));
        assert_eq!(veil.take(506, b"01".to_vec()), (506, Vec::new()));
        assert_eq!(veil.finish(), Some((506, b"01".to_vec())));
        assert_eq!(veil.finish(), None);
    }

    proptest::proptest! {
        #[test]
        fn however_it_is_cut_the_stream_is_covered_as_a_whole(
            words in proptest::collection::vec("(aabaabaac|aab|a|b|c|secret-secret|-secret|ecret-cab)", 0..20),
            cuts in proptest::collection::vec(0..6_usize, 0..60),
        ) {
            let mask = mask(&["aabaabaac", "secret-secret", "ecret-cab"]);
            let whole: Vec<u8> = words.concat().into_bytes();
            let mut expected = whole.clone();
            mask.cover(&mut expected);
            let (mut veil, mut shown, mut at) = (Veil::new(mask, 7), Vec::new(), 0);
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let to = at + cut.min(whole.len() - at);
                let (offset, bytes) = veil.take(7 + at as u64, whole[at..to].to_vec());
                proptest::prop_assert_eq!(offset, 7 + shown.len() as u64);
                shown.extend(bytes);
                at = to;
            }
            if let Some((offset, bytes)) = veil.finish() {
                proptest::prop_assert_eq!(offset, 7 + shown.len() as u64);
                shown.extend(bytes);
            }
            proptest::prop_assert_eq!(String::from_utf8(shown), String::from_utf8(expected));
        }
    }
}
