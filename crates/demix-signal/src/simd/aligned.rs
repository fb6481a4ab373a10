//! [`Aligned`]: a buffer that begins at a cache line, so that no register load crosses two.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
pub const LINE_BYTES: usize = 64;

/// Numbers from the beginning of a cache line on.
#[derive(Debug, Default)]
pub struct Aligned<T> {
    buffer: Vec<T>,
    first: usize,
    length: usize,
}

impl<T: Copy> Aligned<T> {
    /// `length` times `value`.
    pub fn new(length: usize, value: T) -> Self {
        let spare = LINE_BYTES / size_of::<T>();
        let buffer = vec![value; length + spare];
        let first = buffer.as_ptr().align_offset(LINE_BYTES).min(spare);
        Self { buffer, first, length }
    }

    /// Makes room for `length` numbers: of any value, if they were there before.
    pub fn resize(&mut self, length: usize, value: T) {
        if self.first + length > self.buffer.len() {
            *self = Self::new(length, value);
        }
        self.length = length;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.buffer[self.first..self.first + self.length]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.first..self.first + self.length]
    }
}
