//! Which of several services is asked next. Pure.

/// How a service is, as far as that decides whether it is asked. The better stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It can be asked, or tried.
    Ready,
    /// It asked to be left alone for a while.
    Paused,
    /// Its breaker is open, or half open while another request tries it. It answers health checks.
    Open,
    /// Its breaker is open, and it does not answer.
    Away,
}

/// A service that can do what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// How it is.
    pub(crate) standing: Standing,
    /// How often it has failed in this matter.
    pub(crate) failed: u32,
}

/// Which to ask next, best first: all that are equally good, in the order of the list. The first of them that has
/// room is meant; where none has, it is worth waiting for whichever has first.
///
/// The best standing counts first, then how seldom it has failed in this matter. So where all breakers are open, the
/// least bad is asked. Empty: there is nobody to ask.
pub(crate) fn choose(candidates: &[Candidate]) -> Vec<usize> {
    let rank = |candidate: &Candidate| (candidate.standing, candidate.failed);
    let Some(best) = candidates.iter().map(rank).min() else { return Vec::new() };
    (0..candidates.len()).filter(|index| rank(&candidates[*index]) == best).collect()
}

#[cfg(test)]
mod tests {
    use super::Standing::{Away, Open, Paused, Ready};
    use super::*;

    fn chosen<const N: usize>(candidates: [(Standing, u32); N]) -> Vec<usize> {
        choose(&candidates.map(|(standing, failed)| Candidate { standing, failed }))
    }

    #[test]
    fn the_first_that_is_well_and_has_not_failed_is_asked() {
        assert_eq!(chosen([(Ready, 0), (Ready, 0)]), [0, 1]);
        assert_eq!(chosen([(Ready, 1), (Ready, 0)]), [1]);
        assert_eq!(chosen([(Open, 0), (Ready, 0)]), [1]);
        assert_eq!(chosen([(Paused, 0), (Ready, 2)]), [1], "it is well, as far as is known");
        assert_eq!(chosen([]), Vec::<usize>::new());
    }

    #[test]
    fn where_all_are_open_the_least_bad_is_asked() {
        assert_eq!(chosen([(Away, 0), (Open, 0)]), [1]);
        assert_eq!(chosen([(Away, 1), (Away, 0)]), [1]);
        assert_eq!(chosen([(Open, 1), (Open, 1)]), [0, 1]);
        assert_eq!(chosen([(Away, 9)]), [0], "a single one is always asked");
    }
}
