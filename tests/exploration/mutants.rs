//! That the exploration can fail: protocols with one rule taken out, or with two steps in the wrong order. Each must be found.

use kmod_once::internals::gate::protocol::Guard;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The machine without that rule.
    Guard(Guard),
    /// A driver that does it in another order, or not at all.
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

/// Each with the scenarios that are most likely to find it. The others follow.
pub const ALL: [(Mutant, &[&str]); 27] = [
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
    (Mutant::Guard(Guard::RecursionOfDependency), &["recursion"]),
    (Mutant::Guard(Guard::RecursionUnknown), &["recursion in the dark"]),
    (Mutant::Guard(Guard::RecursionOfTarget), &["recursion of the target"]),
    (Mutant::Order(Order::WakeBeforeUnlock), &["three ask for one"]),
    (Mutant::Order(Order::FutexReadAfterTryLock), &["three ask for one"]),
    (Mutant::Order(Order::ResultAfterTheLock), &["three ask for one that fails"]),
    (Mutant::Order(Order::NoWake), &["three ask for one"]),
    (Mutant::Order(Order::NoBegin), &["recursion of the target"]),
    (Mutant::Order(Order::NoResult), &["three ask for one that fails"]),
];
