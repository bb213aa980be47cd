use bytes::Bytes;

/// What the widest vector instructions load at once, and a line of the processor's cache.
const LINE_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "only its size and alignment are of use")] [u8; LINE_BYTES]);

/// A buffer that starts at a cache line, filled from front to back.
pub(crate) struct AlignedBuffer {
    lines: Vec<CacheLine>,
    filled: usize,
}

impl AlignedBuffer {
    /// Room for `length` bytes.
    pub(crate) fn with_capacity(length: usize) -> Self {
        Self { lines: vec![CacheLine([0; LINE_BYTES]); length.div_ceil(LINE_BYTES)], filled: 0 }
    }

    /// Appends as many of the bytes as there is room for.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let filled = self.filled;
        let room = &mut self.all()[filled..];
        let length = room.len().min(bytes.len());
        room[..length].copy_from_slice(&bytes[..length]);
        self.filled += length;
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn all(&mut self) -> &mut [u8] {
        let length = self.lines.len() * LINE_BYTES;
        // SAFETY: the lines are that many initialised bytes in one piece.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>(), length) }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: no more was filled than the lines hold.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>(), self.filled) }
    }
}

/// The bytes where a back end may read them as elements. What comes from a guest or off the wire in
/// a buffer of its own is aligned already.
pub(crate) fn aligned(bytes: &Bytes, alignment: usize) -> Bytes {
    if bytes.as_ptr().addr().is_multiple_of(alignment) {
        return bytes.clone();
    }
    let mut buffer = AlignedBuffer::with_capacity(bytes.len());
    buffer.append(bytes);
    buffer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_lies_at_a_cache_line() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let content: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut buffer = AlignedBuffer::with_capacity(content.len());
            content.chunks(7).for_each(|chunk| buffer.append(chunk));
            let bytes = buffer.into_bytes();
            assert_eq!(bytes, content);
            assert!(bytes.is_empty() || bytes.as_ptr().addr().is_multiple_of(LINE_BYTES));
        }
    }
}
