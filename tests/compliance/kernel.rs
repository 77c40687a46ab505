//! The kernel the tools talk to: a filter answers their module calls, so that nothing reaches the machine's own kernel
//! and every error it could give can be had.
//!
//! A seccomp filter is a small program over the call's number and arguments (`struct seccomp_data`: number at offset 0,
//! the low half of argument N at 16 + 8 N on a little-endian machine). `SECCOMP_RET_ERRNO` with errno 0 is success.

use std::collections::BTreeMap;
use std::io;

use nix::errno::Errno;

/// The filter's program.
#[derive(Clone)]
pub struct Answers {
    program: Vec<libc::sock_filter>,
}

/// Errors a case may name.
const NAMES: [(&str, i32); 21] = [
    ("0", 0),
    ("EPERM", libc::EPERM),
    ("ENOENT", libc::ENOENT),
    ("ESRCH", libc::ESRCH),
    ("ENXIO", libc::ENXIO),
    ("ENOEXEC", libc::ENOEXEC),
    ("EAGAIN", libc::EAGAIN),
    ("ENOMEM", libc::ENOMEM),
    ("EBUSY", libc::EBUSY),
    ("EEXIST", libc::EEXIST),
    ("ENODEV", libc::ENODEV),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EBADMSG", libc::EBADMSG),
    ("ENOKEY", libc::ENOKEY),
    ("EKEYEXPIRED", libc::EKEYEXPIRED),
    ("EKEYREVOKED", libc::EKEYREVOKED),
    ("EKEYREJECTED", libc::EKEYREJECTED),
    ("ETIMEDOUT", libc::ETIMEDOUT),
    ("ENOSPC", libc::ENOSPC),
];

impl Answers {
    /// Makes the filter from what a case says: `finit`, `init`, `delete`, and `finit-compressed` for a finit_module call
    /// with flag 4. Unless said, all of them answer `EPERM`; `finit-compressed` as `finit`.
    ///
    /// # Errors
    /// A call or an errno of that name is not known.
    pub fn new(said: &BTreeMap<String, String>) -> Result<Answers, String> {
        if let Some(call) = said.keys().find(|call| !CALLS.contains(&call.as_str())) {
            return Err(format!("no call {call}"));
        }
        let answer = |call: &str| -> Result<Option<u32>, String> {
            let Some(name) = said.get(call) else {
                return Ok(None);
            };
            let errno =
                NAMES.iter().find(|(known, _)| known == name).ok_or_else(|| format!("no errno {name}"))?;
            Ok(Some(errno.1 as u32))
        };
        let not_permitted = libc::EPERM as u32;
        let finit = answer("finit")?.unwrap_or(not_permitted);
        let compressed = answer("finit-compressed")?.unwrap_or(finit);
        let init = answer("init")?.unwrap_or(not_permitted);
        let delete = answer("delete")?.unwrap_or(not_permitted);
        let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
        let equal = |number: libc::c_long, otherwise: u8| {
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, otherwise, number as u32)
        };
        let answer = |errno| step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno);
        let program = vec![
            load(0),
            equal(libc::SYS_init_module, 1),
            answer(init),
            equal(libc::SYS_delete_module, 1),
            answer(delete),
            equal(libc::SYS_finit_module, 4),
            load(16 + 8 * 2),
            step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, 4),
            answer(compressed),
            answer(finit),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        Ok(Answers { program })
    }

    /// Puts the filter on the calling thread and all it will execute. Makes no allocation: it is called between fork and
    /// exec.
    ///
    /// # Errors
    /// The kernel has no seccomp filters.
    pub fn install(&self) -> io::Result<()> {
        let filter =
            libc::sock_fprog { len: self.program.len() as u16, filter: self.program.as_ptr().cast_mut() };
        // SAFETY: prctl(2) with integer arguments only.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        // SAFETY: seccomp(2) reads the program that `filter` points to; both live until it returns.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter)
        })?;
        Ok(())
    }
}

const CALLS: [&str; 4] = ["finit", "init", "delete", "finit-compressed"];

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
