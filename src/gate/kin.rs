//! What this process has to do with the one that loads a module.
//!
//! A module's init may call `request_module()` for something that depends on it. The kernel then starts a modprobe and waits
//! for it inside the first one's call (kernel/umh.c): waiting for that call would never end. Parentage alone does not show
//! it, and what the leader does alone does not tell for whom it waits; both together do.

use super::protocol::Kin;
use crate::system::System;
use crate::system::file::read_attribute;

/// Who this process is to the thread `leader`, whose call loads the module. `descends` keeps the answer to whether the kernel
/// started this process, which takes some reads.
pub(crate) fn find(system: &System<'_>, leader: Option<i32>, descends: &mut Option<bool>) -> Kin {
    if !*descends.get_or_insert_with(|| started_by_kernel(system)) {
        return Kin::Stranger;
    }
    let Some(leader) = leader else { return Kin::Unknown };
    let mut said = false;
    for name in ["wchan", "stack"] {
        let mut buffer = [0; 4096];
        let Ok(text) = read_attribute(&system.roots.process(leader, name), &mut buffer) else { continue };
        if contains(text, b"call_usermodehelper_exec") {
            return Kin::Helper;
        }
        // "0" is said where it may not be known, and of a thread that runs.
        said |= !matches!(text.trim_ascii(), b"" | b"0");
    }
    if said { Kin::Bystander } else { Kin::Unknown }
}

/// Whether an ancestor of this process is a kernel thread. Where that cannot be told, the answer is yes: not to wait
/// is the safer mistake, since the kernel arbitrates then.
pub(crate) fn started_by_kernel(system: &System<'_>) -> bool {
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
