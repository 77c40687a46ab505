//! The state machine of the [protocol](super::protocol): the leader's and the followers' half, the locks, and what a record is
//! worth.

use super::protocol::{
    Action, All, Attempt, End, Ended, FIRST_SLICE, Failure, Guard, Kin, LONGEST_POLL, Lock, MODULE_FILE,
    MODULE_FILE_LATE, Memory, OF_SYMBOLS, OF_THE_ASKER, Purpose, Request, Rules, SLICE, Seen,
};
use crate::error::Errno;
use crate::system::sysfs::State;
use std::time::Duration;

/// What is known of the name inside the module file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OwnName {
    Unknown,
    /// The one it was asked for by.
    Same,
    Other,
}

/// What the machine has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Opening,
    Knocking,
    /// A follower, who asks these one after the other.
    FollowBell,
    FollowLook,
    FollowRecord,
    FollowLock,
    FollowKin,
    FollowSleep,
    /// The leader, before the call and after one that found the module there.
    LeadRecord,
    LeadLook,
    LeadKin,
    LeadSleep,
    LeadBegin,
    LeadCall,
    LeadName,
    LeadCheck,
    /// The way out: the result, the lock, the bell.
    OutWrite,
    OutUnlock,
    OutRing,
    Warning,
    Over,
}

/// Where the machine goes when it has let go of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Then {
    End(End),
    /// To the lock of the module's own name.
    OwnLock,
}

/// One request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine<R: Rules = All> {
    rules: R,
    request: Request,
    at: At,
    lock: Lock,
    held: bool,
    own_name: OwnName,
    bell: Option<u32>,
    state: State,
    leader: Option<i32>,
    stranger: bool,
    /// How many sleeps there were at this lock.
    sleeps: u8,
    /// When waiting for this lock ends.
    until: Duration,
    warned: bool,
    /// The last attempt of another, as it was when the lock was taken.
    before: Option<Attempt>,
    begin: Duration,
    calls: u8,
    /// What the last call answered.
    answer: Option<Failure>,
    /// Whether the module was seen to come or go after the last call.
    transition: bool,
    then: Then,
}

impl Machine {
    /// A request that has not begun, under all rules.
    pub fn new(request: Request) -> Self {
        Self::under(All, request)
    }
}

impl<R: Rules> Machine<R> {
    /// A request under some of the rules.
    pub fn under(rules: R, request: Request) -> Self {
        Machine {
            rules,
            request,
            at: At::Opening,
            lock: Lock::Key,
            held: false,
            own_name: OwnName::Unknown,
            bell: None,
            state: State::Absent,
            leader: None,
            stranger: false,
            sleeps: 0,
            until: request.deadline,
            warned: false,
            before: None,
            begin: Duration::ZERO,
            calls: 0,
            answer: None,
            transition: false,
            then: Then::End(End::Joined),
        }
    }

    /// The first thing to do with `lock`, the best that there is.
    pub fn start(&mut self, lock: Lock, now: Duration) -> Action {
        self.turn_to(lock, now)
    }

    pub fn lock(&self) -> Lock {
        self.lock
    }

    /// Whether it holds that lock.
    pub fn holds(&self) -> bool {
        self.held
    }

    /// Whether it knows that the module has another name than it was asked for by.
    pub fn knows_other_name(&self) -> bool {
        self.own_name == OwnName::Other
    }

    /// Whether it went on after a bound was passed.
    pub fn is_late(&self) -> bool {
        self.warned
    }

    /// How many kernel calls it made.
    pub fn calls(&self) -> u8 {
        self.calls
    }

