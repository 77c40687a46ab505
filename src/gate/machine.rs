//! The state machine of the [protocol](super::protocol).

use super::protocol::{
    Action, All, Attempt, CALLER_ERRNOS, End, Ended, FIRST_SLICE, Failure, FailureCache, Guard, LONGEST_POLL,
    LONGEST_SLICE, Lock, MODULE_FILE_WAIT, MODULE_FILE_WAIT_LATE, Purpose, Relation, Request, Rules,
    SYMBOL_ERRNOS, Seen,
};
use crate::error::Errno;
use crate::system::sysfs::State;
use std::time::Duration;

/// What is known of the name inside the module file, compared with the requested one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OwnName {
    Unknown,
    Same,
    Other,
}

/// The action whose answer the machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Opening,
    FirstLock,
    /// A follower does these in this order.
    FollowFutex,
    FollowLook,
    FollowRecord,
    FollowLock,
    FollowRelation,
    FollowSleep,
    /// A leader does these before its call, and some again after an `EEXIST`.
    LeadRecord,
    LeadLook,
    LeadRelation,
    LeadSleep,
    LeadBegin,
    LeadCall,
    LeadName,
    LeadCheck,
    /// The leader's end: write the result, unlock, wake the followers.
    OutWrite,
    OutUnlock,
    OutWake,
    Warning,
    Over,
}

/// What follows after the unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Then {
    End(End),
    /// Start again at the lock of the module's own name.
    OwnLock,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine<R: Rules = All> {
    rules: R,
    request: Request,
    stage: Stage,
    lock: Lock,
    held: bool,
    own_name: OwnName,
    futex: Option<u32>,
    /// Whether no wake ended its last sleep on the futex.
    unwoken: bool,
    state: State,
    leader: Option<i32>,
    unrelated: bool,
    /// Sleeps in the present wait, at most 6.
    sleeps: u8,
    /// When waiting at this lock ends.
    until: Duration,
    warned: bool,
    /// The last attempt of another request, from the record.
    previous: Option<Attempt>,
    begin: Duration,
    calls: u8,
    /// How the last call failed.
    answer: Option<Failure>,
    /// Whether the module was coming or going after the last call.
    transition: bool,
    then: Then,
}

impl Machine {
    /// A machine that follows all rules.
    pub fn new(request: Request) -> Self {
        Self::under(All, request)
    }
}

impl<R: Rules> Machine<R> {
    /// A machine that follows some of the rules.
    pub fn under(rules: R, request: Request) -> Self {
        Machine {
            rules,
            request,
            stage: Stage::Opening,
            lock: Lock::Key,
            held: false,
            own_name: OwnName::Unknown,
            futex: None,
            unwoken: false,
            state: State::Absent,
            leader: None,
            unrelated: false,
            sleeps: 0,
            until: request.deadline,
            warned: false,
            previous: None,
            begin: Duration::ZERO,
            calls: 0,
            answer: None,
            transition: false,
            then: Then::End(End::Joined),
        }
    }

    /// The first action, at `lock`.
    pub fn start(&mut self, lock: Lock, now: Duration) -> Action {
        self.choose_lock(lock, now)
    }

    pub fn lock(&self) -> Lock {
        self.lock
    }

    /// Whether it holds [`Machine::lock`].
    pub fn holds(&self) -> bool {
        self.held
    }

    /// Whether the module's own name is known to differ from the requested one.
    pub fn knows_other_name(&self) -> bool {
        self.own_name == OwnName::Other
    }

    /// Whether the deadline passed while it waited for a lock.
    pub fn is_late(&self) -> bool {
        self.warned
    }

    /// The number of kernel calls so far.
    pub fn calls(&self) -> u8 {
        self.calls
    }

