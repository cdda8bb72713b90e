//! What follows an attempt: relay its answer, send again, wait, or end the call (OWN-8, OWN-9). Pure: time and chance are
//! arguments.

use cell_map::{CellId, OwnerEpochs};
use std::time::{Duration, Instant};

/// Largest message that may be sent again, in bytes (OWN-9).
pub const REPLAY_BYTES: usize = 64 * 1024;
/// Most redirects followed in one call.
pub const MAX_REDIRECTS: u8 = 3;
/// Most times a call that reached nobody is sent again.
pub const MAX_RESENDS: u8 = 4;
/// First wait after `MOVING` without RetryInfo; it doubles up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_millis(10);
/// Longest wait between two attempts of a parked call.
pub const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Wait before a call that reached nobody is sent again; it doubles.
const RESEND_WAIT: Duration = Duration::from_millis(2);
/// First wait before a call that was answered UNAVAILABLE is sent again; it doubles up to [`LONGEST_WAIT`].
const BACKOFF: Duration = Duration::from_millis(10);

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was sent: there is no connection. The message is still held, whatever its size.
    Unsent,
    /// Sent, but no application saw it: `REFUSED_STREAM`, or a GOAWAY below its stream.
    Refused,
    /// The stream or connection broke before an answer: the request may have been processed.
    Lost,
    /// An answer that says nothing of ownership.
    Answer,
    /// Trailers-only `WRONG_CELL`.
    WrongCell {
        /// Whom it names.
        owner: CellId,
        /// With which epochs.
        epochs: OwnerEpochs,
        /// Whether the runtime vouches that nothing was committed.
        unprocessed: bool,
    },
    /// Trailers-only `MOVING`.
    Moving {
        /// RetryInfo's delay.
        retry_after: Option<Duration>,
        /// Whether the runtime vouches that nothing was committed.
        unprocessed: bool,
    },
    /// UNAVAILABLE, of which only a client makes more than an answer.
    Unavailable(Advice),
}

/// What a server says about sending a call again: `grpc-retry-pushback-ms` (gRFC A6) or RetryInfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    None,
    /// After so long.
    After(Duration),
    /// Not at all.
    Never,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Pass the answer back as it is.
    Relay,
    /// Decide again and send again after this wait (which may be zero).
    Resend(Duration),
    /// As [`Next::Resend`], but the call waits for a move: it counts against the parking budget.
    Park(Duration),
    /// End the call.
    End(Ending),
}

/// Why a call ends without the answer of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// UNAVAILABLE, `CELL_UNREACHABLE`: nobody saw the request.
    Unreachable,
    /// UNAVAILABLE, `CELL_UNREACHABLE`: somebody may have processed it.
    Lost,
    /// ABORTED, `MOVED`: the owner changed after something was committed.
    Aborted,
    /// UNAVAILABLE, `MOVED`: the owner changed and the router may not send again.
    Moved,
    /// DEADLINE_EXCEEDED.
    Deadline,
}

/// The attempts of one call.
#[derive(Clone, Debug)]
pub struct Retry {
    first_router: bool,
    patient: bool,
    replayable: bool,
    repeatable: bool,
    deadline: Instant,
    redirects: u8,
    resends: u8,
    repeated: bool,
    parks: u32,
    waits_until: Option<Instant>,
}

impl Retry {
    /// A call that arrived with `hops`, whose message has `message_bytes`, that must end by `deadline`; `repeatable` if its
    /// method has no side effects.
    #[must_use]
    pub const fn new(hops: u8, message_bytes: usize, repeatable: bool, deadline: Instant) -> Self {
        Self {
            first_router: hops == 0,
            patient: false,
            replayable: message_bytes <= REPLAY_BYTES,
            repeatable,
            deadline,
            redirects: 0,
            resends: 0,
            repeated: false,
            parks: 0,
            waits_until: None,
        }
    }

    /// A client's call, which nobody stands behind: an owner that knows less than the client does is waited for as if the
    /// user were moving, since a front listener is not told what the client knows.
    #[must_use]
    pub const fn of_client(message_bytes: usize, repeatable: bool, deadline: Instant) -> Self {
        Self { patient: true, ..Self::new(0, message_bytes, repeatable, deadline) }
    }

    /// Until when a call that reached nobody waits for somebody to be there again, instead of ending soon; none: it does not.
    pub const fn wait_until(&mut self, until: Option<Instant>) {
        self.waits_until = until;
    }

