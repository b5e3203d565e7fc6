//! What is measured with: CPU time, allocations, time inside polls, medians.

mod clock;
mod polls;

pub(crate) use clock::cpu_ns;
pub(crate) use polls::{cost_of_clock, poll_timed};

/// The middle value; of an even number the upper one. NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The mean of the middle half: as steady as a median, and fine where the clock is coarse. NaN of none.
pub(crate) fn middle_mean(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let middle = &values[quarter..values.len() - quarter];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// Takes a value as if it mattered, so that nothing is optimised away for lack of use.
#[inline]
pub(crate) fn used<T>(value: T) {
    let _used = std::hint::black_box(value);
}

/// Allocations made by this thread while `work` runs, growing one in place not counted.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}
