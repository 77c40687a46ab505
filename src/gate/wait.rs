//! How long to wait, and for whom not to wait at all.

use super::record::Record;
use super::settings::Settings;
use crate::limits;
use crate::system::System;
use crate::system::file::read_attribute;
use crate::system::sysfs::State;
use std::fs::File;
use std::time::Duration;

/// Why a wait for the holder of the lock ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The module is live.
    Live,
    /// The lock is held now, shared, and the module is not live.
    Free,
    /// The bound was passed.
    Bound,
    /// The leader's call waits for a process that the kernel started, perhaps this one.
    Recursion,
}

/// The time that one request may still spend waiting.
pub struct Patience {
    holder_bound: Duration,
    coming_bound: Duration,
    coming_since: Option<Duration>,
    coming_over: bool,
    /// What the holder had done at the last look, and when that last grew.
    holder: Option<(u64, Duration)>,
    knocks: u32,
    /// The time spent waiting so far.
    pub waited: Duration,
}

impl Patience {
    pub fn new(settings: &Settings) -> Self {
        Patience {
            holder_bound: settings.holder_bound,
            coming_bound: settings.coming_bound,
            coming_since: None,
            coming_over: false,
            holder: None,
            knocks: 0,
            waited: Duration::ZERO,
        }
    }

    /// From here on the lock is one that any reader of the module file can hold.
    pub fn shorten(&mut self) {
        self.holder_bound = limits::GATE_FILE_LOCK;
    }

    /// Whether the bound for what the module's state shows is passed; `began` is when this wait began.
    pub fn expired(&mut self, state: State, began: Duration, now: Duration) -> bool {
        let coming = matches!(state, State::Coming | State::Going);
        self.coming_since = coming.then(|| self.coming_since.unwrap_or(began));
        let over = self.remaining(began, now).is_zero();
        if coming {
            self.coming_over = over;
        }
        over
    }

    /// The time until the bound of the state that [`Patience::expired`] was told last; zero when it is passed.
    pub fn remaining(&self, began: Duration, now: Duration) -> Duration {
        let bound = match self.coming_since {
            Some(since) => since + self.coming_bound,
            None => self.holder_bound_at(began),
        };
        bound.saturating_sub(now)
    }

    /// Notes how much the holder has run. One that still runs, on a machine so busy that a load takes a minute, is
    /// neither stopped nor stuck: its bound begins anew, up to that of a module that is coming.
    pub fn note_holder(&mut self, ran: u64, now: Duration) {
        match self.holder {
            Some((before, _)) if before == ran => {}
            _ => self.holder = Some((ran, now)),
        }
    }

    /// Whether a holder that shows nothing in sysfs would have been given up by now.
    pub fn holder_bound_is_over(&self, began: Duration, now: Duration) -> bool {
        now >= self.holder_bound_at(began)
    }

    fn holder_bound_at(&self, began: Duration) -> Duration {
        let alive = self.holder.map_or(began, |(_, at)| at.max(began));
        (alive + self.holder_bound).min(began + self.coming_bound)
    }

    /// Whether the last wait ended because the module was coming for too long.
    pub fn coming_is_over(&self) -> bool {
        self.coming_over
    }

    /// A short pause before knocking again, different from process to process.
    pub fn pause(&mut self) -> Duration {
        self.knocks = (self.knocks + 1).min(6);
        Duration::from_micros(100 * (1 << self.knocks)) * (Self::place() + 1)
    }

    /// `time` and up to half of it more, different from process to process.
    pub fn spread(time: Duration) -> Duration {
        time + time * Self::place() / 12
    }

    /// 0 to 6, in the hope that others have another.
    fn place() -> u32 {
        nix::unistd::gettid().as_raw() as u32 % 7
    }
}

/// How long the leader that `file`'s record names has run so far, in nanoseconds of CPU time; `None` where nobody loads
/// or the kernel does not say.
pub fn leader_ran(system: &System<'_>, file: &File) -> Option<u64> {
    let Record { leader, end: None, .. } = Record::read(file)? else { return None };
    let mut buffer = [0; 128];
    let text = read_attribute(&system.roots.process(leader, "schedstat"), &mut buffer).ok()?;
    std::str::from_utf8(text.split(|&b| b == b' ').next()?).ok()?.parse().ok()
}

