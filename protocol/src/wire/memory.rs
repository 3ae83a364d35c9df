//! Memory that large frames arrive in, used again: the first touch of a fresh page costs more than receiving into it.
//!
//! Whoever has used a frame up gives its memory back; what is not given back is freed as usual. One store serves the process, so that what one
//! connection no longer needs the next one has.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::limits::FRAME_BYTES_MAX;

/// Free memory, the one given back last at the end: it is still in the processor's caches.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Pieces that are kept.
const FREE_MAX: usize = 12;
/// Capacities are multiples of this, so that frames of similar objects fit each other.
const GRAIN: usize = 512 * 1024;

/// Empty memory for at least `length` bytes, and at most half as many again.
pub fn take(length: usize) -> BytesMut {
    let least = length.next_multiple_of(GRAIN);
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |piece: &Vec<u8>| (least..=least + least / 2).contains(&piece.capacity());
    let found = free.iter().rposition(fits).map(|at| free.remove(at));
    drop(free);
    found.map_or_else(|| BytesMut::with_capacity(least), |piece| BytesMut::from(Bytes::from(piece)))
}

/// Gives the memory of a frame back, of which nobody else holds a part. The oldest piece is freed if there are enough.
pub fn give_back(mut memory: BytesMut) {
    memory.clear();
    // With what was split off its front, if nobody holds that; else without anything.
    let memory = Vec::from(memory);
    if !(GRAIN..=FRAME_BYTES_MAX + GRAIN).contains(&memory.capacity()) {
        return;
    }
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let oldest = (free.len() >= FREE_MAX).then(|| free.remove(0));
    free.push(memory);
    drop(free);
    drop(oldest);
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, since the store is shared.
    #[test]
    fn memory_comes_back_whole_and_is_bounded() {
        let mut memory = take(1_500_000);
        let address = memory.as_ptr();
        memory.extend_from_slice(&[7; 1_500_000]);
        let mut frame = memory.freeze();
        let held = frame.split_to(100);
        let sealed = frame.split_off(40);
        drop(frame);
        let sealed = sealed.try_into_mut().expect_err("its neighbour is held");
        drop(held);
        give_back(sealed.try_into_mut().expect("nobody else holds it"));
        let again = take(1_500_000);
        assert!(again.is_empty() && again.capacity() >= 1_500_000);
        assert_eq!(again.as_ptr(), address, "from its very start");
        give_back(again);
        assert!(take(100).capacity() < 2 * GRAIN, "never much too large");

        (0..3 * FREE_MAX).for_each(|_| give_back(BytesMut::with_capacity(GRAIN)));
        give_back(BytesMut::with_capacity(2 * FRAME_BYTES_MAX));
        let free = FREE.lock().unwrap();
        assert_eq!(free.len(), FREE_MAX);
        assert!(free.iter().all(|piece| piece.capacity() <= FRAME_BYTES_MAX + GRAIN));
    }
}
