//! Protocols without one rule, or with two steps in the wrong order. The exploration must find a counterexample for each.

use kmod_once::internals::gate::protocol::Guard;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The machine without this rule.
    Guard(Guard),
    /// A driver that does two steps in another order, or leaves one out.
    Order(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    WakeBeforeUnlock,
    FutexReadAfterTryLock,
    ResultAfterTheLock,
    NoWake,
    NoBegin,
    NoResult,
}

/// Each with the scenarios to try first; then the others are tried.
pub const ALL: [(Mutant, &[&str]); 28] = [
    (Mutant::Guard(Guard::SecondLook), &["two, then again"]),
    (Mutant::Guard(Guard::WaitForComing), &["an outsider loads"]),
    (Mutant::Guard(Guard::WaitForGoing), &["an outsider loads and removes"]),
    (Mutant::Guard(Guard::Deadline), &["a stranger at both locks"]),
    (Mutant::Guard(Guard::DeadlineOfTheModuleFile), &["no gate, a stranger"]),
    (Mutant::Guard(Guard::EndedAfterSince), &["a failure is tried again"]),
    (Mutant::Guard(Guard::BeganAfterSince), &["a symbol comes"]),
    (Mutant::Guard(Guard::SameInputs), &["other parameters"]),
    (Mutant::Guard(Guard::ByTheKernel), &["a file not read"]),
    (Mutant::Guard(Guard::NotCallerErrno), &["not permitted"]),
    (Mutant::Guard(Guard::ThisBoot), &["another boot"]),
    (Mutant::Guard(Guard::NotOfTheFuture), &["the future"]),
    (Mutant::Guard(Guard::OnlyNoDevice), &["many CPUs, another failure"]),
    (Mutant::Guard(Guard::CacheExpires), &["a refusal is forgotten"]),
    (Mutant::Guard(Guard::OwnName), &["misnamed"]),
    (Mutant::Guard(Guard::OwnLock), &["misnamed, removed"]),
    (Mutant::Guard(Guard::TransitionSeen), &["init says EEXIST"]),
    (Mutant::Guard(Guard::OneMoreCall), &["an outsider loads and removes"]),
    (Mutant::Guard(Guard::WakeForTheDead), &["killed"]),
    (Mutant::Guard(Guard::RecursionOfDependency), &["recursion"]),
    (Mutant::Guard(Guard::RecursionUnknown), &["recursion, the leader cannot be read"]),
    (Mutant::Guard(Guard::RecursionOfTarget), &["recursion of the target"]),
    (Mutant::Order(Order::WakeBeforeUnlock), &["three ask for one"]),
    (Mutant::Order(Order::FutexReadAfterTryLock), &["three ask for one"]),
    (Mutant::Order(Order::ResultAfterTheLock), &["three ask for one that fails"]),
    (Mutant::Order(Order::NoWake), &["three ask for one"]),
    (Mutant::Order(Order::NoBegin), &["recursion of the target"]),
    (Mutant::Order(Order::NoResult), &["three ask for one that fails"]),
];
