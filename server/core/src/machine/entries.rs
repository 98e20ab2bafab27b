//! The acquires that one hold stands for.

/// The session's numbers of the acquires that a hold stands for, oldest first. Nearly always it is one, which needs no
/// memory of its own.
#[derive(Debug)]
pub(super) enum Entries {
    One(u64),
    Many(Vec<u64>),
}

impl Entries {
    pub(super) fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn push(&mut self, entry: u64) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, entry]),
            Self::Many(entries) => entries.push(entry),
        }
    }

    /// Takes out one of them.
    pub(super) fn remove(&mut self, entry: u64) {
        *self = self.as_slice().iter().copied().filter(|known| *known != entry).collect();
    }
}

impl FromIterator<u64> for Entries {
    fn from_iter<I: IntoIterator<Item = u64>>(entries: I) -> Self {
        let entries = Vec::from_iter(entries);
        match entries[..] {
            [entry] => Self::One(entry),
            _ => Self::Many(entries),
        }
    }
}