/// Whether the leader that `file`'s record names sits in a kernel call that waits for a user-space helper. Where this
/// process was started by the kernel ([`started_by_kernel`]), it may be that helper.
///
/// A module's init may call `request_module()` for something that depends on it. The kernel then starts a second
/// modprobe and waits for it inside the first one's call: waiting here would never end. Parentage alone does not show
/// it, and the leader's kernel stack alone does not tell for whom it waits; both together do.
pub fn leader_waits_for_helper(system: &System<'_>, file: &File) -> bool {
    let Some(Record { leader, end: None, .. }) = Record::read(file) else { return false };
    ["wchan", "stack"].iter().any(|name| {
        let mut buffer = [0; 4096];
        read_attribute(&system.roots.process(leader, name), &mut buffer)
            .is_ok_and(|text| contains(text, b"call_usermodehelper_exec"))
    })
}

/// Whether an ancestor of this process is a kernel thread. Where that cannot be told, the answer is yes: not to wait
/// is the safer mistake, since the kernel arbitrates then.
pub fn started_by_kernel(system: &System<'_>) -> bool {
    /// `PF_KTHREAD` of the kernel's task flags, as field 9 of /proc/PID/stat shows them.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let mut pid = nix::unistd::getpid().as_raw();
    for _ in 0..64 {
        let mut buffer = [0; 1024];
        let Ok(text) = read_attribute(&system.roots.process(pid, "stat"), &mut buffer) else { return true };
        // The name in parentheses may hold anything; the last parenthesis ends it. Then: state ppid ... flags.
        let Some(after) = text.iter().rposition(|&b| b == b')') else { return true };
        let mut words = text[after + 1..].split(|&b| b == b' ').filter(|word| !word.is_empty());
        let number = |word: Option<&[u8]>| {
            word.and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse::<u64>().ok())
        };
        let parent = number(words.nth(1));
        let flags = number(words.nth(4));
        match (parent, flags) {
            (_, Some(flags)) if flags & KERNEL_THREAD != 0 => return true,
            (Some(0), _) => return false,
            (Some(parent), Some(_)) => match i32::try_from(parent) {
                Ok(parent) => pid = parent,
                Err(_) => return true,
            },
            _ => return true,
        }
    }
    true
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_coming_gets_the_longer_bound_from_when_it_was_seen() {
        let mut patience = Patience::new(&Settings::default());
        let at = Duration::from_secs;
        assert!(!patience.expired(State::Absent, at(0), at(29)));
        assert!(patience.expired(State::Absent, at(0), at(30)));
        assert!(!patience.expired(State::Coming, at(20), at(40)));
        assert!(!patience.expired(State::Coming, at(20), at(199)));
        assert!(patience.expired(State::Coming, at(20), at(200)) && patience.coming_is_over());
    }

    #[test]
    fn a_holder_that_runs_is_waited_for_longer_but_not_for_ever() {
        let mut patience = Patience::new(&Settings::default());
        let at = Duration::from_secs;
        for second in (1..180).step_by(20) {
            patience.note_holder(second, at(second));
            assert!(!patience.expired(State::Absent, at(0), at(second)), "{second}");
        }
        patience.note_holder(161, at(179));
        assert!(!patience.expired(State::Absent, at(0), at(179)));
        assert!(patience.expired(State::Absent, at(0), at(180)), "there is an end to it");
        let mut alive = Patience::new(&Settings::default());
        alive.note_holder(1, at(1));
        assert!(!alive.expired(State::Absent, at(0), at(1)));
        assert_eq!(alive.remaining(at(0), at(1)), at(30), "from when it was last seen to run");
        alive.note_holder(2, at(170));
        assert!(!alive.expired(State::Absent, at(0), at(170)));
        assert_eq!(alive.remaining(at(0), at(170)), at(10), "there is an end to it");
        assert!(!alive.expired(State::Coming, at(0), at(171)));
        assert_eq!(alive.remaining(at(0), at(171)), at(9), "of what is coming, from when the wait began");
        let mut stopped = Patience::new(&Settings::default());
        stopped.note_holder(7, at(1));
        stopped.note_holder(7, at(30));
        assert!(
            !stopped.expired(State::Absent, at(0), at(30)) && stopped.expired(State::Absent, at(0), at(31))
        );
    }
}