    /// Whether the message must be kept after it was sent.
    #[must_use]
    pub const fn replayable(&self) -> bool {
        self.replayable
    }

    /// When the call must end.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to do after an attempt at the cell `at`, which was asked with the epochs `asked`. `chance` is any random number.
    pub fn next(
        &mut self,
        outcome: &Outcome,
        at: Option<&CellId>,
        asked: OwnerEpochs,
        now: Instant,
        chance: u64,
    ) -> Next {
        if now >= self.deadline && *outcome != Outcome::Answer {
            return Next::End(Ending::Deadline);
        }
        match outcome {
            Outcome::Answer => Next::Relay,
            Outcome::Unavailable(advice) => self.unavailable(*advice, now, chance),
            Outcome::Unsent => self.unseen(now, chance),
            Outcome::Refused if self.replayable => self.unseen(now, chance),
            Outcome::Refused => Next::End(Ending::Unreachable),
            Outcome::Lost if self.repeatable && self.replayable && !self.repeated => {
                self.repeated = true;
                Next::Resend(Duration::ZERO)
            }
            Outcome::Lost => Next::End(Ending::Lost),
            // Only the first router retries; one at hop 1 passes the answer back (OWN-8).
            Outcome::WrongCell { .. } | Outcome::Moving { .. } if !self.first_router => Next::Relay,
            Outcome::WrongCell { unprocessed: false, .. } | Outcome::Moving { unprocessed: false, .. } => {
                Next::End(Ending::Aborted)
            }
            _ if !self.replayable => Next::End(Ending::Moved),
            // A cell names neither itself nor an owner older than the one it was asked about (OWN-8): not believed.
            Outcome::WrongCell { owner, epochs, .. } if Some(owner) == at || asked.newer_than(*epochs) => {
                if self.patient { self.park(None, now, chance) } else { Next::End(Ending::Moved) }
            }
            Outcome::WrongCell { .. } if self.redirects >= MAX_REDIRECTS => Next::End(Ending::Moved),
            Outcome::WrongCell { .. } => {
                self.redirects += 1;
                Next::Resend(Duration::ZERO)
            }
            Outcome::Moving { retry_after, .. } => self.park(*retry_after, now, chance),
        }
    }

    fn park(&mut self, told: Option<Duration>, now: Instant, chance: u64) -> Next {
        let grown = FIRST_WAIT.saturating_mul(1 << self.parks.min(10)).min(LONGEST_WAIT);
        self.parks += 1;
        let wait = told.map_or(grown, |told| told.min(LONGEST_WAIT));
        self.wait(wait, now, chance).map_or(Next::End(Ending::Deadline), Next::Park)
    }

    /// The server's answer is passed back where the call cannot be sent again in time.
    fn unavailable(&mut self, advice: Advice, now: Instant, chance: u64) -> Next {
        let again = self.repeatable && self.replayable && self.resends < MAX_RESENDS;
        let wait = match advice {
            Advice::Never => return Next::Relay,
            Advice::After(told) => told,
            Advice::None => (BACKOFF * (1 << self.resends)).min(LONGEST_WAIT),
        };
        match self.wait(wait, now, chance).filter(|_| again) {
            Some(wait) => {
                self.resends += 1;
                Next::Resend(wait)
            }
            None => Next::Relay,
        }
    }

    fn unseen(&mut self, now: Instant, chance: u64) -> Next {
        if self.resends >= MAX_RESENDS {
            let waits = self.waits_until.is_some_and(|until| now < until);
            return match if waits { self.park(None, now, chance) } else { Next::End(Ending::Unreachable) } {
                Next::End(_) => Next::End(Ending::Unreachable),
                next => next,
            };
        }
        self.resends += 1;
        let wait = if self.resends == 1 { Duration::ZERO } else { RESEND_WAIT * (1 << self.resends) };
        self.wait(wait, now, chance).map_or(Next::End(Ending::Unreachable), Next::Resend)
    }