    /// The action that follows the answer `seen` to the last one.
    pub fn next(&mut self, seen: Seen, now: Duration) -> Action {
        match (self.stage, seen) {
            (Stage::Opening, Seen::Failed) => self.give_up(now),
            (Stage::Opening, _) => self.go(Stage::FirstLock, Action::TryLock),
            (Stage::FirstLock | Stage::FollowLock, Seen::Locked(true)) => {
                self.held = true;
                self.lead()
            }
            (Stage::FirstLock, Seen::Locked(false)) => self.follow(),
            (Stage::FirstLock | Stage::FollowLock, Seen::Failed) => self.give_up(now),

            (Stage::FollowFutex, Seen::Futex(futex)) => {
                self.unwoken = self.sleeps > 0 && futex.is_some() && futex == self.futex;
                self.futex = futex;
                match self.request.purpose {
                    Purpose::Remove => self.go(Stage::FollowLock, Action::TryLock),
                    _ => self.go(Stage::FollowLook, Action::Look),
                }
            }
            (Stage::FollowLook, Seen::State(State::Live)) => self.follow_end(End::Joined),
            (Stage::FollowLook, Seen::State(state)) => {
                self.state = state;
                match self.lock.is_gate_file() {
                    true => self.go(Stage::FollowRecord, Action::ReadRecord),
                    false => self.go(Stage::FollowLock, Action::TryLock),
                }
            }
            (Stage::FollowRecord, Seen::Record(record)) => self.follow_record(record, now),
            (Stage::FollowLock, Seen::Locked(false)) => self.follow_on(now),
            (Stage::FollowRelation, Seen::Relation(relation)) => self.follow_relation(relation, now),
            (Stage::FollowSleep, _) => self.follow(),

            (Stage::LeadRecord, Seen::Record(record)) => {
                self.previous = self.valid_record(record, now);
                if self.previous.is_some_and(|previous| previous.other_name) && self.must_change_lock() {
                    self.then = Then::OwnLock;
                    return self.release(now);
                }
                self.leader = self.running_leader();
                self.go(Stage::LeadLook, Action::Look)
            }
            (Stage::LeadLook, Seen::State(state)) => self.lead_look(state, now),
            (Stage::LeadRelation, Seen::Relation(relation)) => {
                self.unrelated = relation == Relation::Unrelated;
                match self.is_recursion(relation) {
                    true => self.finish(End::StillComing, now),
                    false => self.lead_sleep(now),
                }
            }
            (Stage::LeadSleep, _) => self.go(Stage::LeadLook, Action::Look),
            (Stage::LeadBegin, _) => self.call(),
            (Stage::LeadCall, Seen::Answer(answer)) => self.answered(answer, now),
            (Stage::LeadName, Seen::OtherName(other)) => {
                self.own_name = if other { OwnName::Other } else { OwnName::Same };
                match self.answer {
                    None => self.write(Then::End(End::Called), now),
                    Some(_) if other => self.go(Stage::LeadLook, Action::Look),
                    Some(failure) => self.failed(failure, now),
                }
            }
            (Stage::LeadCheck, Seen::State(state)) => {
                if state != State::Live && self.rules.hold(Guard::OwnName) {
                    return self.go(Stage::LeadName, Action::ReadOwnName);
                }
                self.own_name = OwnName::Same;
                self.write(Then::End(End::Called), now)
            }
            (Stage::OutWrite, _) => self.release(now),
            (Stage::OutUnlock, _) => {
                self.held = false;
                match self.lock.is_gate_file() {
                    true => self.go(Stage::OutWake, Action::Wake),
                    false => self.after_unlock(now),
                }
            }
            (Stage::OutWake, _) => self.after_unlock(now),
            (Stage::Warning, _) => self.next_lock(now),
            // An answer that does not fit the action is a fault of the driver: go on without this lock.
            (Stage::Over, _) => Action::End(End::Joined),
            (_, _) => self.give_up(now),
        }
    }

    fn go(&mut self, stage: Stage, action: Action) -> Action {
        self.stage = stage;
        action
    }

    fn end(&mut self, end: End) -> Action {
        self.go(Stage::Over, Action::End(end))
    }

    // Locks.

    fn choose_lock(&mut self, lock: Lock, now: Duration) -> Action {
        self.lock = lock;
        self.sleeps = 0;
        self.futex = None;
        let late = now >= self.request.deadline;
        self.until = match lock {
            Lock::ModuleFile if !self.rules.hold(Guard::DeadlineOfTheModuleFile) => Duration::MAX,
            Lock::ModuleFile if late => now + MODULE_FILE_WAIT_LATE,
            Lock::ModuleFile => self.request.deadline.min(now + MODULE_FILE_WAIT),
            _ => self.request.deadline,
        };
        match lock {
            Lock::Key | Lock::Own => self.go(Stage::Opening, Action::Open(lock)),
            Lock::ModuleFile => self.go(Stage::FirstLock, Action::TryLock),
            Lock::Nothing => self.lead(),
        }
    }

