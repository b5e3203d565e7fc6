//! CPU time: on a machine that others use too, the wall clock measures them.

use rustix::time::{ClockId, clock_gettime};

/// CPU time that this process has used so far, all threads, ns.
pub(crate) fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