    /// The wait, up to a fifth longer so that waiters spread, if it ends before the deadline.
    fn wait(&self, wait: Duration, now: Instant, chance: u64) -> Option<Duration> {
        // A server may tell any duration.
        let left = self.deadline.saturating_duration_since(now);
        if wait >= left {
            return None;
        }
        let wait = wait + wait.mul_f64((chance % 1024) as f64 / 5120.0);
        (wait < left).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::{BucketEpoch, UserEpoch};

    fn cell(name: &str) -> CellId {
        CellId::new(name).expect("a name")
    }

    fn epochs(user: u64, bucket: u64) -> OwnerEpochs {
        OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket))
    }

    fn wrong(owner: &str, at: OwnerEpochs, unprocessed: bool) -> Outcome {
        Outcome::WrongCell { owner: cell(owner), epochs: at, unprocessed }
    }

    struct Case {
        retry: Retry,
        now: Instant,
    }

    impl Case {
        fn new(hops: u8, bytes: usize, repeatable: bool) -> Self {
            let now = Instant::now();
            Self { retry: Retry::new(hops, bytes, repeatable, now + Duration::from_secs(1)), now }
        }

        fn of_client(bytes: usize, repeatable: bool) -> Self {
            let now = Instant::now();
            Self { retry: Retry::of_client(bytes, repeatable, now + Duration::from_secs(1)), now }
        }

        fn next(&mut self, outcome: &Outcome) -> Next {
            self.retry.next(outcome, Some(&cell("a")), epochs(1, 1), self.now, 0)
        }
    }

    #[test]
    fn a_redirect_is_followed_by_the_first_router_only() {
        let redirect = wrong("b", epochs(2, 1), true);
        assert_eq!(Case::new(0, 10, false).next(&redirect), Next::Resend(Duration::ZERO));
        assert_eq!(Case::new(1, 10, false).next(&redirect), Next::Relay);
    }

    #[test]
    fn nothing_is_sent_again_without_the_runtime_vouching() {
        assert_eq!(Case::new(0, 10, true).next(&wrong("b", epochs(2, 1), false)), Next::End(Ending::Aborted));
        let moving = Outcome::Moving { retry_after: None, unprocessed: false };
        assert_eq!(Case::new(0, 10, true).next(&moving), Next::End(Ending::Aborted));
    }

    #[test]
    fn what_reached_nobody_waits_only_as_long_as_it_is_told_to() {
        let mut case = Case::new(1, 10, false);
        case.retry.wait_until(Some(case.now + Duration::from_millis(500)));
        let mut waited = Duration::ZERO;
        loop {
            match case.next(&Outcome::Unsent) {
                Next::Resend(wait) | Next::Park(wait) => {
                    waited += wait;
                    case.now += wait;
                }
                next => break assert_eq!(next, Next::End(Ending::Unreachable)),
            }
        }
        let longest = Duration::from_millis(500) + LONGEST_WAIT.mul_f64(1.2);
        assert!(waited >= Duration::from_millis(500) && waited <= longest, "{waited:?}");

        // Never beyond the deadline, and without a word at once.
        let mut case = Case::new(1, 10, false);
        case.retry.wait_until(Some(case.now + Duration::from_secs(9)));
        case.now += Duration::from_millis(999);
        for _ in 0..=MAX_RESENDS {
            assert!(!matches!(case.next(&Outcome::Unsent), Next::Park(_)));
        }
    }

    #[test]
    fn a_message_beyond_the_replay_buffer_is_never_sent_again() {
        let mut case = Case::new(0, REPLAY_BYTES + 1, true);
        assert_eq!(case.next(&wrong("b", epochs(2, 1), true)), Next::End(Ending::Moved));
        assert_eq!(case.next(&Outcome::Refused), Next::End(Ending::Unreachable));
        assert_eq!(case.next(&Outcome::Lost), Next::End(Ending::Lost));
        assert!(matches!(case.next(&Outcome::Unsent), Next::Resend(_)), "what was never sent is still held");
        assert!(matches!(Case::new(0, REPLAY_BYTES, true).next(&wrong("b", epochs(2, 1), true)), Next::Resend(_)));
    }

    #[test]
    fn older_owners_and_the_cell_itself_are_not_believed() {
        assert_eq!(Case::new(0, 10, true).next(&wrong("b", epochs(0, 9), true)), Next::End(Ending::Moved));
        assert_eq!(Case::new(0, 10, true).next(&wrong("a", epochs(9, 9), true)), Next::End(Ending::Moved));
    }

    #[test]
    fn redirects_and_resends_are_bounded() {
        let mut case = Case::new(0, 10, false);
        for n in 0..MAX_REDIRECTS {
            assert_eq!(case.next(&wrong("b", epochs(2, 1), true)), Next::Resend(Duration::ZERO), "redirect {n}");
        }
        assert_eq!(case.next(&wrong("b", epochs(2, 1), true)), Next::End(Ending::Moved));
        let mut case = Case::new(1, 10, false);
        for n in 0..MAX_RESENDS {
            assert!(matches!(case.next(&Outcome::Unsent), Next::Resend(_)), "resend {n}");
        }
        assert_eq!(case.next(&Outcome::Unsent), Next::End(Ending::Unreachable));
    }

    #[test]
    fn what_may_have_been_processed_is_repeated_once_and_only_without_side_effects() {
        let mut read = Case::new(0, 10, true);
        assert_eq!(read.next(&Outcome::Lost), Next::Resend(Duration::ZERO));
        assert_eq!(read.next(&Outcome::Lost), Next::End(Ending::Lost));
        assert_eq!(Case::new(0, 10, false).next(&Outcome::Lost), Next::End(Ending::Lost));
    }

    #[test]
    fn moving_parks_until_the_deadline_and_never_past_it() {
        let moving = Outcome::Moving { retry_after: Some(Duration::from_millis(40)), unprocessed: true };
        let mut case = Case::new(0, 10, false);
        let (start, mut parks) = (case.now, 0);
        let end = loop {
            match case.next(&moving) {
                Next::Park(wait) => {
                    case.now += wait;
                    parks += 1;
                    assert!(case.now < case.retry.deadline(), "parked past the deadline");
                }
                next => break next,
            }
        };
        assert_eq!(end, Next::End(Ending::Deadline));
        assert!(parks >= 20, "parked only {parks} times in {:?}", case.now - start);
        let mut backoff = Case::new(0, 10, false);
        let silent = Outcome::Moving { retry_after: None, unprocessed: true };
        assert_eq!(backoff.next(&silent), Next::Park(FIRST_WAIT));
        assert_eq!(backoff.next(&silent), Next::Park(FIRST_WAIT * 2));
    }

    #[test]
    fn no_told_wait_is_too_long_to_be_understood() {
        let told = Outcome::Unavailable(Advice::After(Duration::MAX));
        assert_eq!(Case::of_client(10, true).next(&told), Next::Relay);
    }

    #[test]
    fn an_answer_is_relayed_even_at_the_deadline_and_nothing_else_is() {
        let mut case = Case::new(0, 10, true);
        case.now += Duration::from_secs(2);
        assert_eq!(case.next(&Outcome::Answer), Next::Relay);
        assert_eq!(case.next(&Outcome::Lost), Next::End(Ending::Deadline));
    }

    #[test]
    fn a_client_waits_for_an_owner_that_knows_less_than_it() {
        let older = wrong("b", epochs(0, 9), true);
        let mut case = Case::of_client(10, false);
        assert_eq!(case.next(&older), Next::Park(FIRST_WAIT));
        assert_eq!(case.next(&older), Next::Park(FIRST_WAIT * 2));
        assert_eq!(case.next(&wrong("a", epochs(9, 9), true)), Next::Park(FIRST_WAIT * 4), "a cell that names itself");
        assert_eq!(case.next(&wrong("b", epochs(2, 1), true)), Next::Resend(Duration::ZERO));
        let unvouched = wrong("b", epochs(0, 9), false);
        assert_eq!(Case::of_client(10, true).next(&unvouched), Next::End(Ending::Aborted));
    }

    #[test]
    fn unavailable_is_sent_again_only_where_that_is_safe_and_wanted() {
        let unavailable = |advice| Outcome::Unavailable(advice);
        let mut case = Case::of_client(10, true);
        for n in 0..u32::from(MAX_RESENDS) {
            assert_eq!(case.next(&unavailable(Advice::None)), Next::Resend(BACKOFF * (1 << n)), "resend {n}");
        }
        assert_eq!(case.next(&unavailable(Advice::None)), Next::Relay, "the last answer is the caller's");
        let told = Duration::from_millis(300);
        assert_eq!(Case::of_client(10, true).next(&unavailable(Advice::After(told))), Next::Resend(told));
        for (bytes, repeatable, advice) in [
            (10, false, Advice::None),
            (REPLAY_BYTES + 1, true, Advice::None),
            (10, true, Advice::Never),
            (10, true, Advice::After(Duration::from_secs(2))),
        ] {
            assert_eq!(Case::of_client(bytes, repeatable).next(&unavailable(advice)), Next::Relay, "{advice:?}");
        }
    }
}