    /// The lock cannot be used, or waiting for it has ended.
    fn give_up(&mut self, now: Duration) -> Action {
        if now >= self.request.deadline && !self.warned {
            self.warned = true;
            return self.go(Stage::Warning, Action::Warn);
        }
        self.next_lock(now)
    }

    fn next_lock(&mut self, now: Duration) -> Action {
        let next = match (self.lock, self.request.purpose) {
            // A removal has not opened the module file.
            (Lock::Key | Lock::Own, Purpose::Load | Purpose::LoadDependency) => Lock::ModuleFile,
            _ => Lock::Nothing,
        };
        self.choose_lock(next, now)
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.until && self.rules.hold(Guard::Deadline)
    }

    // Followers.

    fn follow(&mut self) -> Action {
        if self.lock.is_gate_file() {
            return self.go(Stage::FollowFutex, Action::ReadFutex);
        }
        self.go(Stage::FollowLook, Action::Look)
    }

    fn follow_record(&mut self, record: Option<Attempt>, now: Duration) -> Action {
        self.previous = self.valid_record(record, now);
        if let Some(errno) = self.previous.and_then(|previous| self.shared_errno(&previous, now)) {
            return self.follow_end(End::Shared(errno));
        }
        if self.previous.is_some_and(|previous| previous.other_name) && self.must_change_lock() {
            self.own_name = OwnName::Other;
            return self.choose_lock(Lock::Own, now);
        }
        self.leader = self.running_leader();
        self.go(Stage::FollowLock, Action::TryLock)
    }

    /// Another process holds the lock.
    fn follow_on(&mut self, now: Duration) -> Action {
        // Not before the first sleep, since most loads end within it. At the deadline in any case.
        let asks = (self.sleeps > 0 || self.is_over(now)) && !self.unrelated;
        if asks && self.request.purpose != Purpose::Remove {
            return self.go(Stage::FollowRelation, Action::ReadRelation(self.leader));
        }
        self.follow_sleep(now)
    }

    fn follow_relation(&mut self, relation: Relation, now: Duration) -> Action {
        self.unrelated = relation == Relation::Unrelated;
        if self.is_recursion(relation) {
            return self.end(End::StillComing);
        }
        // The usermode helper that the leader waits for may be another process, so a request for the module itself waits
        // until the deadline. Then it fails, since the kernel would never answer it.
        let target = self.request.purpose == Purpose::Load && relation == Relation::MayBeAwaited;
        if target && self.is_over(now) && self.rules.hold(Guard::RecursionOfTarget) {
            return self.end(End::Recursion);
        }
        self.follow_sleep(now)
    }

    fn follow_sleep(&mut self, now: Duration) -> Action {
        if self.is_over(now) {
            let coming = self.state == State::Coming && self.request.purpose == Purpose::LoadDependency;
            return if coming { self.end(End::StillComing) } else { self.give_up(now) };
        }
        let longest = match (self.futex, self.sleeps) {
            (None, _) => self.poll(),
            (Some(_), 0) => FIRST_SLICE,
            (Some(_), _) => LONGEST_SLICE,
        };
        self.sleep(Stage::FollowSleep, self.futex, longest, now)
    }

    /// Ends a follower with the result of the leader. If nobody woke it, the leader was killed or cannot wake, and the other
    /// followers sleep.
    fn follow_end(&mut self, end: End) -> Action {
        self.then = Then::End(end);
        if self.unwoken && self.rules.hold(Guard::WakeForTheDead) {
            return self.go(Stage::OutWake, Action::Wake);
        }
        self.end(end)
    }

    fn sleep(&mut self, stage: Stage, futex: Option<u32>, longest: Duration, now: Duration) -> Action {
        self.sleeps = (self.sleeps + 1).min(6);
        self.go(stage, Action::Sleep(futex, longest.min(self.until.saturating_sub(now))))
    }

