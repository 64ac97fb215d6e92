//! Places for values, in chunks: growing moves nothing, and takes no more than a chunk ahead.

/// Places by number, each taken or vacant.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Box<[Option<T>]>>,
    vacant: Vec<u32>,
    /// Places that were ever taken.
    used: u32,
}

/// Bytes of a chunk: a size that the allocator has, so little that what is not yet taken costs little beside what is.
const CHUNK: usize = 4096;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { chunks: Vec::new(), vacant: Vec::new(), used: 0 }
    }
}

impl<T> Slots<T> {
    /// Places in a chunk.
    const PLACES: usize = CHUNK / size_of::<Option<T>>();

    /// Takes a place; its number.
    pub(super) fn add(&mut self, value: T) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            if self.used as usize == self.chunks.len() * Self::PLACES {
                self.chunks.push(std::iter::repeat_with(|| None).take(Self::PLACES).collect());
            }
            self.used += 1;
            self.used - 1
        });
        self.chunks[slot as usize / Self::PLACES][slot as usize % Self::PLACES] = Some(value);
        slot
    }

    /// What has a place.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / Self::PLACES)?[slot as usize % Self::PLACES].as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut(slot as usize / Self::PLACES)?[slot as usize % Self::PLACES].as_mut()
    }

    /// Makes a place vacant; what had it.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let gone = self.chunks.get_mut(slot as usize / Self::PLACES)?[slot as usize % Self::PLACES].take()?;
        self.vacant.push(slot);
        Some(gone)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used as usize
    }

    /// All that have one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_again_once_vacant() {
        let mut slots = Slots::default();
        let places = 3 * Slots::<usize>::PLACES;
        let taken: Vec<u32> = (0..places).map(|value| slots.add(value)).collect();
        assert!(taken.iter().enumerate().all(|(value, slot)| slots.get(*slot) == Some(&value)));
        assert_eq!(slots.take(taken[70]), Some(70));
        assert_eq!((slots.take(taken[70]), slots.get(taken[70])), (None, None));
        assert_eq!(slots.add(1000), taken[70]);
        if let Some(value) = slots.get_mut(taken[70]) {
            *value += 1;
        }
        assert_eq!(slots.iter().max(), Some(&1001));
        assert_eq!((slots.iter().count(), slots.get(u32::MAX)), (places, None));
    }
}
