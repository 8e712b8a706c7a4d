//! A run's log: bytes at offsets, with gaps declared rather than hidden.

/// The largest chunk that travels.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A piece of a run's log. Offsets count every byte the agent printed, dropped ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// Bytes that are there.
    Bytes {
        /// Offset of the first.
        offset: u64,
        /// At most [`CHUNK_BYTES_MAX`] of them.
        bytes: Vec<u8>,
    },
    /// Bytes that were dropped because the agent printed more than the spool may hold.
    Gap {
        /// Offset of the first dropped byte.
        from: u64,
        /// Offset after the last.
        to: u64,
    },
}

impl LogPiece {
    /// The offset after this piece.
    pub fn end(&self) -> u64 {
        match self {
            Self::Bytes { offset, bytes } => offset + bytes.len() as u64,
            Self::Gap { to, .. } => *to,
        }
    }
}
