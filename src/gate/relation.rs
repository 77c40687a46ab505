//! Detects a recursive modprobe: this process was started by the kernel call that it would wait for.
//!
//! A module's init may call `request_module()` for something that depends on it. The kernel then starts a modprobe and waits
//! for it inside the first finit_module(2) (kernel/umh.c). If that modprobe waits for the first call, neither ends. Two
//! facts together show it: the kernel started this process, and the leader waits in `call_usermodehelper_exec`.

use super::protocol::Relation;
use crate::system::System;
use crate::system::file::read_attribute;
use memchr::memmem;

/// How this process, which the kernel started, relates to the thread `leader`, whose call loads the module.
pub(crate) fn to_leader(system: &System<'_>, leader: Option<i32>) -> Relation {
    let Some(leader) = leader else { return Relation::Unknown };
    let mut said = false;
    for name in ["wchan", "stack"] {
        let mut buffer = [0; 4096];
        let Ok(text) = read_attribute(&system.roots.process(leader, name), &mut buffer) else { continue };
        if memmem::find(text, b"call_usermodehelper_exec").is_some() {
            return Relation::MayBeAwaited;
        }
        // The kernel writes "0" for a running thread and for a reader without permission.
        said |= !matches!(text.trim_ascii(), b"" | b"0");
    }
    if said { Relation::NotAwaited } else { Relation::Unknown }
}

/// Whether an ancestor of this process is a kernel thread; `None` if /proc cannot tell. The answer holds for its children, too.
pub(crate) fn started_by_kernel(system: &System<'_>) -> Option<bool> {
    /// `PF_KTHREAD` of the kernel's task flags, as field 9 of /proc/PID/stat shows them.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let mut pid = nix::unistd::getpid().as_raw();
    for _ in 0..64 {
        let mut buffer = [0; 1024];
        let text = read_attribute(&system.roots.process(pid, "stat"), &mut buffer).ok()?;
        // The name in parentheses may hold any byte, so it ends at the last `)`. Then follow: state ppid ... flags.
        let after = text.iter().rposition(|&b| b == b')')?;
        let mut words = text[after + 1..].split(|&b| b == b' ').filter(|word| !word.is_empty());
        let number = |word: Option<&[u8]>| {
            word.and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse::<u64>().ok())
        };
        let parent = number(words.nth(1));
        let flags = number(words.nth(4));
        match (parent, flags) {
            (_, Some(flags)) if flags & KERNEL_THREAD != 0 => return Some(true),
            (Some(0), _) => return Some(false),
            (Some(parent), Some(_)) => pid = i32::try_from(parent).ok()?,
            _ => return None,
        }
    }
    None
}
