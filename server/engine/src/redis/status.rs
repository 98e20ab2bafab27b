//! How the partitions are, and what that means for an operator.

use lockstead_core::Time;

use crate::Readiness;

/// How a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Out of reach, and why.
    Away(String),
    /// In its reclaim window, which ends then.
    Reclaiming(Time),
    Serving,
}

/// What the statuses of all partitions mean for an operator.
pub(super) fn readiness(statuses: &[Status]) -> Readiness {
    let away: Vec<&str> = statuses
        .iter()
        .filter_map(|status| match status {
            Status::Away(why) => Some(why.as_str()),
            _ => None,
        })
        .collect();
    if let Some(why) = away.first() {
        let (count, all) = (away.len(), statuses.len());
        let share = if count == all { String::new() } else { format!(" for {count} of {all} partitions") };
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
