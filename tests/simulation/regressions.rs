//! Seeds that found something once, and what. They are simulated each time. (A change of what is drawn from the dice makes other
//! simulations of them: then their worth is that of any seed, and the test beside the fix is what holds it.)

/// Seeds, and what they found.
pub(crate) const REGRESSIONS: &[(u64, &str)] = &[];
