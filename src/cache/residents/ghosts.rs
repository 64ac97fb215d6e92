//! How often those were asked for that have been given up: a small table that forgets by itself.

/// Frequencies of keys that are gone, by hash. Each has one place, and a newcomer takes it from whoever was there.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// A power of two of them, or none.
    places: Vec<Ghost>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ghost {
    /// A part of the hash that does not choose the place.
    name: u16,
    /// 0: nobody.
    frequency: u16,
}

impl Ghosts {
    /// Remembers one; `living` is the number of those still there, whose double are remembered.
    pub(super) fn add(&mut self, hash: u64, frequency: u16, living: usize) {
        let wanted = (2 * living).next_power_of_two();
        // Growing forgets those that there were: their places change, and there were fewer of them.
        if self.places.len() < wanted {
            self.places = vec![Ghost::default(); wanted];
        }
        let place = self.place(hash);
        self.places[place] = Ghost { name: hash as u16, frequency };
    }

    /// The frequency of one that comes back.
    pub(super) fn take(&mut self, hash: u64) -> Option<u16> {
        if self.places.is_empty() {
            return None;
        }
        let place = self.place(hash);
        let ghost = &mut self.places[place];
        let known = ghost.name == hash as u16 && ghost.frequency > 0;
        known.then(|| std::mem::take(&mut ghost.frequency))
    }

    fn place(&self, hash: u64) -> usize {
        (hash >> 37) as usize & (self.places.len() - 1)
    }
}
