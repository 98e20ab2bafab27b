//! How the partitions are, and what that means for an operator.

use lockstead_core::Time;

use crate::{Readiness, StoreView};

/// How a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Out of reach, and why.
    Away(String),
    /// In its reclaim window, which ends then.
    Reclaiming(Time),
    Serving,
}

/// How many partitions are in which state.
pub(super) fn view(statuses: &[Status]) -> StoreView {
    let mut view = StoreView::default();
    for status in statuses {
        match status {
            Status::Away(_) => view.away += 1,
            Status::Reclaiming(_) => view.reclaiming += 1,
            Status::Serving => view.serving += 1,
        }
    }
    view
}

/// What the statuses of all partitions mean for an operator.
pub(super) fn readiness(statuses: &[Status]) -> Readiness {
    let away: Vec<(usize, &str)> = statuses
        .iter()
        .enumerate()
        .filter_map(|(partition, status)| match status {
            Status::Away(why) => Some((partition, why.as_str())),
            _ => None,
        })
        .collect();
    if let Some((_, why)) = away.first() {
        let which: Vec<_> = away.iter().map(|(partition, _)| partition.to_string()).collect();
        let is_all = away.len() == statuses.len();
        let share = if is_all { String::new() } else { format!(" for partition {}", which.join(", ")) };
        return Readiness::NotReady(format!("Redis can't be used{share}: {why}"));
    }
    let reclaiming = statuses.iter().any(|status| matches!(status, Status::Reclaiming(_)));
    if reclaiming {
        let why = "Redis has just started, failed over, or lost its data: for one server lease nothing new is granted, so that \
                   those who hold something can say so. This ends by itself";
        return Readiness::NotReady(why.to_owned());
    }
    Readiness::Ready
}
