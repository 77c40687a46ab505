//! System calls that go wrong: what each may plausibly answer, and how a traced process is given that answer.

use nix::libc;
use nix::libc::{
    EACCES, EINTR, EINVAL, EIO, EMFILE, ENODEV, ENOENT, ENOLCK, ENOMEM, ENOSPC, ENOSYS, EPERM, EPIPE, EROFS,
};

/// What becomes of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not made, and fails with this errno.
    Fails(i32),
    /// It is made, and says that it failed: close(2) frees the descriptor whatever it answers.
    SaysItFailed(i32),
    /// It is made for half of the bytes.
    Short,
    /// It is made as a question for what is there, as brk(2) answers where it has nothing to give.
    Unchanged,
    /// This one and every later one of the same number fail with this errno.
    FailsFromHereOn(i32),
}

use Fault::{Fails, FailsFromHereOn, SaysItFailed, Short, Unchanged};

/// System call, name, what may go wrong with it. Two or three each: every fault is a process of its own.
const PLAUSIBLE: &[(i64, &str, &[Fault])] = &[
    (libc::SYS_open, "open", &[Fails(EIO), Fails(EACCES), FailsFromHereOn(EMFILE)]),
    (libc::SYS_openat, "openat", &[Fails(EIO), Fails(EACCES), FailsFromHereOn(EMFILE)]),
    (libc::SYS_read, "read", &[Fails(EIO), Fails(EINTR), Short]),
    (libc::SYS_pread64, "pread64", &[Fails(EIO), Fails(EINTR), Short]),
    (libc::SYS_write, "write", &[Fails(EPIPE), Fails(EINTR), Short]),
    (libc::SYS_writev, "writev", &[Fails(EPIPE), Fails(EINTR)]),
    (libc::SYS_pwrite64, "pwrite64", &[Fails(ENOSPC), Fails(EINTR), Short]),
    (libc::SYS_close, "close", &[SaysItFailed(EIO), SaysItFailed(EINTR)]),
    (libc::SYS_lseek, "lseek", &[Fails(EIO), Fails(EINVAL)]),
    (libc::SYS_fstat, "fstat", &[Fails(EIO), Fails(ENOMEM)]),
    (libc::SYS_stat, "stat", &[Fails(EIO), Fails(EACCES)]),
    (libc::SYS_newfstatat, "newfstatat", &[Fails(EIO), Fails(EACCES)]),
    (libc::SYS_statx, "statx", &[Fails(EIO), Fails(EACCES), Fails(ENOSYS)]),
    (libc::SYS_readlink, "readlink", &[Fails(EIO), Fails(ENOENT)]),
    (libc::SYS_getdents64, "getdents64", &[Fails(EIO), Fails(ENOENT)]),
    (libc::SYS_mkdirat, "mkdirat", &[Fails(ENOSPC), Fails(EROFS), Fails(EACCES)]),
    (libc::SYS_mmap, "mmap", &[Fails(ENOMEM), Fails(ENODEV)]),
    (libc::SYS_mremap, "mremap", &[Fails(ENOMEM)]),
    (libc::SYS_munmap, "munmap", &[Fails(ENOMEM)]),
    (libc::SYS_brk, "brk", &[Unchanged]),
    (libc::SYS_flock, "flock", &[Fails(EINTR), Fails(ENOLCK)]),
    (libc::SYS_futex, "futex", &[Fails(EINTR), Fails(ENOSYS)]),
    (libc::SYS_poll, "poll", &[Fails(EINTR), Fails(ENOMEM)]),
    (libc::SYS_finit_module, "finit_module", &[Fails(ENOMEM), Fails(EINTR), Fails(ENOSYS), Fails(EPERM)]),
    (libc::SYS_init_module, "init_module", &[Fails(ENOMEM), Fails(EINTR), Fails(EPERM)]),
    (libc::SYS_delete_module, "delete_module", &[Fails(EPERM), Fails(EINTR)]),
];

/// What a filter of system calls says (seccomp in a container), and one that no manual page promises.
const OTHERS: &[Fault] = &[Fails(EPERM), Fails(ENOMEM)];

/// The name of a system call, and what may go wrong with it. Nothing can with the end of a process.
pub fn plausible(nr: i64) -> (String, &'static [Fault]) {
    match PLAUSIBLE.iter().find(|(known, ..)| *known == nr) {
        Some((_, name, faults)) => ((*name).to_owned(), faults),
        None if nr == libc::SYS_exit_group || nr == libc::SYS_exit => ("exit".to_owned(), &[]),
        None => (format!("call {nr}"), OTHERS),
    }
}