    /// 1 ms, doubled after each sleep, up to [`LONGEST_POLL`].
    fn poll(&self) -> Duration {
        LONGEST_POLL.min(Duration::from_millis(1 << self.sleeps))
    }

    // The leader.

    fn lead(&mut self) -> Action {
        self.sleeps = 0;
        // From here on the wait is for the module's state, not for a lock.
        self.until = self.request.deadline;
        self.leader = None;
        self.previous = None;
        match (self.request.purpose, self.lock.is_gate_file()) {
            (Purpose::Remove, _) => self.call(),
            (_, true) => self.go(Stage::LeadRecord, Action::ReadRecord),
            (_, false) => self.go(Stage::LeadLook, Action::Look),
        }
    }

    fn lead_look(&mut self, state: State, now: Duration) -> Action {
        self.state = state;
        let waits = match state {
            State::Coming => self.rules.hold(Guard::WaitForComing),
            State::Going => self.rules.hold(Guard::WaitForGoing),
            _ => false,
        };
        match state {
            State::Live if self.answer.is_some() => {
                self.answer = None;
                self.write(Then::End(End::Joined), now)
            }
            State::Live if self.rules.hold(Guard::SecondLook) => self.finish(End::Joined, now),
            _ if waits => {
                self.transition |= self.answer.is_some();
                if self.is_over(now) {
                    return self.lead_past_the_deadline(now);
                }
                if self.sleeps > 0 && !self.unrelated && state == State::Coming {
                    return self.go(Stage::LeadRelation, Action::ReadRelation(self.leader));
                }
                self.lead_sleep(now)
            }
            _ => self.lead_gone(now),
        }
    }

    fn lead_sleep(&mut self, now: Duration) -> Action {
        let longest = self.poll();
        self.sleep(Stage::LeadSleep, None, longest, now)
    }

    fn lead_past_the_deadline(&mut self, now: Duration) -> Action {
        if self.state == State::Coming && self.request.purpose == Purpose::LoadDependency {
            return self.finish(End::StillComing, now);
        }
        match self.answer {
            Some(failure) => self.failed(failure, now),
            None => self.begin(now),
        }
    }

    /// The module is absent, before the call or after an `EEXIST`.
    fn lead_gone(&mut self, now: Duration) -> Action {
        let Some(failure) = self.answer else {
            if let Some(errno) = self.previous.and_then(|previous| self.shared_errno(&previous, now)) {
                return self.finish(End::Shared(errno), now);
            }
            return self.begin(now);
        };
        // The call failed with EEXIST. If the module was then coming or going, it has been removed or its init has failed.
        let again = self.transition || !self.rules.hold(Guard::TransitionSeen);
        if again && (self.calls < 2 || !self.rules.hold(Guard::OneMoreCall)) {
            if self.own_name == OwnName::Other && self.must_change_lock() {
                return self.write(Then::OwnLock, now);
            }
            self.answer = None;
            self.transition = false;
            self.previous = None;
            return self.begin(now);
        }
        if self.own_name == OwnName::Unknown && self.rules.hold(Guard::OwnName) {
            return self.go(Stage::LeadName, Action::ReadOwnName);
        }
        // The module's own init returned EEXIST.
        self.failed(failure, now)
    }

    fn begin(&mut self, now: Duration) -> Action {
        self.begin = now;
        match self.lock.is_gate_file() {
            true => self.go(Stage::LeadBegin, Action::Write(now, None)),
            false => self.call(),
        }
    }

    fn call(&mut self) -> Action {
        self.calls = self.calls.saturating_add(1);
        self.go(Stage::LeadCall, Action::Call)
    }

    fn answered(&mut self, answer: Option<Failure>, now: Duration) -> Action {
        self.answer = answer;
        if self.request.purpose == Purpose::Remove {
            return self.finish(answer.map_or(End::Called, End::Failed), now);
        }
        match answer {
            None if self.own_name == OwnName::Unknown => self.go(Stage::LeadCheck, Action::Look),
            None => self.write(Then::End(End::Called), now),
            Some(Failure { errno: Errno::EEXIST, by_kernel: true }) => {
                self.sleeps = 0;
                self.go(Stage::LeadLook, Action::Look)
            }
            Some(failure) => self.failed(failure, now),
        }
    }

