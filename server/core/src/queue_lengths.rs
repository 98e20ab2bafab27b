//! How long the queues are, counted as they change: the longest is known without a look at every resource.

/// All queues of one machine.
#[derive(Debug, Default)]
pub(crate) struct QueueLengths {
    waiters: usize,
    /// How many queues have one waiter, two, and so on up to the longest.
    by_length: Vec<usize>,
}

impl QueueLengths {
    /// A queue has one waiter more, and so many now.
    pub(crate) fn grew(&mut self, to: usize) {
        self.waiters += 1;
        if self.by_length.len() < to {
            self.by_length.push(0);
        }
        self.change(to, |queues| queues + 1);
        self.change(to - 1, |queues| queues.saturating_sub(1));
    }

    /// A queue has one waiter less, and so many now.
    pub(crate) fn shrank(&mut self, to: usize) {
        self.waiters = self.waiters.saturating_sub(1);
        self.change(to + 1, |queues| queues.saturating_sub(1));
        self.change(to, |queues| queues + 1);
        while self.by_length.last() == Some(&0) {
            self.by_length.pop();
        }
    }

    /// All who wait.
    pub(crate) const fn waiters(&self) -> usize {
        self.waiters
    }

    /// How many wait in the longest queue.
    pub(crate) const fn longest(&self) -> usize {
        self.by_length.len()
    }

    /// A queue without waiters is none.
    fn change(&mut self, length: usize, how: impl Fn(usize) -> usize) {
        if let Some(queues) = length.checked_sub(1).and_then(|index| self.by_length.get_mut(index)) {
            *queues = how(*queues);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_queue_is_known_whatever_becomes_of_it() {
        let mut lengths = QueueLengths::default();
        for to in [1, 2, 3] {
            lengths.grew(to);
        }
        lengths.grew(1);
        lengths.grew(2);
        assert_eq!((lengths.waiters(), lengths.longest()), (5, 3));
        lengths.shrank(2);
        assert_eq!((lengths.waiters(), lengths.longest()), (4, 2));
        lengths.shrank(1);
        assert_eq!((lengths.waiters(), lengths.longest()), (3, 2), "the other queue has two");
        lengths.shrank(1);
        lengths.shrank(0);
        lengths.shrank(0);
        assert_eq!((lengths.waiters(), lengths.longest()), (0, 0));
    }
}