    /// What comes after what was seen.
    pub fn next(&mut self, seen: Seen, now: Duration) -> Action {
        match (self.at, seen) {
            (At::Opening, Seen::Failed) => self.give_up(now),
            (At::Opening, _) => self.go(At::Knocking, Action::TryLock),
            (At::Knocking | At::FollowLock, Seen::Locked(true)) => {
                self.held = true;
                self.lead()
            }
            (At::Knocking, Seen::Locked(false)) => self.follow(),
            (At::Knocking | At::FollowLock, Seen::Failed) => self.give_up(now),

            (At::FollowBell, Seen::Bell(bell)) => {
                self.bell = bell;
                match self.request.purpose {
                    Purpose::Remove => self.go(At::FollowLock, Action::TryLock),
                    _ => self.go(At::FollowLook, Action::Look),
                }
            }
            (At::FollowLook, Seen::State(State::Live)) => self.end(End::Joined),
            (At::FollowLook, Seen::State(state)) => {
                self.state = state;
                match self.lock.is_gates() {
                    true => self.go(At::FollowRecord, Action::ReadRecord),
                    false => self.go(At::FollowLock, Action::TryLock),
                }
            }
            (At::FollowRecord, Seen::Record(record)) => self.follow_record(record, now),
            (At::FollowLock, Seen::Locked(false)) => self.follow_on(now),
            (At::FollowKin, Seen::Kin(kin)) => self.follow_kin(kin, now),
            (At::FollowSleep, _) => self.follow(),

            (At::LeadRecord, Seen::Record(record)) => {
                self.before = self.believed(record, now);
                if self.before.is_some_and(|before| before.other_name) && self.leads_elsewhere() {
                    self.then = Then::OwnLock;
                    return self.let_go(now);
                }
                self.leader = self.running_leader();
                self.go(At::LeadLook, Action::Look)
            }
            (At::LeadLook, Seen::State(state)) => self.lead_look(state, now),
            (At::LeadKin, Seen::Kin(kin)) => {
                self.stranger = kin == Kin::Stranger;
                match self.is_recursion(kin) {
                    true => self.finish(End::StillComing, now),
                    false => self.lead_sleep(now),
                }
            }
            (At::LeadSleep, _) => self.go(At::LeadLook, Action::Look),
            (At::LeadBegin, _) => self.call(),
            (At::LeadCall, Seen::Answer(answer)) => self.answered(answer, now),
            (At::LeadName, Seen::OtherName(other)) => {
                self.own_name = if other { OwnName::Other } else { OwnName::Same };
                match self.answer {
                    None => self.write(Then::End(End::Called), now),
                    Some(_) if other => self.go(At::LeadLook, Action::Look),
                    Some(failure) => self.failed(failure, now),
                }
            }
            (At::LeadCheck, Seen::State(state)) => {
                if state != State::Live && self.rules.hold(Guard::OwnName) {
                    return self.go(At::LeadName, Action::ReadOwnName);
                }
                self.own_name = OwnName::Same;
                self.write(Then::End(End::Called), now)
            }
            (At::OutWrite, _) => self.let_go(now),
            (At::OutUnlock, _) => {
                self.held = false;
                match self.lock.is_gates() {
                    true => self.go(At::OutRing, Action::Ring),
                    false => self.leave(now),
                }
            }
            (At::OutRing, _) => self.leave(now),
            (At::Warning, _) => self.next_lock(now),
            // A driver that answers something else than it was asked has a fault; the request goes on without the gate.
            (At::Over, _) => Action::End(End::Joined),
            (_, _) => self.give_up(now),
        }
    }

    fn go(&mut self, at: At, action: Action) -> Action {
        self.at = at;
        action
    }

    fn end(&mut self, end: End) -> Action {
        self.go(At::Over, Action::End(end))
    }

    // Locks.

    fn turn_to(&mut self, lock: Lock, now: Duration) -> Action {
        self.lock = lock;
        self.sleeps = 0;
        self.bell = None;
        let late = now >= self.request.deadline;
        self.until = match lock {
            Lock::ModuleFile if !self.rules.hold(Guard::DeadlineOfTheModuleFile) => Duration::MAX,
            Lock::ModuleFile if late => now + MODULE_FILE_LATE,
            Lock::ModuleFile => self.request.deadline.min(now + MODULE_FILE),
            _ => self.request.deadline,
        };
        match lock {
            Lock::Key | Lock::Own => self.go(At::Opening, Action::Open(lock)),
            Lock::ModuleFile => self.go(At::Knocking, Action::TryLock),
            Lock::Nothing => self.lead(),
        }
    }

    /// The lock cannot be had.
    fn give_up(&mut self, now: Duration) -> Action {
        if now >= self.request.deadline && !self.warned {
            self.warned = true;
            return self.go(At::Warning, Action::Warn);
        }
        self.next_lock(now)
    }

    fn next_lock(&mut self, now: Duration) -> Action {
        let next = match (self.lock, self.request.purpose) {
            // Who removes a module has no file of it.
            (Lock::Key | Lock::Own, Purpose::Load | Purpose::LoadDependency) => Lock::ModuleFile,
            _ => Lock::Nothing,
        };
        self.turn_to(next, now)
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.until && self.rules.hold(Guard::Deadline)
    }

    // Followers.

    fn follow(&mut self) -> Action {
        if self.lock.is_gates() {
            return self.go(At::FollowBell, Action::ReadBell);
        }
        self.go(At::FollowLook, Action::Look)
    }