    fn failed(&mut self, failure: Failure, now: Duration) -> Action {
        self.write(Then::End(End::Failed(failure)), now)
    }

    // The end.

    /// Writes the result, unlocks, and continues with `then`.
    fn write(&mut self, then: Then, now: Duration) -> Action {
        self.then = then;
        match self.lock.is_gate_file() {
            true => {
                let ended = Ended { at: now, failure: self.answer };
                self.go(Stage::OutWrite, Action::Write(self.begin, Some(ended)))
            }
            false => self.release(now),
        }
    }

    /// Unlocks and ends. After a failed call the record gets its end first, so that it does not look like a running one.
    fn finish(&mut self, end: End, now: Duration) -> Action {
        if self.answer.is_some() && self.request.purpose != Purpose::Remove {
            return self.write(Then::End(end), now);
        }
        self.then = Then::End(end);
        self.release(now)
    }

    fn release(&mut self, now: Duration) -> Action {
        if self.held { self.go(Stage::OutUnlock, Action::Unlock) } else { self.after_unlock(now) }
    }

    fn after_unlock(&mut self, now: Duration) -> Action {
        match self.then {
            Then::End(end) => self.end(end),
            Then::OwnLock => {
                self.own_name = OwnName::Other;
                self.answer = None;
                self.transition = false;
                self.choose_lock(Lock::Own, now)
            }
        }
    }

    // Records.

    /// The record, unless it is of another boot or has a time in the future.
    fn valid_record(&self, record: Option<Attempt>, now: Duration) -> Option<Attempt> {
        let record = record?;
        let latest = record.end.map_or(record.begin, |end| end.at.max(record.begin));
        let foreign = !record.this_boot && self.rules.hold(Guard::ThisBoot);
        let future = latest > now && self.rules.hold(Guard::NotOfTheFuture);
        (!foreign && !future).then_some(record)
    }

    /// The errno of another request's attempt, if this request's own call would have failed the same.
    fn shared_errno(&self, attempt: &Attempt, now: Duration) -> Option<Errno> {
        let Ended { at, failure } = attempt.end?;
        let Failure { errno, by_kernel } = failure?;
        let same = attempt.inputs == self.request.inputs || !self.rules.hold(Guard::SameInputs);
        let kernel = by_kernel || !self.rules.hold(Guard::ByTheKernel);
        let common = !CALLER_ERRNOS.contains(&errno) || !self.rules.hold(Guard::NotCallerErrno);
        if !same || !kernel || !common {
            return None;
        }
        let since = self.request.since;
        let ended = at > since || !self.rules.hold(Guard::EndedAfterSince);
        let began = !SYMBOL_ERRNOS.contains(&errno)
            || attempt.begin > since
            || !self.rules.hold(Guard::BeganAfterSince);
        let recent = |ttl| now.saturating_sub(at) < ttl || !self.rules.hold(Guard::CacheExpires);
        let remembered = match self.request.failure_cache {
            FailureCache::None => false,
            FailureCache::Any(ttl) => recent(ttl),
            FailureCache::NoDevice(ttl) => {
                recent(ttl) && (errno == Errno::ENODEV || !self.rules.hold(Guard::OnlyNoDevice))
            }
        };
        ((ended && began) || remembered).then_some(errno)
    }

    /// Whether the leader's call waits for this request, which loads a dependency. Then the dependent can be loaded: the
    /// kernel waits for the symbols.
    fn is_recursion(&self, relation: Relation) -> bool {
        let coming = self.state == State::Coming;
        self.request.purpose == Purpose::LoadDependency
            && match relation {
                Relation::MayBeAwaited => self.rules.hold(Guard::RecursionOfDependency),
                Relation::Unknown => coming && self.rules.hold(Guard::RecursionUnknown),
                Relation::Unrelated | Relation::NotAwaited => false,
            }
    }

    fn running_leader(&self) -> Option<i32> {
        self.previous.filter(|previous| previous.end.is_none()).map(|previous| previous.leader)
    }

    /// Whether a module with another own name has to move from this lock to that of its own name.
    fn must_change_lock(&self) -> bool {
        self.lock == Lock::Key && self.rules.hold(Guard::OwnLock)
    }
}
