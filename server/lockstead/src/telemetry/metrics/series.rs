//! Counters and histograms that many threads add to at once, without a lock and without each other's cache lines.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::labels::Label;

/// Each thread adds to one of so many copies, and whoever reads adds them up.
const COPIES: usize = 8;

/// The copy of this thread.
fn copy() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static COPY: Cell<Option<usize>> = const { Cell::new(None) } }
    COPY.with(|copy| {
        copy.get().unwrap_or_else(|| {
            let mine = THREADS.fetch_add(1, Ordering::Relaxed) % COPIES;
            copy.set(Some(mine));
            mine
        })
    })
}

/// Two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter([Apart<AtomicU64>; COPIES]);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        if let Some(Apart(mine)) = self.0.get(copy()) {
            mine.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|Apart(copy)| copy.load(Ordering::Relaxed)).sum()
    }
}

/// How often something took how long. Its bounds are in microseconds, as the clock counts.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    copies: [Apart<Box<[AtomicU64]>>; COPIES],
    sum: Counter,
}

/// What a histogram has seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many took up to each bound, in microseconds, and not up to the one before.
    pub(crate) buckets: Vec<(u64, u64)>,
    /// How many took longer than that.
    pub(crate) longer: u64,
    pub(crate) sum_micros: u64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let buckets = || Apart((0..=bounds.len()).map(|_| AtomicU64::new(0)).collect());
        Self { bounds, copies: std::array::from_fn(|_| buckets()), sum: Counter::default() }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.copies.get(copy()).and_then(|Apart(buckets)| buckets.get(bucket)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.add(micros);
    }

    pub(crate) fn seen(&self) -> Seen {
        let in_bucket = |index: usize| -> u64 {
            let copies = self.copies.iter().filter_map(|Apart(buckets)| buckets.get(index));
            copies.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
        };
        Seen {
            buckets: self.bounds.iter().enumerate().map(|(index, bound)| (*bound, in_bucket(index))).collect(),
            longer: in_bucket(self.bounds.len()),
            sum_micros: self.sum.get(),
        }
    }
}

/// One of something for each value of a label. All of them are there from the start, so that nobody looks for them, and a
/// value that has not come up yet reads 0.
#[derive(Debug)]
pub(crate) struct Each<L, T> {
    of: Vec<T>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label, T> Each<L, T> {
    pub(crate) fn new(one: impl Fn() -> T) -> Self {
        Self { of: (0..L::COUNT).map(|_| one()).collect(), label: std::marker::PhantomData }
    }

    /// The one of this value.
    #[expect(clippy::indexing_slicing, reason = "there is one for every value")]
    pub(crate) fn of(&self, label: L) -> &T {
        &self.of[label.index()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (L, &T)> {
        self.of.iter().enumerate().map(|(index, one)| (L::nth(index), one))
    }
}

impl<L: Label, T: Default> Default for Each<L, T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_with_its_bound() {
        let histogram = Histogram::new(&[10, 100]);
        for micros in [0, 10, 11, 100, 101, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let seen = Seen { buckets: vec![(10, 2), (100, 2)], longer: 2, sum_micros: 5_000_222 };
        assert_eq!(histogram.seen(), seen);
    }

    #[test]
    fn what_many_threads_add_is_all_there() {
        let (counter, histogram) = (Counter::default(), Histogram::new(&[1]));
        std::thread::scope(|scope| {
            for _ in 0..2 * COPIES {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(2);
                        histogram.observe(Duration::from_micros(1));
                    }
                });
            }
        });
        let count = 1000 * 2 * COPIES as u64;
        assert_eq!(counter.get(), 2 * count);
        assert_eq!(histogram.seen(), Seen { buckets: vec![(1, count)], longer: 0, sum_micros: count });
    }
}