    fn follow_record(&mut self, record: Option<Attempt>, now: Duration) -> Action {
        self.before = self.believed(record, now);
        if let Some(errno) = self.before.and_then(|before| self.is_mine(&before, now)) {
            return self.end(End::Shared(errno));
        }
        if self.before.is_some_and(|before| before.other_name) && self.leads_elsewhere() {
            self.own_name = OwnName::Other;
            return self.turn_to(Lock::Own, now);
        }
        self.leader = self.running_leader();
        self.go(At::FollowLock, Action::TryLock)
    }

    /// The lock is held by another.
    fn follow_on(&mut self, now: Duration) -> Action {
        // A helper of the kernel is told from others when the first sleep was in vain, and once more at the end.
        let asks = (self.sleeps > 0 || self.is_over(now)) && !self.stranger;
        if asks && self.request.purpose != Purpose::Remove {
            return self.go(At::FollowKin, Action::ReadKin(self.leader));
        }
        self.follow_sleep(now)
    }

    fn follow_kin(&mut self, kin: Kin, now: Duration) -> Action {
        self.stranger = kin == Kin::Stranger;
        if self.is_recursion(kin) {
            return self.end(End::StillComing);
        }
        // A request for the module itself may be a bystander's, so it waits. But the kernel would never answer it.
        let target = self.request.purpose == Purpose::Load && kin == Kin::Helper;
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
        let longest = match (self.bell, self.sleeps) {
            (None, _) => self.poll(),
            (Some(_), 0) => FIRST_SLICE,
            (Some(_), _) => SLICE,
        };
        self.sleep(At::FollowSleep, self.bell, longest, now)
    }

    fn sleep(&mut self, at: At, bell: Option<u32>, longest: Duration, now: Duration) -> Action {
        self.sleeps = (self.sleeps + 1).min(6);
        self.go(at, Action::Sleep(bell, longest.min(self.until.saturating_sub(now))))
    }

    /// 1 ms, and twice as long each time.
    fn poll(&self) -> Duration {
        LONGEST_POLL.min(Duration::from_millis(1 << self.sleeps))
    }

    // The leader.

