//! Output whose every byte is known from its place, so that what was kept of gigabytes can be checked exactly:
//! numbered lines of [`LINE_BYTES`], which are no events.

/// The length of a line, with its end.
pub const LINE_BYTES: usize = 256;
/// Bytes made at once; as much as a pipe holds.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Digits of a line's number.
const DIGITS: usize = 16;

/// A block of the flood, made again for each place.
#[derive(Debug)]
pub struct Block(Vec<u8>);

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

impl Block {
    /// The block at the beginning.
    pub fn new() -> Self {
        let mut line = vec![b'.'; LINE_BYTES];
        line[LINE_BYTES - 1] = b'\n';
        Self(line.repeat(BLOCK_BYTES / LINE_BYTES))
    }

    /// The bytes at `offset`, which begins a line.
    ///
    /// # Panics
    /// It does not.
    pub fn at(&mut self, offset: u64) -> &[u8] {
        let first = offset / LINE_BYTES as u64;
        assert_eq!(first * LINE_BYTES as u64, offset, "a block begins with a line");
        for (line, number) in self.0.chunks_exact_mut(LINE_BYTES).zip(first..) {
            for (place, digit) in line[..DIGITS].iter_mut().rev().enumerate() {
                *digit = b"0123456789abcdef"[usize::try_from(number >> (4 * place) & 0xf).unwrap_or(0)];
            }
        }
        &self.0
    }

    /// Whether `bytes` are those of the flood at `offset`.
    pub fn holds(&mut self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skip = usize::try_from(offset % LINE_BYTES as u64).unwrap_or(0);
            let expected = &self.at(offset - skip as u64)[skip..];
            let length = bytes.len().min(expected.len());
            if bytes[..length] != expected[..length] {
                return false;
            }
            offset += length as u64;
            bytes = &bytes[length..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_known_from_its_place() {
        let mut block = Block::new();
        let whole = [block.at(0).to_vec(), block.at(BLOCK_BYTES as u64).to_vec()].concat();
        assert!(
            whole.starts_with(b"0000000000000000..")
                && whole[LINE_BYTES..].starts_with(b"0000000000000001..")
        );
        assert_eq!(whole[LINE_BYTES - 1], b'\n');
        for (from, to) in [(0, whole.len()), (1, 2), (255, 257), (300, 70_000), (65_535, 65_537)] {
            assert!(block.holds(from as u64, &whole[from..to]), "{from}..{to}");
        }
        assert!(!block.holds(256, &whole[..256]));
        assert!(!block.holds(0, &whole[256..512]));
    }
}