    fn lead(&mut self) -> Action {
        self.sleeps = 0;
        // From here on only the module itself is waited for.
        self.until = self.request.deadline;
        self.leader = None;
        self.before = None;
        match (self.request.purpose, self.lock.is_gates()) {
            (Purpose::Remove, _) => self.call(),
            (_, true) => self.go(At::LeadRecord, Action::ReadRecord),
            (_, false) => self.go(At::LeadLook, Action::Look),
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
                if self.sleeps > 0 && !self.stranger && state == State::Coming {
                    return self.go(At::LeadKin, Action::ReadKin(self.leader));
                }
                self.lead_sleep(now)
            }
            _ => self.lead_gone(now),
        }
    }

    fn lead_sleep(&mut self, now: Duration) -> Action {
        let longest = self.poll();
        self.sleep(At::LeadSleep, None, longest, now)
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

    /// The module is not there.
    fn lead_gone(&mut self, now: Duration) -> Action {
        let Some(failure) = self.answer else {
            if let Some(errno) = self.before.and_then(|before| self.is_mine(&before, now)) {
                return self.finish(End::Shared(errno), now);
            }
            return self.begin(now);
        };
        // The kernel had said that the module exists.
        let again = self.transition || !self.rules.hold(Guard::TransitionSeen);
        if again && (self.calls < 2 || !self.rules.hold(Guard::OneMoreCall)) {
            // Somebody removed it, or its init failed.
            if self.own_name == OwnName::Other && self.leads_elsewhere() {
                return self.write(Then::OwnLock, now);
            }
            self.answer = None;
            self.transition = false;
            self.before = None;
            return self.begin(now);
        }
        if self.own_name == OwnName::Unknown && self.rules.hold(Guard::OwnName) {
            return self.go(At::LeadName, Action::ReadOwnName);
        }
        // So says its init.
        self.failed(failure, now)
    }

    fn begin(&mut self, now: Duration) -> Action {
        self.begin = now;
        match self.lock.is_gates() {
            true => self.go(At::LeadBegin, Action::Write(now, None)),
            false => self.call(),
        }
    }

    fn call(&mut self) -> Action {
        self.calls = self.calls.saturating_add(1);
        self.go(At::LeadCall, Action::Call)
    }

    fn answered(&mut self, answer: Option<Failure>, now: Duration) -> Action {
        self.answer = answer;
        if self.request.purpose == Purpose::Remove {
            return self.finish(answer.map_or(End::Called, End::Failed), now);
        }
        match answer {
            None if self.own_name == OwnName::Unknown => self.go(At::LeadCheck, Action::Look),
            None => self.write(Then::End(End::Called), now),
            Some(Failure { errno: Errno::EEXIST, by_kernel: true }) => {
                self.sleeps = 0;
                self.go(At::LeadLook, Action::Look)
            }
            Some(failure) => self.failed(failure, now),
        }
    }

    fn failed(&mut self, failure: Failure, now: Duration) -> Action {
        self.write(Then::End(End::Failed(failure)), now)
    }

    // The way out.

    /// Writes the result down, lets go, and goes where `then` says.
    fn write(&mut self, then: Then, now: Duration) -> Action {
        self.then = then;
        match self.lock.is_gates() {
            true => {
                let ended = Ended { at: now, failure: self.answer };
                self.go(At::OutWrite, Action::Write(self.begin, Some(ended)))
            }
            false => self.let_go(now),
        }
    }

    /// Lets go and ends. An attempt that was begun is over in the record, too: others would else take it for running.
    fn finish(&mut self, end: End, now: Duration) -> Action {
        if self.answer.is_some() && self.request.purpose != Purpose::Remove {
            return self.write(Then::End(end), now);
        }
        self.then = Then::End(end);
        self.let_go(now)
    }

    fn let_go(&mut self, now: Duration) -> Action {
        if self.held { self.go(At::OutUnlock, Action::Unlock) } else { self.leave(now) }
    }

    fn leave(&mut self, now: Duration) -> Action {
        match self.then {
            Then::End(end) => self.end(end),
            Then::OwnLock => {
                self.own_name = OwnName::Other;
                self.answer = None;
                self.transition = false;
                self.turn_to(Lock::Own, now)
            }
        }
    }

    // What to make of what was read.

    /// A record that another boot or a clock of the future left is none.
    fn believed(&self, record: Option<Attempt>, now: Duration) -> Option<Attempt> {
        let record = record?;
        let latest = record.end.map_or(record.begin, |end| end.at.max(record.begin));
        let foreign = !record.this_boot && self.rules.hold(Guard::ThisBoot);
        let future = latest > now && self.rules.hold(Guard::NotOfTheFuture);
        (!foreign && !future).then_some(record)
    }

    /// The failure of an attempt of another, if this request would have got it itself.
    fn is_mine(&self, attempt: &Attempt, now: Duration) -> Option<Errno> {
        let Ended { at, failure } = attempt.end?;
        let Failure { errno, by_kernel } = failure?;
        let same = attempt.inputs == self.request.inputs || !self.rules.hold(Guard::SameInputs);
        let kernel = by_kernel || !self.rules.hold(Guard::ByTheKernel);
        let common = !OF_THE_ASKER.contains(&errno) || !self.rules.hold(Guard::NotOfTheAsker);
        if !same || !kernel || !common {
            return None;
        }
        let since = self.request.since;
        let ended = at > since || !self.rules.hold(Guard::EndedAfterMyLastStep);
        let began = !OF_SYMBOLS.contains(&errno)
            || attempt.begin > since
            || !self.rules.hold(Guard::BeganAfterMyLastStep);
        let recent = |ttl| now.saturating_sub(at) < ttl || !self.rules.hold(Guard::MemoryEnds);
        let remembered = match self.request.memory {
            Memory::None => false,
            Memory::Failure(ttl) => recent(ttl),
            Memory::Refusal(ttl) => {
                recent(ttl) && (errno == Errno::ENODEV || !self.rules.hold(Guard::OnlyRefusals))
            }
        };
        ((ended && began) || remembered).then_some(errno)
    }

    /// Whether this request is the one that the leader's call waits for. What needs the module can go on then: the kernel
    /// waits for its symbols.
    fn is_recursion(&self, kin: Kin) -> bool {
        let coming = self.state == State::Coming;
        self.request.purpose == Purpose::LoadDependency
            && match kin {
                Kin::Helper => self.rules.hold(Guard::RecursionOfDependency),
                Kin::Unknown => coming && self.rules.hold(Guard::RecursionInTheDark),
                Kin::Stranger | Kin::Bystander => false,
            }
    }

    fn running_leader(&self) -> Option<i32> {
        self.before.filter(|before| before.end.is_none()).map(|before| before.leader)
    }

    /// Whether the lock that it is at is not that of the module's own name.
    fn leads_elsewhere(&self) -> bool {
        self.lock == Lock::Key && self.rules.hold(Guard::OwnLock)
    }
}
